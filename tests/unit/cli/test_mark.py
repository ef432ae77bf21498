import json
import pathlib

import pytest
from cli_run import Run

from chatmark.emulator import EmulatorOptions, EmulatorThread, Refuse

pytestmark = pytest.mark.usefixtures("emulator_environment")


@pytest.fixture
def chatmark_emulator_options() -> EmulatorOptions:
    """Let few users exist."""
    return {"calls_per_second": None, "users": ["amy", "bob", "eve", "administrator"]}


class TestMark:
    @pytest.mark.parametrize(
        ("arguments", "state"),
        [
            ("amy bob --set favorite", {("amy", 1, "bob"): (1, "")}),
            ("--user amy --to c2c_bob --set favorite,33", {("amy", 1, "bob"): (1 | 1 << 33, "")}),
            ("amy group_g --set 0 --custom x", {("amy", 2, "g"): (1, "x")}),
            ("amy --to-group group_g --custom x", {("amy", 2, "group_g"): (0, "x")}),
            (
                "--user amy --user eve --to bob --set vip --names vip=40",
                {("amy", 1, "bob"): (1 << 40, ""), ("eve", 1, "bob"): (1 << 40, "")},
            ),
            (
                "--users {ids} bob bob --set hidden",
                {("amy", 1, "bob"): (8, ""), ("eve", 1, "bob"): (8, "")},
            ),
            (
                "bob --to-file {ids} --set 0",
                {("bob", 1, "amy"): (1, ""), ("bob", 1, "eve"): (1, "")},
            ),
            ("amy bob --set 0 --dry-run", {}),
        ],
    )
    def test_takes_effect(
        self,
        arguments: str,
        state: dict[object, object],
        tmp_path: pathlib.Path,
        chatmark_emulator: EmulatorThread,
        run: Run,
    ) -> None:
        """All conversations between the users and the other sides are marked."""
        ids = tmp_path / "ids.txt"
        ids.write_text("amy\n eve \n\n")
        status, _, err = run(["mark", *arguments.format(ids=ids).split()])

        assert (0, "") == (status, err)
        assert state == chatmark_emulator.state.snapshot()

    def test_clears(self, chatmark_emulator: EmulatorThread, run: Run) -> None:
        """Marks and custom marks are cleared."""
        chatmark_emulator.state.seed_mark("amy", (1, "bob"), 9, "x")
        status, _, _ = run(["mark", "amy", "bob", "--clear", "hidden", "--clear-custom"])

        assert 0 == status
        assert {("amy", 1, "bob"): (1, "")} == chatmark_emulator.state.snapshot()

    def test_undo(
        self, tmp_path: pathlib.Path, chatmark_emulator: EmulatorThread, run: Run
    ) -> None:
        """The rows that bring back what was are written before a mark is sent."""
        chatmark_emulator.state.seed_mark("amy", (1, "bob"), 8, "old")
        before = chatmark_emulator.state.snapshot()
        undo = str(tmp_path / "undo.jsonl")
        run(["mark", "amy", "bob", "eve", "--set", "0", "--custom", "new", "--undo", undo])
        status, _, _ = run(["apply", undo])

        assert 0 == status
        assert before == chatmark_emulator.state.snapshot()

    def test_refused(self, run: Run, tmp_path: pathlib.Path) -> None:
        """A refusal is a failure, which names the code; --json has it too."""
        failed = tmp_path / "failed.jsonl"
        status, out, err = run(
            ["mark", "amy", "bob", "nobody", "--set", "0", "--json", "--failed", str(failed)]
        )
        document = json.loads(out)

        assert (1, 1, 1) == (status, document["applied"], document["refused"])
        assert "nobody" == document["refused_by_code"][0]["example"]["to_account"]
        assert "nobody" == json.loads(failed.read_text())["to_account"]
        assert f"the rows that failed are in {failed}" in err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("amy", "give a user and another side"),
            ("amy bob", "nothing to change"),
            ("amy bob --set nosuch", "is not a known mark"),
            ("amy é --set 0", "printable ASCII"),
            ("amy bob --custom x --clear-custom", "give one of"),
            ("amy bob --set 0 --clear 0", "clear_mark"),
        ],
    )
    def test_wrong(
        self, arguments: str, message: str, chatmark_emulator: EmulatorThread, run: Run
    ) -> None:
        """Everything is checked before anything is sent."""
        status, _, err = run(["mark", *arguments.split()])

        assert 2 == status
        assert message in err
        assert not chatmark_emulator.counts


class TestCheck:
    def test_proves(self, chatmark_emulator: EmulatorThread, run: Run) -> None:
        """One call proves credentials, region and plan, and changes nothing."""
        status, out, _ = run(["check"])

        assert 0 == status
        assert "credentials and region are right" in out
        assert "the plan includes standard marks" in out
        assert {} == chatmark_emulator.state.snapshot()
        assert {"mark_contact": 1} == dict(chatmark_emulator.counts)

    @pytest.mark.parametrize(
        ("code", "status", "proven"),
        [(60020, 3, False), (70009, 3, False), (51013, 3, False), (0, 0, True)],
    )
    def test_refused(
        self, code: int, status: int, proven: bool, chatmark_emulator: EmulatorThread, run: Run
    ) -> None:
        """A refusal of the application is status 3, with the code and the advice."""
        if code:
            chatmark_emulator.script.always(Refuse(code))
        ended, out, err = run(["check", "--json"])
        document = json.loads(out)

        assert (status, "") == (ended, err)
        assert (1, not status, proven, code) == tuple(
            document[name] for name in ("schema", "ok", "plan_proven", "code")
        )

    def test_unknown_user(self, run: Run) -> None:
        """A server that knows the application and not the user proves no plan."""
        status, _, err = run(["check", "--user", "zoe"])

        assert 0 == status
        assert "warning: the plan is not proven" in err

    def test_unreachable(
        self, chatmark_emulator: EmulatorThread, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """A server that does not answer is status 3."""
        chatmark_emulator.stop()
        monkeypatch.setenv("CHATMARK_DEADLINE", "0.2")
        status, _, err = run(["check"])

        assert 3 == status
        assert "cannot connect" in err
