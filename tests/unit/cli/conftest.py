"""Fixtures of the tests of the command line."""

import pytest
from cli_run import Ended, Run

from chatmark.__main__ import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command line."""
    return lambda arguments: Ended(main(arguments), *capsys.readouterr())
