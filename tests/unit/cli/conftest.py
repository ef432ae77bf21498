"""Fixtures of the tests of the command line."""

import io
import pathlib
import shlex
import sys

import pytest
from cli_run import Ended, Run, write_lines

from chatmark.__main__ import main
from chatmark.emulator import EmulatorOptions, EmulatorThread


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, blank_environment: pytest.MonkeyPatch) -> pathlib.Path:
    """Work in an empty folder, without variables of chatmark."""
    blank_environment.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the command line."""

    def run(line: str, stdin: bytes = b"") -> Ended:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return Ended(main(shlex.split(line)), *capsys.readouterr())

    return run


@pytest.fixture
def chatmark_emulator_options() -> EmulatorOptions:
    """Let few users exist, and calls be as fast as they can."""
    return {"calls_per_second": None, "users": ["amy", "bob", "eve", "administrator"]}


@pytest.fixture
def emulator(
    emulator_environment: pytest.MonkeyPatch, chatmark_emulator: EmulatorThread
) -> EmulatorThread:
    """Point the command line to an emulator."""
    del emulator_environment
    return chatmark_emulator


@pytest.fixture
def half() -> None:
    """Write rows.jsonl: one change that takes effect, and one of a user that is not known."""
    row = {"to_account": "bob", "custom_mark": "x"}
    write_lines("rows.jsonl", {"from_account": "amy", **row}, {"from_account": "zoe", **row})
