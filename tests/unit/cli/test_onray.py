import os
import pathlib
import subprocess
import sys

import pytest

from chatmark.cli.app import run
from chatmark.ray.options import stay_on_loopback

ROW = '{"from_account": "a", "to_account": "b", "set_mark": ["favorite"]}\n'


@pytest.fixture
def rows(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a file of one row, and set credentials in the environment."""
    for name, value in {
        "SDKAPPID": "1400000001",
        "SECRET_KEY": "example-secret-not-real",
        "BASE_URL": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(f"CHATMARK_{name}", value)
    path = tmp_path / "rows.jsonl"
    path.write_text(ROW, encoding="utf-8")
    return str(path)


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--undo", "u"], "--undo is not possible with --ray"),
            (["--show", "a"], "--show is not possible with --ray"),
            (["--local"], "--local is not possible with --ray"),
            (["-"], "standard input is not possible with --ray"),
            (["--max-errors", "1"], "--max-errors needs --failed"),
            (["--ray-partitions", "0"], "--ray-partitions"),
        ],
    )
    def test_what_a_cluster_cannot_do(
        self, rows: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Options of a job in one process are refused before Ray is loaded."""
        assert 2 == run(["apply", rows, "--ray", "local", *arguments])
        assert message in capsys.readouterr().err

    def test_without_the_extra(self, rows: str) -> None:
        """If Ray is missing, the error says how to install it."""
        script = (
            "import sys; sys.modules['ray'] = None; from chatmark.cli.app import run; "
            f"sys.exit(run(['apply', {rows!r}, '--ray', 'auto']))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], check=False, capture_output=True, text=True
        )

        assert 2 == done.returncode
        assert "pip install 'chatmark[ray]'" in done.stderr

    def test_without_a_cluster(self, rows: str, capsys: pytest.CaptureFixture[str]) -> None:
        """Options of a cluster need --ray."""
        assert 2 == run(["apply", rows, "--ray-partitions", "2"])
        assert "--ray-partitions needs --ray" in capsys.readouterr().err


class TestLoopback:
    def test_before_ray(self, monkeypatch: pytest.MonkeyPatch) -> None:
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
