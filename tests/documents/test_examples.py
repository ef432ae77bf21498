import json
import runpy
import subprocess
import sys
from collections import defaultdict

import pytest
from paths import ROOT

from chatmark.conversations import ConversationType
from chatmark.emulator import EmulatorThread
from chatmark.jobs.sources.files import ChangeFile

EXAMPLES = ROOT / "examples"
MARKS = EXAMPLES / "marks.jsonl"


class TestMarks:
    def test_made_by_the_script(self) -> None:
        """The script makes this very file."""
        made = subprocess.run(
            [sys.executable, EXAMPLES / "make_marks.py"], capture_output=True, check=True
        )

        assert MARKS.read_bytes() == made.stdout

    def test_variety(self) -> None:
        """The file has all kinds of change, of both kinds of conversation, again and again."""
        changes = list(ChangeFile.of(str(MARKS)).changes())
        conversations = {(change.from_account, change.conversation) for change in changes}

        assert (5_000, 50) == (len(changes), len({user for user, _ in conversations}))
        assert len(conversations) < 4_000
        assert set(ConversationType) == {change.conversation.type for change in changes}
        assert {1, 2, 3} == {change.opt_type for change in changes}
        assert any(change.custom_mark == "" for change in changes)
        assert any(not (change.custom_mark or "").isascii() for change in changes)
        assert any(max(change.set_mark.bits, default=0) >= 32 for change in changes)

    def test_names_and_numbers(self) -> None:
        """Marks are given by name and by number."""
        rows = map(json.loads, MARKS.read_text(encoding="utf-8").splitlines())
        kinds = {type(mark) for row in rows for mark in row.get("set_mark", [])}

        assert {int, str} == kinds

    def test_within_the_limit(self) -> None:
        """No user has as many conversations as the vendor allows to be marked."""
        conversations = defaultdict(set)
        for change in ChangeFile.of(str(MARKS)).changes():
            conversations[change.from_account].add(change.conversation)

        assert max(map(len, conversations.values())) < 1_000


class TestScripts:
    @pytest.mark.parametrize(
        ("script", "conversations"), [("service.py", 1_000), ("job.py", 20_000)]
    )
    def test_run(
        self,
        script: str,
        conversations: int,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The examples do what they say, with the emulator."""
        with EmulatorThread(calls_per_second=None) as emulator:
            for name, value in emulator.credentials_environment().items():
                monkeypatch.setenv(name, value)
            runpy.run_path(str(EXAMPLES / script), run_name="__main__")

            assert conversations == len(emulator.state.snapshot())
            assert [] == emulator.violations
        assert f"{conversations:,}" in capsys.readouterr().out
