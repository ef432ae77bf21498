import json
import os
import pty
import subprocess
import sys
import types
from collections import Counter

import attrs
import pytest
from paths import ROOT

from chatmark.cli import terminal
from chatmark.cli.reading import Display, checking
from chatmark.jobs.reports.progress import Counters, Progress

EXAMPLES = ROOT / "examples"


class Time:
    """A clock that moves only in `sleep`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Have the displays look at a clock that the test moves."""
    clock = Time()
    monkeypatch.setattr("chatmark.cli.reading.time", types.SimpleNamespace(monotonic=clock))
    return clock


class TestLines:
    def test_every_five_seconds(self, time: Time, capsys: pytest.CaptureFixture[str]) -> None:
        """Without a terminal, standard error gets a plain line every five seconds."""
        sign = Display(quiet=False).at_intervals(lambda progress: progress)
        for second in range(1, 12):
            time.now = float(second)
            reading = Counters(second * 10, second, Counter({"502": 4}), Counter({50001: 2}))
            sign(Progress(reading, 200, 10.0, 1.0, 190.0))
        captured = capsys.readouterr()
        troubles = "4 put back to be sent again (502: 4), 2 failed (50001: 2)"

        assert [
            f"send 25%: 50 of 200 changes, 10/s, 15 s left, 5 calls, 1.0 of 190/s; {troubles}",
            f"send 50%: 100 of 200 changes, 10/s, 10 s left, 10 calls, 1.0 of 190/s; {troubles}",
        ] == captured.err.splitlines()
        assert "" == captured.out

    def test_json(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As JSON, a line has its phase, its target and the numbers."""
        monkeypatch.setattr(
            terminal, "LOG", attrs.evolve(terminal.LOG, as_json=True, target="1 at x")
        )
        Display(quiet=False).show(Progress(Counters(50, 5), 200, 10.0, 1.0, phase="verify"))
        line = json.loads(capsys.readouterr().err)

        assert ("verify", "1 at x", 50, 200) == tuple(
            line[name] for name in ("phase", "target", "done", "total")
        )

    def test_quiet(self, capsys: pytest.CaptureFixture[str]) -> None:
        """With --quiet no line is written, however long the job takes."""
        Display(quiet=True).show(Progress(Counters(50, 5), 200, 10.0, 1.0))

        assert "" == capsys.readouterr().err

    def test_checking(self, time: Time, capsys: pytest.CaptureFixture[str]) -> None:
        """A long check of a file prints lines, too."""
        shares = iter((0.5, 0.9))
        with checking("rows", quiet=False, share=lambda: next(shares)) as (sign, _):
            for rows in range(1_000, 13_000, 1_000):
                time.now += 1
                sign(rows)

        assert [
            "check 50%: 5,000 rows, 1,000/s",
            "check 90%: 10,000 rows, 1,000/s",
        ] == capsys.readouterr().err.splitlines()


class TestTerminal:
    @pytest.mark.parametrize("colour", [True, False])
    def test_bar(self, colour: bool) -> None:
        """On a terminal a bar with rates moves in place, in colour unless NO_COLOR is set."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("CHATMARK_")
        }
        environment |= {"TERM": "xterm-256color", "COLUMNS": "100"}
        environment |= {} if colour else {"NO_COLOR": "1"}
        master, slave = pty.openpty()
        marks = str(EXAMPLES / "marks.jsonl")
        process = subprocess.Popen(
            [sys.executable, "-m", "chatmark", "apply", marks, "--local", "--rate", "40"],
            env=environment,
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
        )
        os.close(slave)
        shown = b""
        while True:
            try:
                piece = os.read(master, 65_536)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        os.close(master)
        out, _ = process.communicate(timeout=20)

        assert 0 == process.returncode
        assert b"of 5,000 changes, " in shown
        assert b" calls, " in shown
        assert b" left" in shown
        assert "━".encode() in shown
        assert colour == (b"\x1b[91m" in shown or b"\x1b[38;" in shown)
        # The summary goes to standard output, and is plain.
        assert b"5,000 took effect" in out
        assert b"\x1b" not in out
