import os
import subprocess
import sys

import pytest
from cli_run import Run, write_lines

from chatmark.ray.options import stay_on_loopback


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file of one row, and set credentials in the environment."""
    write_lines("rows.jsonl", {"from_account": "a", "to_account": "b", "set_mark": ["favorite"]})
    monkeypatch.setenv("CHATMARK_SDKAPPID", "1400000001")
    monkeypatch.setenv("CHATMARK_SECRET_KEY", "example-secret-not-real")
    monkeypatch.setenv("CHATMARK_BASE_URL", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--ray local --undo u", "--undo is not possible with --ray"),
        ("--ray local --show a", "--show is not possible with --ray"),
        ("--ray local --local", "--local is not possible with --ray"),
        ("--ray local -", "standard input is not possible with --ray"),
        ("--ray local --max-errors 1", "--max-errors needs --failed"),
        ("--ray local --ray-partitions 0", "--ray-partitions"),
        ("--ray-partitions 2", "--ray-partitions needs --ray"),
    ],
)
def test_what_a_cluster_cannot_do(line: str, message: str, run: Run) -> None:
    """Options of a job in one process are refused before Ray is loaded."""
    status, _, err = run(f"apply rows.jsonl {line}")

    assert (2, True) == (status, message in err)


def test_without_the_extra() -> None:
    """If Ray is missing, the error says how to install it."""
    script = (
        "import sys; sys.modules['ray'] = None; from chatmark.cli.app import run; "
        "sys.exit(run(['apply', 'rows.jsonl', '--ray', 'auto']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )

    assert (2, True) == (done.returncode, "pip install 'chatmark[ray]'" in done.stderr)


def test_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A local cluster listens on loopback, unless Ray is loaded already."""
    variable = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setitem(sys.modules, "ray", object())
    stay_on_loopback()
    assert variable not in os.environ
    monkeypatch.delitem(sys.modules, "ray")
    stay_on_loopback()
    assert "0" == os.environ[variable]
    monkeypatch.delenv(variable)
