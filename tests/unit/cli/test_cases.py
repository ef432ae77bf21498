"""Files as other tools write them, through the command line; `cases` has them."""

from typing import Final

import pytest
from cli_run import Run
from paths import ROOT

from chatmark.emulator import EmulatorOptions, EmulatorThread

CASES: Final = ROOT / "tests" / "unit" / "jobs" / "cases"
Key = tuple[str, int, str]
State = dict[Key, tuple[int, str]]
BOB: Final[Key] = ("alice", 1, "bob")
TEAM: Final[Key] = ("alice", 2, "team1")
FAVORITE: Final[State] = {BOB: (1, "")}
VIP: Final[State] = {BOB: (0, "vip")}
BIT_33: Final = 1 << 33
BOTH: Final = FAVORITE | {TEAM: (BIT_33 | 2, "hi")}
EXCEL: Final = FAVORITE | {TEAM: (3, "call back, please")}
SEMICOLONS: Final = FAVORITE | {TEAM: (3, "call back; please")}
MAP: Final = "--map 'from_account=From Account' --map 'to_account=To Account'"

# The options, the marks that are there afterwards, and what is said in a note.
READ: Final[dict[str, tuple[str, State, str]]] = {
    "bigquery_int_marks.jsonl": ("", {BOB: (BIT_33, "")}, ""),
    "cr_only.csv": ("", EXCEL, ""),
    "customctrl.jsonl": (
        "--max-errors 1 --failed failed.jsonl",
        {BOB: (0, "a\0b"), ("alice", 1, "bob3"): (0, "\u202eevil\x1b[31m")},
        "",
    ),
    "excel_bom_semicolon.csv": ("--delimiter ';'", SEMICOLONS, ""),
    "excel_sep.csv": ("", SEMICOLONS, ""),
    "formula.csv": ("", {BOB: (0, "=cmd()")}, ""),
    "hive": ("", BOTH, ""),
    "int_ids.parquet": (
        "",
        {("10001", 1, "1"): (1 << 33, ""), ("10002", 1, "2"): (1 << 34, "")},
        "",
    ),
    "jq_default.json": ("", FAVORITE, ""),
    "list_float_marks.parquet": (
        "",
        {("a", 1, "c"): (1 << 33, ""), ("b", 1, "d"): (1 << 34, "")},
        "",
    ),
    "marks_json_list.csv": ("", {BOB: (3, "")}, ""),
    "marks_space_sep.csv": ("", {BOB: (3, "")}, ""),
    "mongo.jsonl": ("", {BOB: (BIT_33, "")}, ""),
    "multi_headers.csv.gz": ("", FAVORITE, "records equal to the header, skipped: 1"),
    "multi_to.csv": ("--literal", {("alice", 1, "bob,carol"): (1, "")}, ""),
    "nan.csv": ("--null NaN", FAVORITE, ""),
    "pandas.parquet": ("", BOTH, ""),
    "pandas_na.csv": ("--null NaN", BOTH, ""),
    "polars.json": ("", BOTH, ""),
    "psql_copy_default.txt": (
        r"--format tsv --null '\N'",
        {BOB: (3, ""), ("alice", 2, "team"): (BIT_33, 'line1\nline2 "q"')},
        "there is no header: the columns are taken for from_account, to_account, to_group_id, set_",
    ),
    "psql_null.csv": (r"--null '\N'", FAVORITE, ""),
    "repeated_header.csv": ("", VIP | {("carol", 1, "dave"): (0, "vip")}, "skipped: 1"),
    "space_ids.csv": ("", {BOB: (0, "vip "), ("alice smith", 1, "bob"): (0, "vip")}, ""),
    "title_header.csv": (f"{MAP} --map 'set_mark=Set Mark'", FAVORITE, ""),
    "trailing_blank_columns.csv": ("", FAVORITE | {("alice", 1, "carol"): (1, "")}, ""),
    "typo_with_ignore_unknown.csv": (
        "--ignore-unknown --map set_mark=set_marks",
        {BOB: (1, "vip")},
        "left out, because they are not fields: created_at",
    ),
    "utf16be_bom.csv": ("", EXCEL, ""),
    "vendor_body.json": ("", FAVORITE, ""),
    "win1252.csv": ("--encoding cp1252", {BOB: (1, "Müller \N{EN DASH} café")}, ""),
}
# The options, and what is said about the file, of which nothing is sent.
REFUSED: Final[dict[str, tuple[str, str]]] = {
    "customctrl.jsonl": ("", "customctrl.jsonl:2: custom_mark: is not UTF-8"),
    "esc_in_id.csv": ("", r"from_account: has characters other than printable ASCII (got '\x1b["),
    "excel_bom_semicolon.csv": ("", "add --delimiter ';'"),
    "marks.xlsx": ("", "marks.xlsx | chatmark apply - --format csv"),
    "multi_to.csv": ("", "to_account: has a comma, and a row has one id, or --literal"),
    "nan.csv": ("", "to_group_id: is a word for no value: add --null NaN"),
    "nbsp_ids.csv": ("", r"nbsp_ids.csv:3: from_account: has characters other than printable"),
    "pandas_na.csv": ("", "pandas_na.csv:3: to_account: is a word for no value: add --null NaN"),
    "psql_null.csv": ("", r"to_group_id: is a word for no value: add --null '\N'"),
    "psql_copy_default.txt": ("", "give the format"),
    "title_header.csv": ("", f"{MAP} --map 'set_mark=Set Mark'"),
    "typo_with_ignore_unknown.csv": ("--ignore-unknown", "did you mean 'set_mark'?"),
    "win1252.csv": ("", "add its encoding, such as --encoding cp1252"),
    "wrapped.json": (
        "",
        """items: holds the rows, which must not be wrapped: jq -c '.["items"][]'""",
    ),
}


@pytest.fixture
def chatmark_emulator_options() -> EmulatorOptions:
    """Let all users exist."""
    return {"calls_per_second": None}


class TestCases:
    @pytest.mark.parametrize("name", READ)
    def test_read(self, name: str, emulator: EmulatorThread, run: Run) -> None:
        """A file takes effect as it is meant, and what is left out of it is said once."""
        options, expected, note = READ[name]
        status, out, err = run(f"apply {CASES / name} {options}")

        assert expected == emulator.state.snapshot()
        assert (1 if "failed" in options else 0) == status, err
        assert note in err
        assert not (note == "" == options and err)
        assert "\x1b" not in out + err
        status, out, _ = run(f"plan --offline {CASES / name} {options.partition(' --failed')[0]}")
        assert (0, True) == (status, "to send it" in out)

    @pytest.mark.parametrize("name", REFUSED)
    def test_refused(self, name: str, emulator: EmulatorThread, run: Run) -> None:
        """A file that can mean two things is refused, with the option that says which."""
        options, message = REFUSED[name]
        status, _, err = run(f"apply {CASES / name} {options}")

        assert 2 == status
        assert message in err
        assert "\x1b" not in err
        assert {} == emulator.state.snapshot()

    def test_ids(self, emulator: EmulatorThread, run: Run) -> None:
        """A list of ids names users, and every file is a case."""
        emulator.state.seed_mark("bob", (1, "x"), 1)
        status, out, _ = run(f"export {CASES / 'ids.txt'}")

        assert 0 == status
        assert '"from_account":"bob"' in out
        assert {path.name for path in CASES.iterdir()} == {"ids.txt", *READ, *REFUSED}
