import gzip
import io
import pathlib
import sys

import attrs
import click
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from chatmark.__main__ import main
from chatmark.cli.options import Command
from chatmark.cli.reading import INPUTS, Inputs
from chatmark.jobs.sources.formats import FileFormat
from chatmark.marks import MarkNames

GOOD = b'{"from_account": "amy", "peer_id": "bob", "set_mark": ["vip"], "at": 5}\n'
MAPPED = ["--map", "to_account=peer_id", "--ignore-unknown", "--names", "vip=32"]
pytestmark = pytest.mark.usefixtures("blank_environment")


@attrs.frozen
class Options:
    inputs: Inputs = INPUTS


@click.command(cls=Command, options=Options)
def told(options: Options) -> None:
    """Print the value of the options, and make the input."""
    click.echo(repr(options.inputs))
    options.inputs.files(["rows.jsonl"])


commands = click.Group(commands=[told])


@pytest.fixture
def names_file(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a team's file of names, with a byte order mark."""
    path = tmp_path / "team.toml"
    path.write_bytes(b"\xef\xbb\xbf[marks]\r\nvip = 32\r\nescalated = 33\r\n")
    return path


def run(*arguments: str) -> str:
    """Return the printed value of the options."""
    return CliRunner().invoke(commands, ["told", *arguments]).output


class TestInputOptions:
    def test_nothing_said(self) -> None:
        """The defaults: formats by name, no mapping, no bad rows."""
        assert f"{Inputs(MarkNames(), map=(), null=())!r}\n" == run()

    def test_all_said(self) -> None:
        """All options form one value."""
        expected = Inputs(
            MarkNames(vip=32, gold=33),
            FileFormat.CSV,
            ("to_account=peer_id", "from_account=uid"),
            ignore_unknown=True,
            null=(),
            max_errors=5,
        )
        options = "--format csv --map to_account=peer_id --map from_account=uid --ignore-unknown"

        assert f"{expected!r}\n" == run(
            *options.split(), "--names", "vip=32", "--names", "gold=33", "--max-errors", "5"
        )

    def test_environment(self, monkeypatch: pytest.MonkeyPatch, names_file: pathlib.Path) -> None:
        """Each option may come from the environment."""
        for name, value in {
            "FORMAT": "parquet",
            "MAP": "to_account=peer_id from_account=uid",
            "IGNORE_UNKNOWN": "1",
            "NAMES_FILE": str(names_file),
            "MAX_ERRORS": "7",
        }.items():
            monkeypatch.setenv(f"CHATMARK_{name}", value)
        expected = Inputs(
            MarkNames(vip=32, escalated=33),
            FileFormat.PARQUET,
            ("to_account=peer_id", "from_account=uid"),
            ignore_unknown=True,
            null=(),
            max_errors=7,
        )

        assert f"{expected!r}\n" == run()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ("--map to_account", "'to_account' must be FIELD=COLUMN"),
            ("--map =x", "'=x' must be FIELD=COLUMN"),
            ("--map to_account=", "'to_account=' must be FIELD=COLUMN"),
            ("--map to_account=x --map to_account=y", "give 'to_account' once"),
            ("--map to_acount=x", "--map: to_acount: is not a field of a row; did you mean"),
            ("--map to_account=x --map from_account=x", "are read from one column (got 'x')"),
            ("--max-errors -1", "--max-errors"),
            ("--format xlsx", "'xlsx' is not one of 'jsonl', 'csv', 'tsv', 'parquet'"),
        ],
    )
    def test_refuses(self, options: str, message: str) -> None:
        """A wrong value is refused with its reason."""
        assert message in run(*options.split())


class TestNamesFile:
    def test_with_names(self, names_file: pathlib.Path) -> None:
        """`--names` adds to the file and overrides it, in any order of the options."""
        options = ["--names", "vip=40", "--names", "gold=32", "--names-file", str(names_file)]

        assert repr(MarkNames(vip=40, escalated=33, gold=32)) in run(*options)

    def test_two_names_of_a_bit(self, names_file: pathlib.Path) -> None:
        """A bit of the file cannot get a second name."""
        out = run("--names-file", str(names_file), "--names", "gold=32")

        assert "bit 32 has two names" in out

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"[marks", "team.toml: is not TOML"),
            (b"[mark]\nvip = 32\n", "team.toml: there is no table [marks]"),
            (b"[marks]\nvip = 5\n", "team.toml: vip: a name stands for a bit from 32 to 63"),
            (b"[marks]\nvip = 32 # \xff\n", "team.toml must be UTF-8 text"),
        ],
    )
    def test_refuses(self, names_file: pathlib.Path, content: bytes, message: str) -> None:
        """The error of a wrong file names it."""
        names_file.write_bytes(content)
        out = " ".join(run("--names-file", str(names_file)).split())

        assert message in out

    def test_missing(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The error names a missing file; every command with names has the option."""
        assert 2 == main(["explain", "vip", "--names-file", "/nowhere/team.toml"])
        assert "/nowhere/team.toml: No such file" in capsys.readouterr().err

    def test_names_what_is_shown(
        self, names_file: pathlib.Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Marks are shown with the names of the file."""
        assert 0 == main(["explain", "vip", "--names-file", str(names_file)])
        assert "32" in capsys.readouterr().out


class TestApply:
    @pytest.mark.parametrize("name", ["f.jsonl", "f.jsonl.gz"])
    def test_mapped_file(
        self, tmp_path: pathlib.Path, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A file with its own field names is read, compressed or not."""
        path = tmp_path / name
        path.write_bytes(gzip.compress(GOOD * 3) if name.endswith("gz") else GOOD * 3)

        assert 0 == main(["apply", str(path), "--dry-run", *MAPPED])
        assert "3 changes in 3 rows" in capsys.readouterr().out

    def test_parquet(self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A Parquet file is read."""
        path = tmp_path / "f.parquet"
        table = pa.table({"from_account": ["a"], "peer_id": ["b"], "set_mark": [["vip"]]})
        parquet.write_table(table, path)

        assert 0 == main(["apply", str(path), "--dry-run", *MAPPED])
        assert "1 change in 1 row" in capsys.readouterr().out

    def test_standard_input(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Standard input may be compressed, and be CSV."""
        data = gzip.compress(b"from_account,peer_id,set_mark\na,b,vip\n")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

        assert 0 == main(["apply", "-", "--format", "csv", "--dry-run", *MAPPED])
        assert "1 change in 1 row" in capsys.readouterr().out

    def test_cut_file(self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The error of a truncated file gives its name and the reason."""
        path = tmp_path / "f.jsonl.gz"
        path.write_bytes(gzip.compress(GOOD * 3)[:-9])

        assert 2 == main(["apply", str(path), "--dry-run", *MAPPED])
        message = f"{path}:4: file: the gzip data ends early: the file was cut"
        assert message in capsys.readouterr().err
