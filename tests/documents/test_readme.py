import json
import pathlib
import re
from typing import Any, Final

import pages
import pytest
from paths import ROOT

from chatmark import Conversation, ConversationMark, MarkSession, failures
from chatmark.__main__ import main
from chatmark.emulator import EmulatorThread

README: Final = ROOT / "README.md"
TEXT: Final = README.read_text("utf-8")


class TestReadme:
    @pytest.fixture
    def space(
        self, emulator_environment: pytest.MonkeyPatch, request: pytest.FixtureRequest
    ) -> dict[str, Any]:
        """Run the programs; they print what the page says."""
        return pages.run(pages.blocks_of(README), request.getfixturevalue)

    def test_length(self) -> None:
        """The page is read in minutes."""
        assert len(TEXT.split()) <= 1_200

    def test_links(self) -> None:
        """The page links to files that exist."""
        links = re.findall(r"\]\((?!https:)([^)#]+)", TEXT)

        assert [] == [link for link in links if not (ROOT / link).exists()]

    def test_errors(self) -> None:
        """The table of errors names errors."""
        names = re.findall(r"^\| `(\w+Error)`", TEXT, re.MULTILINE)

        assert len(names) >= 8
        assert [] == [
            name for name in names if not hasattr(failures, name) and name != "InputError"
        ]

    async def test_recipes(self, space: dict[str, Any], chatmark_emulator: EmulatorThread) -> None:
        """Five hundred conversations take five calls; unread is cleared where it was set."""
        chatmark_emulator.state.clear()
        peers = [f"peer_{number}" for number in range(500)]
        async with MarkSession.from_env() as session:
            report = await space["favorite"](session, "amy", peers)
            assert (500, 5) == (report.succeeded, report.calls)
            some = map(Conversation.one_to_one, peers[:3])
            await session.mark_many("amy", some, set_mark=ConversationMark.UNREAD)
            report = await space["clear_unread"](session, "amy")

        assert (3, 0) == (report.succeeded, report.failed)
        assert {(1, "")} == set(chatmark_emulator.state.snapshot().values())

    def test_differences(
        self,
        emulator_environment: pytest.MonkeyPatch,
        tmp_path: pathlib.Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The rows that the command writes bring the export back."""
        emulator_environment.chdir(tmp_path)
        row = {"from_account": "amy", "to_account": "bob", "set_mark": ["favorite"]}
        pathlib.Path("export.jsonl").write_text(json.dumps(row))
        commands = [each for each in pages.commands_of(README) if each[0] == "verify"]

        assert [1] == [main(command) for command in commands], capsys.readouterr().err
        assert 0 == main(["apply", "differences.jsonl"])
        assert [0] == [main(command) for command in commands]
