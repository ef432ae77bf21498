import json
import pathlib

import pytest
from cli_run import Run

from chatmark.emulator import EmulatorThread, Refuse


class TestMark:
    @pytest.mark.parametrize(
        ("line", "state"),
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
                "--users ids.txt bob bob --set hidden",
                {("amy", 1, "bob"): (8, ""), ("eve", 1, "bob"): (8, "")},
            ),
            (
                "bob --to-file ids.txt --set 0",
                {("bob", 1, "amy"): (1, ""), ("bob", 1, "eve"): (1, "")},
            ),
            ("amy bob --set 0 --dry-run", {}),
        ],
    )
    def test_takes_effect(
        self, line: str, state: object, emulator: EmulatorThread, run: Run
    ) -> None:
        """All conversations between the users and the other sides are marked."""
        pathlib.Path("ids.txt").write_text("amy\n eve \n\n")
        status, _, err = run(f"mark {line}")

        assert (0, "") == (status, err)
        assert state == emulator.state.snapshot()

    def test_undo(self, emulator: EmulatorThread, run: Run) -> None:
        """Marks and custom marks are cleared; rows that bring back what was are written before."""
        emulator.state.seed_mark("amy", (1, "bob"), 9, "old")
        emulator.state.seed_mark("amy", (1, "eve"), 8)
        before = emulator.state.snapshot()
        marked = run("mark amy bob eve --clear hidden --clear-custom --undo undo.jsonl")

        assert 0 == marked.status
        assert {("amy", 1, "bob"): (1, "")} == emulator.state.snapshot()
        assert 0 == run("apply undo.jsonl").status
        assert before == emulator.state.snapshot()

    def test_refused(self, emulator: EmulatorThread, run: Run) -> None:
        """A refusal is a failure, which names the code; --json has it too."""
        del emulator
        status, out, err = run("mark amy bob nobody --set 0 --json --failed failed.jsonl")
        document = json.loads(out)

        assert (1, 1, 1) == (status, document["applied"], document["refused"])
        assert "nobody" == document["refused_by_code"][0]["example"]["to_account"]
        assert "nobody" == json.loads(pathlib.Path("failed.jsonl").read_text())["to_account"]
        assert "the rows that failed are in failed.jsonl" in err

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("amy", "give a user and another side"),
            ("amy bob", "nothing to change"),
            ("amy bob --set nosuch", "is not a known mark"),
            ("amy é --set 0", "printable ASCII"),
            ("amy bob --custom x --clear-custom", "give one of"),
            ("amy bob --set 0 --clear 0", "clear_mark"),
        ],
    )
    def test_wrong(self, line: str, message: str, emulator: EmulatorThread, run: Run) -> None:
        """Everything is checked before anything is sent."""
        status, _, err = run(f"mark {line}")

        assert (2, True) == (status, message in err)
        assert not emulator.counts


class TestCheck:
    def test_proves(self, emulator: EmulatorThread, run: Run) -> None:
        """One call proves credentials, region and plan, and changes nothing."""
        status, out, _ = run("check")

        assert 0 == status
        assert "credentials and region are right" in out
        assert "the plan includes standard marks" in out
        assert {} == emulator.state.snapshot()
        assert {"mark_contact": 1} == dict(emulator.counts)

    @pytest.mark.parametrize("code", [60020, 70009, 51013, 0])
    def test_refused(self, code: int, emulator: EmulatorThread, run: Run) -> None:
        """A refusal of the application is status 3, with the code and the advice."""
        if code:
            emulator.script.always(Refuse(code))
        status, out, err = run("check --json")
        document = json.loads(out)
        names = ("schema", "ok", "plan_proven", "code")

        assert (3 if code else 0, "") == (status, err)
        assert (1, not code, not code, code) == tuple(document[name] for name in names)

    @pytest.mark.parametrize(
        ("line", "status", "message"),
        [
            ("--user zoe", 0, "warning: the plan is not proven"),
            ("--base-url http://127.0.0.1:1 --deadline 0.1", 3, "cannot connect"),
            ("--proxy http://user:example-password@h:1", 2, "CHATMARK_PROXY"),
            ("--proxy http://127.0.0.1:1", 2, "must be https with a proxy"),
            ("--proxy h", 2, "must be a URL"),
        ],
    )
    def test_unproven(
        self, line: str, status: int, message: str, emulator: EmulatorThread, run: Run
    ) -> None:
        """An unknown user proves no plan; no signature or password goes to a proxy in clear."""
        del emulator
        ended = run(f"check {line}")

        assert (status, True) == (ended.status, message in ended.err)
        assert "example-password" not in ended.out + ended.err

    def test_unreachable_proxy(self, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        """A proxy that does not answer is named without its password."""
        monkeypatch.setenv("CHATMARK_PROXY", "http://user:example-password@127.0.0.1:1")
        monkeypatch.setenv("CHATMARK_SDKAPPID", "1400000001")
        monkeypatch.setenv("CHATMARK_SECRET_KEY", "x")
        status, out, err = run("check --region singapore --deadline 0.1")

        assert 3 == status
        assert "cannot connect to the proxy 127.0.0.1:1" in err
        assert "example-password" not in out + err
