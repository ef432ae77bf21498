"""A run of the command line inside the test's process."""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest

from chatmark.emulator import EmulatorOptions


class Ended(NamedTuple):
    """The exit status of a command, and the text of its two streams."""

    status: int
    out: str
    err: str


Run = Callable[[Sequence[str]], Ended]


class WithAnUnknownUser:
    """Tests in a folder whose rows.jsonl has a change of a user that the emulator does not know."""

    @pytest.fixture
    @staticmethod
    def chatmark_emulator_options() -> EmulatorOptions:
        """Let few users exist."""
        return {"calls_per_second": None, "users": ["amy", "bob"]}

    @pytest.fixture(autouse=True)
    @staticmethod
    def rows(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Write a file of changes, one of an unknown user."""
        monkeypatch.chdir(tmp_path)
        row = '{{"from_account": "{}", "to_account": "bob", "custom_mark": "x"}}\n'
        pathlib.Path("rows.jsonl").write_text(row.format("amy") + row.format("zoe"))
