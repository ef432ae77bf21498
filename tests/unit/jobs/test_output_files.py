import json
import os
import pathlib
import stat
import sys
from collections.abc import Callable
from typing import Any

import pytest

from chatmark import InputError
from chatmark.jobs.output_files import OutputFile, check_outputs
from chatmark.jobs.row_files import DIFFERENCES, FAILURES, USERS, RowFile, encode
from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.formats import FileFormat

ROWS: list[dict[str, Any]] = [
    {"from_account": "amy", "to_account": "bob", "set_mark": ["favorite", 33], "_code": 50001},
    {"from_account": "amy", "to_group_id": "g", "custom_mark": "", "_found_bits": [1]},
    {"from_account": "eve", "to_account": "bob", "clear_mark": [3], "custom_mark": "a,b\n"},
]
NAMES = ("f", "f.jsonl", "f.csv", "f.tsv", "f.parquet", "f.jsonl.gz", "f.csv.zst", "f.tsv.bz2")


class TestRowFile:
    @pytest.mark.parametrize("name", [*NAMES, "f.json.xz"])
    @pytest.mark.parametrize("columns", [FAILURES, DIFFERENCES])
    def test_read_again(self, name: str, columns: tuple[str, ...], tmp_path: pathlib.Path) -> None:
        """The suffixes of a name tell its format and its compression; it is read again."""
        path = str(tmp_path / name)
        known = [{key: row[key] for key in row if key in columns} for row in ROWS]
        with RowFile(path, columns) as file:
            for row in known * 150:
                file.write(row)
        plain = tmp_path / "plain.jsonl"
        plain.write_text("".join(json.dumps(row) + "\n" for row in ROWS * 150))
        format_ = None if "." in name else FileFormat.JSON_LINES

        assert list(ChangeFile.of(str(plain)).changes()) == list(
            ChangeFile.of(path, format_).changes()
        )
        assert 0o600 == stat.S_IMODE(pathlib.Path(path).stat().st_mode)
        assert {name, "plain.jsonl"} == {each.name for each in tmp_path.iterdir()}

    def test_users(self, tmp_path: pathlib.Path) -> None:
        """A list of users without a suffix has one id a line."""
        path = tmp_path / "users.txt"
        with RowFile(str(path), USERS, FileFormat.LINES) as file:
            file.write({"from_account": "amy", "_code": 1, "_error": "x"})

        assert "amy\n" == path.read_text()

    def test_formulas(self) -> None:
        """Cells that spreadsheets take for formulas can begin with an apostrophe."""
        row = {"from_account": "amy", "to_group_id": "@TGS#1", "custom_mark": "=1+1"}
        columns = ("from_account", "to_group_id", "custom_mark")
        made = [encode([row], columns, FileFormat.CSV, guard=guard) for guard in (False, True)]

        assert [b"amy,@TGS#1,=1+1\r\n", b"amy,'@TGS#1,'=1+1\r\n"] == made

    def test_the_word_for_clear(self, tmp_path: pathlib.Path) -> None:
        """A custom mark that a table would take for a cleared one is refused there."""
        row = {"from_account": "amy", "to_account": "bob", "custom_mark": "<clear>"}
        with (
            pytest.raises(InputError, match="write JSON Lines"),
            RowFile(str(tmp_path / "f.csv"), FAILURES) as file,
        ):
            file.write(row)


class TestOutputFile:
    def test_replaces_at_the_end(self, tmp_path: pathlib.Path) -> None:
        """
        The old file is there until the new one is complete, which only its owner may read.

        Nothing of a part that an earlier process left is in it.
        """
        path = tmp_path / "f.jsonl"
        path.write_text("old")
        part = path.with_name("f.jsonl.part")
        part.write_text("older\n" * 9)
        part.chmod(0o644)
        with OutputFile(str(path)) as file:
            file.write_text('{"a": "é"}\n')
            file.write_text('{"b": "\ud800"}\n')
            during = path.read_text()

        assert "old" == during
        assert '{"a": "é"}\n{"b": "?"}\n' == path.read_text(encoding="utf-8")
        assert [path] == list(tmp_path.iterdir())
        assert 0o600 == path.stat().st_mode & 0o777

    def test_stays_apart(self, tmp_path: pathlib.Path) -> None:
        """What an error cut short, or what does not hold everything, replaces nothing."""
        path = tmp_path / "f.jsonl"
        path.write_text("old")
        with pytest.raises(TypeError), OutputFile(str(path)) as file:
            file.write_bytes("new")  # type: ignore[arg-type]
        with OutputFile(str(path)) as file:
            file.write_text("new")
            part = pathlib.Path(file.keep_apart())

        assert ("old", "new") == (path.read_text(), part.read_text())

    @pytest.mark.parametrize("name", [".", "missing/f.json"])
    def test_cannot_be_written(self, tmp_path: pathlib.Path, name: str) -> None:
        """What cannot be written is found out at once."""
        with pytest.raises(OSError, match=r"directory"):
            OutputFile(str(tmp_path / name))

    def test_link(self, tmp_path: pathlib.Path) -> None:
        """A link stays a link: the file that it points to is replaced."""
        target, link = tmp_path / "real.jsonl", tmp_path / "link.jsonl"
        target.write_text("old")
        link.symlink_to(target)
        with OutputFile(str(link)) as file:
            file.write_text("1\n")

        assert link.is_symlink()
        assert "1\n" == target.read_text()

    @pytest.mark.parametrize("plant", [pathlib.Path.symlink_to, pathlib.Path.hardlink_to])
    def test_trap(
        self, tmp_path: pathlib.Path, plant: Callable[[pathlib.Path, pathlib.Path], None]
    ) -> None:
        """A link that another user has planted in the place of the part is not followed."""
        victim = tmp_path / "victim"
        victim.write_text("old")
        plant(tmp_path / "f.jsonl.part", victim)
        with pytest.raises((OSError, InputError), match=r"symbolic links|file of your own"):
            OutputFile(str(tmp_path / "f.jsonl"))

        assert "old" == victim.read_text()

    def test_second(self, tmp_path: pathlib.Path) -> None:
        """A second job with the same output is refused while the first one writes."""
        path = str(tmp_path / "f.jsonl")
        with OutputFile(path) as file:
            with pytest.raises(InputError, match="another process"):
                OutputFile(path)
            file.write_text("1\n")

        assert "1\n" == pathlib.Path(path).read_text()


class TestInPlace:
    def test_pipe(self, tmp_path: pathlib.Path) -> None:
        """A pipe is written to, not replaced."""
        path = tmp_path / "pipe"
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with OutputFile(str(path)) as file:
            file.write_text("1\n")
        written = os.read(reader, 100)
        os.close(reader)

        assert b"1\n" == written
        assert path.is_fifo()

    def test_descriptor(self, tmp_path: pathlib.Path) -> None:
        """The file behind /proc/self/fd is appended to, not replaced, by a link as well."""
        log = tmp_path / "log"
        with log.open("a") as stream:
            stream.write("before\n")
            stream.flush()
            link = tmp_path / "link"
            link.symlink_to(f"/proc/self/fd/{stream.fileno()}")
            with OutputFile(str(link)) as file:
                file.write_text('"in between"\n')
            stream.write("behind\n")

        assert 'before\n"in between"\nbehind\n' == log.read_text()
        assert link.is_symlink()

    @pytest.mark.parametrize(("redirect", "name"), [(">", "link"), (">>", "log")])
    def test_standard_output(self, redirect: str, name: str, tmp_path: pathlib.Path) -> None:
        """The file that standard output goes to keeps what is in it, whatever its name is."""
        (tmp_path / "link").symlink_to("/proc/self/fd/1")
        code = "import sys; from chatmark.jobs.output_files import OutputFile\n"
        code += f"print('before'); OutputFile('{name}').__enter__().write_text('1 ')\n"
        code += "print('behind')"
        (tmp_path / "code.py").write_text(code)
        os.system(f"cd {tmp_path} && {sys.executable} code.py {redirect} log")

        assert ["before", "1", "behind"] == sorted(
            (tmp_path / "log").read_text().split(), key="before1behind".index
        )

    def test_same_file(self, tmp_path: pathlib.Path) -> None:
        """One file by two names is found; devices take several outputs."""
        path, link = tmp_path / "a", tmp_path / "b"
        path.touch()
        link.symlink_to(path)
        hard = tmp_path / "c"
        hard.hardlink_to(path)
        null = tmp_path / "null"
        null.symlink_to("/dev/null")
        for other in (link, hard, tmp_path / "x" / ".." / "a"):
            (tmp_path / "x").mkdir(exist_ok=True)
            with pytest.raises(InputError, match="--b would replace what --a writes"):
                check_outputs({"--a": str(path), "--b": str(other)}, [])
        with pytest.raises(InputError, match="--b would replace what --a writes"):
            check_outputs({"--a": "-", "--b": "-"}, ["-"])
        check_outputs({"--a": str(null), "--b": str(null)}, [])
