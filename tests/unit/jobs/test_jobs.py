import asyncio
import inspect
import pathlib
import textwrap
from typing import Any

import pytest

from chatmark import jobs
from chatmark.emulator import EmulatorThread


def test_names() -> None:
    """Each name can be imported, is listed once, and has a docstring of its own."""
    assert sorted(set(jobs.__all__)) == jobs.__all__
    assert set(jobs.__all__) <= set(dir(jobs))
    for name in jobs.__all__:
        assert (inspect.getdoc(getattr(jobs, name)) or "").partition("\n\n")[0].endswith(".")
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        jobs.Nothing  # noqa: B018


class TestExample:
    def test_runs(
        self,
        chatmark_emulator: EmulatorThread,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The example of the package does what it says."""
        monkeypatch.chdir(tmp_path)
        for name, value in chatmark_emulator.credentials_environment().items():
            monkeypatch.setenv(name, value)
        pathlib.Path("marks.jsonl").write_text(
            '{"from_account": "amy", "to_account": "bob", "set_mark": "favorite"}\n', "utf-8"
        )
        document = inspect.getdoc(jobs) or ""
        start, end = document.index("    from chatmark"), document.index("The same call")
        code = textwrap.dedent(document[start:end]).replace(
            "region=Region.SINGAPORE", f"base_url={chatmark_emulator.url!r}"
        )
        names: dict[str, Any] = {}
        exec(code, names)
        asyncio.run(names["nightly"]())

        assert {("amy", 1, "bob"): (1, "")} == chatmark_emulator.state.snapshot()
        assert "1 Counter()" == capsys.readouterr().out.splitlines()[-1]
        # The journal is removed with success.
        assert {"marks.jsonl", "failed.jsonl"} == {each.name for each in tmp_path.iterdir()}
