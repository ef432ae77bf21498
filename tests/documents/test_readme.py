import pathlib
import re
from typing import Any

import pytest
from paths import ROOT
from rig import Rig

from chatmark import Conversation
from chatmark.emulator import EmulatorThread

README = ROOT / "README.md"
BLOCKS = re.findall(
    r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
PROGRAMS = [block for block in BLOCKS if "asyncio.run" in block]
TESTS = [block for block in BLOCKS if "def test_" in block]
SHARERS = [block for block in BLOCKS if "RedisBudget" in block]
WATCHERS = [block for block in BLOCKS if "OpenTelemetryHook" in block or "prometheus" in block]


class TestReadme:
    def test_has_its_programs(self) -> None:
        """Each block of the README is run here as one of these."""
        kinds = [PROGRAMS, TESTS, WATCHERS, SHARERS]
        assert [2, 1, 2, 1] == [len(each) for each in kinds]
        assert len(BLOCKS) == sum(len(each) for each in kinds)

    @pytest.mark.parametrize("program", PROGRAMS, ids=["service", "job"])
    def test_programs_run(
        self,
        program: str,
        chatmark_emulator: EmulatorThread,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """A program of the README runs as it stands there, but for the host."""
        for name, value in chatmark_emulator.credentials_environment().items():
            monkeypatch.setenv(name, value)
        url = f"base_url={chatmark_emulator.url!r}"
        exec(compile(program.replace("region=Region.SINGAPORE", url), "README.md", "exec"), {})

        assert chatmark_emulator.state.snapshot()
        assert "c2c_user_0002" in (out := capsys.readouterr().out) or "1000 applied" in out

    @pytest.mark.parametrize("block", TESTS)
    async def test_tests_pass(
        self, block: str, chatmark_emulator: EmulatorThread, chatmark_credentials: object
    ) -> None:
        """The README's test passes."""
        space: dict[str, object] = {}
        exec(compile(block, "README.md", "exec"), space)
        test = space["test_favorite"]
        assert callable(test)

        await test(chatmark_emulator, chatmark_credentials)

    async def test_watchers_watch(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """The lines for OpenTelemetry and Prometheus take a session's events."""
        for name, value in rig.emulator.credentials_environment().items():
            monkeypatch.setenv(name, value)
        space: dict[str, Any] = {}
        for block in WATCHERS:
            exec(compile(block, "README.md", "exec"), space)
        async with rig.session(hooks=[space["OpenTelemetryHook"](), space["count"]]) as session:
            await session.mark("alice", Conversation.group("g"), custom_mark="x")

        assert "Region.SINGAPORE" in WATCHERS[0]
        assert 1.0 == space["outcomes"].labels(code=0)._value.get()

    async def test_sharers_share(
        self,
        chatmark_emulator: EmulatorThread,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: pathlib.Path,
    ) -> None:
        """The lines for several processes make a session, which goes on where there is no Redis."""
        pytest.importorskip("redis")
        for name, value in chatmark_emulator.credentials_environment().items():
            monkeypatch.setenv(name, value)
        url = f"base_url={chatmark_emulator.url!r}"
        program = SHARERS[0].replace("region=Region.SINGAPORE", url)
        program = program.replace("redis://127.0.0.1:6379", f"unix://{tmp_path}/none")
        space: dict[str, Any] = {}
        exec(compile(program, "README.md", "exec"), space)
        async with space["budget"], space["session"] as session:
            await session.mark("alice", Conversation.group("g"), custom_mark="x")
