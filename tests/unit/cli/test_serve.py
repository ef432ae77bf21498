import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import pytest
from cli_run import Run


class TestServe:
    @pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
    def test_serves(self, stop: signal.Signals, tmp_path: pathlib.Path) -> None:
        """The printed environment lets a change take effect despite faults; the end is clean."""
        users = tmp_path / "users.txt"
        users.write_text("amy\nbob\n")
        options = ["--port", "0", "--users", str(users), "--shuffle", "--fault-rate", "0.2"]
        server = subprocess.Popen(
            [sys.executable, "-m", "chatmark", "serve", *options, "--item-fault-rate", "0.1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        lines = [server.stdout.readline() for _ in range(5)]
        environment = dict(re.findall(r"export (\w+)=(\S+)", "".join(lines)))
        marks = tmp_path / "marks.jsonl"
        row = '{"from_account": "amy", "to_account": "bob", "custom_mark": "%d"}\n'
        marks.write_text("".join(row % number for number in range(20)))
        client = subprocess.run(
            [sys.executable, "-m", "chatmark", "apply", marks, "--verify"],
            env=os.environ | environment,
            capture_output=True,
            check=False,
        )
        server.send_signal(stop)
        out, err = server.communicate(timeout=20)

        assert "# listening on http://127.0.0.1:" in lines[-1]
        assert b"20 took effect" in client.stdout
        assert b"1 of 1 conversation read back" in client.stdout
        assert (0, 0, "") == (client.returncode, server.returncode, err)
        assert "calls" in out

    def test_port_is_taken(self, run: Run) -> None:
        """A taken port is one error line."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            status, _, err = run(["serve", "--port", str(taken.getsockname()[1])])

        assert 2 == status
        assert "address already in use" in err
        assert 1 == len(err.splitlines())

    def test_bad_users(self, tmp_path: pathlib.Path, run: Run) -> None:
        """An impossible user id is wrong input."""
        users = tmp_path / "users.txt"
        users.write_text("é\n", encoding="utf-8")

        status, _, err = run(["serve", "--users", str(users)])

        assert 2 == status
        assert "users.txt:1: users: has characters other" in err
