import gzip
import pathlib

import pyarrow as pa
import pytest
from cli_run import Run
from pyarrow import parquet

GOOD = b'{"from_account": "amy", "peer_id": "bob", "set_mark": ["vip"], "at": 5}\n'
MAPPED = "--map to_account=peer_id --ignore-unknown --names vip=32 --dry-run"
TEAM = b"\xef\xbb\xbf[marks]\r\nvip = 32\r\nescalated = 33\r\n"


@pytest.fixture(autouse=True)
def files() -> None:
    """Write files of rows, and a team's file of names, with a byte order mark."""
    pathlib.Path("a.jsonl").write_bytes(GOOD * 3)
    pathlib.Path("a.jsonl.gz").write_bytes(gzip.compress(GOOD * 3))
    pathlib.Path("cut.jsonl.gz").write_bytes(gzip.compress(GOOD * 3)[:-9])
    table = pa.table({"from_account": ["a"] * 3, "peer_id": ["b"] * 3, "set_mark": [["vip"]] * 3})
    parquet.write_table(table, "a.parquet")
    pathlib.Path("team.toml").write_bytes(TEAM)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_mapped_file(name: str, run: Run) -> None:
    """A file with its own field names is read, compressed or not."""
    status, out, _ = run(f"apply {name} {MAPPED}")

    assert (0, True) == (status, "3 changes in 3 rows" in out)


def test_environment(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Each option may come from the environment; standard input may be compressed, and be CSV."""
    for name, value in {
        "FORMAT": "csv",
        "MAP": "to_account=peer_id from_account=uid",
        "IGNORE_UNKNOWN": "1",
        "NAMES_FILE": "team.toml",
        "MAX_ERRORS": "1",
        "DELIMITER": ";",
    }.items():
        monkeypatch.setenv(f"CHATMARK_{name}", value)
    data = b"uid;peer_id;set_mark;at\na;b;escalated;1\nc;;vip;2\n"
    status, out, err = run("apply - --dry-run", gzip.compress(data))

    assert 0 == status
    assert "1 change in 2 rows" in out
    assert "1 row would be set aside" in out
    assert "left out, because they are not fields: at" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--map to_account", "'to_account' must be FIELD=COLUMN"),
        ("--map =x", "'=x' must be FIELD=COLUMN"),
        ("--map to_account=", "'to_account=' must be FIELD=COLUMN"),
        ("--map to_account=x --map to_account=y", "give 'to_account' once"),
        ("--map to_acount=x", "to_acount: is not a field of a row; did you mean"),
        ("--map to_account=x --map from_account=x", "are read from one column (got 'x')"),
        ("--max-errors -1", "--max-errors"),
        ("--format xlsx", "'xlsx' is not one of 'jsonl', 'csv', 'tsv', 'parquet'"),
        ("--encoding nonsense", "encoding: "),
        ("cut.jsonl.gz", "cut.jsonl.gz:4: file: the gzip data ends early: the file was cut"),
        ("--names-file /nowhere/team.toml", "/nowhere/team.toml: No such file"),
        ("--names-file team.toml --names gold=32", "bit 32 has two names"),
    ],
)
def test_refused(options: str, message: str, run: Run) -> None:
    """A wrong value is refused with its reason, and a cut file with its name."""
    if options.startswith("cut"):
        options += f" {MAPPED}"
    else:
        options += " a.jsonl --local"
    status, _, err = run(f"apply {options}")

    assert (2, True) == (status, message in err), err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[marks", "team.toml: is not TOML"),
        (b"[mark]\nvip = 32\n", "team.toml: there is no table [marks]"),
        (b"[marks]\nvip = 5\n", "team.toml: vip: a name stands for a bit from 32 to 63"),
        (b"[marks]\nvip = 32 # \xff\n", "team.toml must be UTF-8 text"),
    ],
)
def test_refused_names(content: bytes, message: str, run: Run) -> None:
    """The error of a wrong file of names has the file's name."""
    pathlib.Path("team.toml").write_bytes(content)
    status, _, err = run("explain vip --names-file team.toml")

    assert (2, True) == (status, message in err), err


def test_names(run: Run) -> None:
    """`--names` adds to the file and overrides it, in any order of the options."""
    status, out, _ = run(
        "explain 'vip|gold|escalated' --names vip=40 --names gold=32 --names-file team.toml"
    )

    assert 0 == status
    for text in ("bit 32  gold", "bit 33  escalated", "bit 40  vip"):
        assert text in out
