import json

import pytest

from chatmark.__main__ import main
from chatmark.emulator import EmulatorThread, Refuse

pytestmark = pytest.mark.usefixtures("emulator_environment")


@pytest.fixture(autouse=True)
def marks(chatmark_emulator: EmulatorThread) -> None:
    """
    Let the emulator have marks.
    """
    state = chatmark_emulator.state
    state.seed_mark("amy", (2, "team"), 1 | 1 << 33, "重要\x1b[31m", timestamp=1670843110)
    state.seed_mark("amy", (1, "bob"), 8)
    state.seed_contact_group("amy", 7, "work", [(1, "bob")])


class TestTable:
    def test_rows(self, capsys: pytest.CaptureFixture[str]) -> None:
        """
        A conversation is a row: its marks by name, custom mark, groups and time.
        """
        status = main(["show", "amy", "--names", "vip=33"])
        lines = capsys.readouterr().out.splitlines()
        [team] = [line.split() for line in lines if "group_team" in line]
        [bob] = [line.split() for line in lines if "c2c_bob" in line]

        assert 0 == status
        assert "amy: 2 marked conversations" in lines[0]
        assert ["group_team", "favorite", "vip"] == team[:3]
        assert ["2022-12-12", "11:05:10"] == team[-2:]
        assert ["c2c_bob", "hidden", "7"] == bob[:3]

    def test_control_characters(self, capsys: pytest.CaptureFixture[str]) -> None:
        """
        What a server says cannot command the terminal.
        """
        main(["show", "amy"])
        out = capsys.readouterr().out

        assert "\x1b" not in out
        assert r"重要\x1b[31m" in out

    def test_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        """
        A user without marks is told as that.
        """
        assert 0 == main(["show", "zoe"])
        assert "zoe has no marked conversations\n" == capsys.readouterr().out


class TestJson:
    def test_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        """
        Each conversation is a line of JSON.
        """
        status = main(["show", "amy", "--json"])
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

        assert 0 == status
        assert {
            "from_account": "amy",
            "to_group_id": "team",
            "marks": ["favorite", "extension_33"],
            "bits": [0, 33],
            "custom_mark": "重要\x1b[31m",
            "group_ids": [],
            "updated_at": "2022-12-12T11:05:10+00:00",
        } in rows
        assert 2 == len(rows)


class TestSeveral:
    def test_tables(self, capsys: pytest.CaptureFixture[str]) -> None:
        """
        Users are shown in the order in which they are named, each once.
        """
        status = main(["show", "zoe", "amy", "zoe"])
        out = capsys.readouterr().out

        assert 0 == status
        assert out.index("zoe has no marked") < out.index("amy: 2 marked")
        assert 1 == out.count("zoe")

    def test_json(
        self, chatmark_emulator: EmulatorThread, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        As JSON each line names its user.
        """
        chatmark_emulator.state.seed_mark("eve", (1, "bob"), 8)
        main(["show", "amy", "eve", "--json"])
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

        assert ["amy", "amy", "eve"] == [row["from_account"] for row in rows]

    def test_one_fails(
        self, chatmark_emulator: EmulatorThread, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        The others are shown although one cannot be read, and the exit status is 1.
        """
        chatmark_emulator.script.always(Refuse(50001), account="eve")
        status = main(["show", "eve", "amy"])
        captured = capsys.readouterr()

        assert 1 == status
        assert "amy: 2 marked conversations" in captured.out
        assert "error: eve: 50001" in captured.err

    def test_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        """
        Without a user there is nothing to show.
        """
        assert 2 == main(["show"])
        assert "Missing argument" in capsys.readouterr().err


class TestErrors:
    def test_refused(
        self, chatmark_emulator: EmulatorThread, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        A refusal is an error with what to do, and status 1.
        """
        chatmark_emulator.script.always(Refuse(60020))

        assert 1 == main(["show", "amy"])
        assert "error: 60020: the plan has expired" in capsys.readouterr().err

    def test_impossible_user(self, capsys: pytest.CaptureFixture[str]) -> None:
        """
        An id that no user can have is wrong input.
        """
        assert 2 == main(["show", "é"])
        assert "error: user: has characters other than" in capsys.readouterr().err

    def test_local_is_no_target(self, capsys: pytest.CaptureFixture[str]) -> None:
        """
        An emulator that just began has nothing to show.
        """
        assert 2 == main(["show", "amy", "--local"])
        assert "No such option" in capsys.readouterr().err
