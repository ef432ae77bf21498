import os
import pathlib
from collections.abc import Callable

import pytest

from chatmark.errors import InputError
from chatmark.jobs.output_files import OutputFile


class TestOutputFile:
    def test_documents(self, tmp_path: pathlib.Path) -> None:
        """Documents are written in UTF-8, each on a line; only the owner may read them."""
        path = tmp_path / "f.jsonl"
        with OutputFile(str(path)) as file:
            file.write_text('{"a": "é"}\n')
            file.write_text('{"b": "\ud800"}\n')

        assert '{"a": "é"}\n{"b": "?"}\n' == path.read_text(encoding="utf-8")
        assert [path] == list(tmp_path.iterdir())
        assert 0o600 == path.stat().st_mode & 0o777

    def test_replaces_at_the_end(self, tmp_path: pathlib.Path) -> None:
        """The file that it replaces can be read until it is complete."""
        path = tmp_path / "f.jsonl"
        path.write_text("old")
        with OutputFile(str(path)) as file:
            file.write_text('"new"\n')
            during = path.read_text()

        assert ("old", '"new"\n') == (during, path.read_text())

    def test_left_by_a_dead_process(self, tmp_path: pathlib.Path) -> None:
        """Nothing of a part that an earlier process left is in the file."""
        path = tmp_path / "f.jsonl"
        path.with_name("f.jsonl.part").write_text("old\n" * 9)
        with OutputFile(str(path)) as file:
            file.write_text('"new"\n')

        assert '"new"\n' == path.read_text()

    def test_error(self, tmp_path: pathlib.Path) -> None:
        """What an error cut short does not take the name of what is complete."""
        path = tmp_path / "f.jsonl"
        path.write_text("old")
        with pytest.raises(TypeError), OutputFile(str(path)) as file:
            file.write_bytes("new")  # type: ignore[arg-type]

        assert "old" == path.read_text()
        assert (tmp_path / "f.jsonl.part").exists()

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


class TestKeepApart:
    def test_replaces_nothing(self, tmp_path: pathlib.Path) -> None:
        """A file that does not hold everything stays beside the one that it was to replace."""
        path = tmp_path / "rows.jsonl"
        path.write_text("input\n", encoding="utf-8")
        with OutputFile(str(path)) as file:
            file.write_text('{"row": 1}\n')
            part = pathlib.Path(file.keep_apart())

        assert "input\n" == path.read_text(encoding="utf-8")
        assert '{"row": 1}\n' == part.read_text(encoding="utf-8")
