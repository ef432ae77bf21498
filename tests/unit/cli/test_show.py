import json

import pytest
from cli_run import Run

from chatmark.__main__ import main
from chatmark.emulator import EmulatorThread, Refuse

pytestmark = pytest.mark.usefixtures("emulator_environment")


@pytest.fixture(autouse=True)
def marks(chatmark_emulator: EmulatorThread) -> None:
    """Give marks to the emulator."""
    state = chatmark_emulator.state
    state.seed_mark("amy", (2, "team"), 1 | 1 << 33, "重要\x1b[31m", timestamp=1670843110)
    state.seed_mark("amy", (1, "bob"), 8)
    state.seed_contact_group("amy", 7, "work", [(1, "bob")])


class TestTable:
    def test_rows(self, run: Run) -> None:
        """A conversation is a row: its marks by name, custom mark, groups and time."""
        status, out, _ = run(["show", "amy", "--names", "vip=33"])
        lines = out.splitlines()
        [team] = [line.split() for line in lines if "group_team" in line]
        [bob] = [line.split() for line in lines if "c2c_bob" in line]

        assert 0 == status
        assert "amy: 2 marked conversations" in lines[0]
        assert ["group_team", "favorite", "vip"] == team[:3]
        assert ["2022-12-12", "11:05:10"] == team[-2:]
        assert ["c2c_bob", "hidden", "7", "work"] == bob[:4]

    def test_control_characters(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Control characters of a server are escaped."""
        main(["show", "amy"])
        out = capsys.readouterr().out

        assert "\x1b" not in out
        assert r"重要\x1b[31m" in out

    def test_nothing(self, run: Run) -> None:
        """A user without marks has a message."""
        status, out, _ = run(["show", "zoe"])

        assert 0 == status
        assert "zoe has no marked conversations\n" == out


class TestJson:
    def test_lines(self, run: Run) -> None:
        """Each conversation is a line of JSON."""
        status, out, _ = run(["show", "amy", "--json"])
        rows = [json.loads(line) for line in out.splitlines()]

        assert 0 == status
        assert {
            "schema": 1,
            "from_account": "amy",
            "to_group_id": "team",
            "marks": ["favorite", "extension_33"],
            "bits": [0, 33],
            "custom_mark": "重要\x1b[31m",
            "group_ids": [],
            "updated_at": "2022-12-12T11:05:10+00:00",
        } in rows
        assert [[], ["work"]] == sorted(row.get("group_names", []) for row in rows)


class TestSeveral:
    def test_tables(self, run: Run) -> None:
        """Users are printed once each, in the order of the arguments."""
        status, out, _ = run(["show", "zoe", "amy", "zoe"])

        assert 0 == status
        assert out.index("zoe has no marked") < out.index("amy: 2 marked")
        assert 1 == out.count("zoe")

    def test_json(
        self, chatmark_emulator: EmulatorThread, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Each line of JSON names its user."""
        chatmark_emulator.state.seed_mark("eve", (1, "bob"), 8)
        main(["show", "amy", "eve", "--json"])
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

        assert ["amy", "amy", "eve"] == [row["from_account"] for row in rows]

    def test_one_fails(self, chatmark_emulator: EmulatorThread, run: Run) -> None:
        """If a user cannot be read, the others are printed and the exit status is 1."""
        chatmark_emulator.script.always(Refuse(50001), account="eve")
        status, out, err = run(["show", "eve", "amy"])

        assert 1 == status
        assert "amy: 2 marked conversations" in out
        assert "error: eve: 50001" in err

    def test_none(self, run: Run) -> None:
        """A user is required."""
        status, _, err = run(["show"])

        assert 2 == status
        assert "Missing argument" in err


class TestErrors:
    def test_refused(self, chatmark_emulator: EmulatorThread, run: Run) -> None:
        """A refusal of the application is an error with an advice, and status 3."""
        chatmark_emulator.script.always(Refuse(60020))

        status, _, err = run(["show", "amy"])

        assert 3 == status
        assert "error: 60020: the plan has expired" in err

    def test_impossible_user(self, run: Run) -> None:
        """An impossible user id is wrong input."""
        status, _, err = run(["show", "é"])

        assert 2 == status
        assert "error: user: has characters other than" in err

    def test_local_is_no_target(self, run: Run) -> None:
        """A new local emulator has no marks."""
        status, _, err = run(["show", "amy", "--local"])

        assert 2 == status
        assert "No such option" in err
