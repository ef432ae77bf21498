import json
import pathlib

import pytest
from cli_run import Run

from chatmark.__main__ import main
from chatmark.emulator import EmulatorOptions, EmulatorThread, Refuse

ROWS = [
    {"from_account": "amy", "to_account": "bob", "set_mark": ["favorite", "vip"]},
    {"from_account": "amy", "to_account": "bob", "clear_mark": ["favorite"], "custom_mark": "x"},
    {"from_account": "amy", "to_group_id": "g", "custom_mark": ""},
    {"from_account": "eve", "to_account": "bob", "set_mark": [33]},
]


@pytest.fixture
def chatmark_emulator_options() -> EmulatorOptions:
    """Import some users, and limit their marks."""
    return {"calls_per_second": None, "users": ["amy", "bob", "eve"], "max_marked": 1}


@pytest.fixture(autouse=True)
def environment(emulator_environment: pytest.MonkeyPatch) -> None:
    """Set the emulator as the server, and name a bit."""
    emulator_environment.setenv("CHATMARK_NAMES", "vip=40")


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a file of four changes."""
    path = tmp_path / "marks.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return path


class TestPlan:
    def test_table(self, file: pathlib.Path, chatmark_emulator: EmulatorThread, run: Run) -> None:
        """A plan prints the effect and the cost of the file, and changes nothing."""
        chatmark_emulator.state.seed_mark("eve", (1, "bob"), 1 << 33)
        before = chatmark_emulator.state.snapshot()
        status, out, _ = run(["plan", str(file)])

        assert 0 == status
        assert before == chatmark_emulator.state.snapshot()
        for text in (
            "4 changes in 4 rows",
            "2 users",
            "3 conversations",
            "1 change names a conversation that an earlier row named",
            "line 1: amy c2c_bob, 2 rows",
            "2 calls, at 190 a second",
            "2 conversations are as the file wants them already",
            "3 calls with --skip-unchanged (2 to read, 1 to send), 1 more",
        ):
            assert text in out
        rows = [line.split() for line in out.splitlines()]
        assert ["favorite", "0", "0", "1"] in rows
        assert ["vip", "40", "1", "0"] in rows
        assert ["custom", "mark", "1", "1"] in rows

    def test_json(self, file: pathlib.Path, run: Run) -> None:
        """The JSON is one document, alone on standard output."""
        status, out, _ = run(["plan", str(file), "--json", "--rate", "0", "--round-trip", "80"])
        document = json.loads(out)

        assert 0 == status
        assert (True, 2, 0.08, None) == (
            document["ok"],
            document["calls"],
            document["round_trip_seconds"],
            document["calls_per_second"],
        )
        assert 2 == document["server"]["calls_read"]

    def test_offline(
        self,
        file: pathlib.Path,
        chatmark_emulator: EmulatorThread,
        run: Run,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """An offline plan needs neither a server nor credentials."""
        monkeypatch.delenv("CHATMARK_SECRET_KEY")
        status, out, _ = run(["plan", str(file), "--offline"])

        assert 0 == status
        assert not chatmark_emulator.counts
        assert "with a round trip of 50 ms" in out
        assert "server" not in out

    def test_trouble_ahead(
        self, file: pathlib.Path, chatmark_emulator: EmulatorThread, run: Run
    ) -> None:
        """Predicted refusals are printed, and the exit status is 1."""
        with file.open("a") as more:
            for user in ("nobody", "eve", "bob"):
                row = {"from_account": user, "to_group_id": "h", "set_mark": [0]}
                more.write(f"{json.dumps(row)}\n")
        chatmark_emulator.script.always(Refuse(51007), account="bob")
        status, out, _ = run(["plan", str(file), "--max-marked", "1"])

        assert 1 == status
        assert "1 user is not known to the server (50001)" in out
        assert "1 user would pass the limit of 1 marked conversation: 1 conversation" in out
        assert "            eve: 0 marked now, 1 refused\n" in out
        assert "1 user could not be read" in out
        assert "bob: 51007" in out

    def test_bad_rows(self, file: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A file with bad rows has no plan, unless they are set aside."""
        with file.open("a") as more:
            more.write("{}\n")
        assert 2 == main(["plan", str(file), "--offline"])
        assert "marks.jsonl:5: from_account: is missing" in capsys.readouterr().err
        assert 0 == main(["plan", str(file), "--offline", "--max-errors", "1"])
        assert "1 row cannot be applied and would be set aside" in capsys.readouterr().out

    def test_application_refused(
        self, file: pathlib.Path, chatmark_emulator: EmulatorThread, run: Run
    ) -> None:
        """A refusal of the whole application is one error line."""
        chatmark_emulator.script.always(Refuse(60006))

        status, _, err = run(["plan", str(file)])

        assert 3 == status
        assert "error: 60006" in err
