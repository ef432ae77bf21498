import gc
import io
import json
import re
import sys
import types
from collections import Counter

import attrs
import pytest

from chatmark import MarkNames
from chatmark.cli import terminal
from chatmark.cli.reading import Display, checking
from chatmark.cli.sending import rare_collections
from chatmark.cli.summary import print_summary
from chatmark.cli.terminal import Console
from chatmark.jobs import Accounts, JobReport
from chatmark.jobs.journal import Run
from chatmark.jobs.reports.progress import Counters, Progress


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Have the displays look at a clock that the test moves."""
    clock = Clock()
    monkeypatch.setattr("chatmark.cli.reading.time", types.SimpleNamespace(monotonic=clock))
    return clock


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def progress(second: float) -> Progress:
    """Return the progress of a job, which makes a call a second, with some trouble."""
    done = int(second) * 10
    counters = Counters(done, int(second), Counter({"502": 4}), Counter({50001: 2}))
    return Progress(counters, 200, 10.0, 1.0, 190.0)


class TestDisplay:
    def test_lines(self, time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
        """Without a terminal, standard error gets a plain line every five seconds."""
        loud, quiet = Display(quiet=False), Display(quiet=True)
        for second in range(1, 12):
            time.now = float(second)
            loud.show(progress(time.now))
            quiet.show(progress(time.now))
        troubles = "4 put back to be sent again (502: 4), 2 failed (50001: 2)"
        lines = [
            f"send 25%: 50 of 200 changes, 10/s, 15 s left, 5 calls, 1.0 of 190/s; {troubles}",
            f"send 50%: 100 of 200 changes, 10/s, 10 s left, 10 calls, 1.0 of 190/s; {troubles}",
        ]

        assert ("", lines) == ((said := capsys.readouterr()).out, said.err.splitlines())

    def test_json(
        self, time: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As JSON, a line has its phase, its target and the numbers."""
        log = attrs.evolve(terminal.LOG, as_json=True, target="1 at x")
        monkeypatch.setattr(terminal, "LOG", log)
        display = Display(quiet=False)
        time.now = 5.0
        display.show(attrs.evolve(progress(5.0), phase="verify"))
        line = json.loads(capsys.readouterr().err)
        names = ("phase", "target", "done", "total")

        assert ("verify", "1 at x", 50, 200) == tuple(line[name] for name in names)

    def test_checking(self, time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
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

    @pytest.mark.parametrize("colour", [True, False])
    def test_bar(self, colour: bool, time: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a terminal a bar with rates moves in place, in colour unless NO_COLOR is set."""
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLUMNS", "100")
        if not colour:
            monkeypatch.setenv("NO_COLOR", "1")
        shown = Terminal()
        monkeypatch.setattr(sys, "stderr", shown)
        with Display(quiet=False) as display:
            time.now = 0.1
            display.show(progress(5.0))
            terminal.warn("something else")
        text = shown.getvalue()

        for part in ("send 25%", "━", "50 of 200 changes", "15 s left", "5 calls", "something"):
            assert part in text
        assert colour == ("\x1b[91m" in text or "\x1b[38;" in text)


class TestTables:
    @pytest.mark.parametrize("columns", ["0", "40", "80", "200"])
    def test_width(self, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a terminal no line is too long, and no word is broken; 0 is an unknown width."""
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setenv("TERM", "xterm")
        shown = Terminal()
        rows = [("user_00001", "c2c_peer_0003", "favorite extension_33", "2026-11-27 01:02")] * 2
        titles = ("user", "conversation", "marks", "time")
        Console(shown).print_table("A table of two rows", titles, rows)
        lines = [
            re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in shown.getvalue().splitlines()
        ]

        assert max(map(len, lines)) <= (int(columns) or 80)
        for word in " ".join(rows[0]).split():
            assert any(word in line.split() for line in lines)

    def test_pipe(self) -> None:
        """Without a terminal cells are separated by tabs, and escapes are shown."""
        shown = io.StringIO()
        Console(shown).print_table("", ("a", "b"), [("x" * 9, "\x1b[2J\t"), ("y", "")])

        assert "a\tb\nxxxxxxxxx\t\\x1b[2J\\t\ny\t\n" == shown.getvalue()


@pytest.mark.parametrize(
    ("several", "rates"), [(False, "40.0 calls/s, 36 changes/s"), (True, "36 changes/s")]
)
def test_rates(*, several: bool, rates: str) -> None:
    """The rate of calls is never above the limit; with a limit of each kind it is left out."""
    report = JobReport(
        file="f",
        rows=100,
        accounts=Accounts(total=100, taken=100, applied=100),
        run=Run(calls=220, seconds=2.75),
        calls_per_second=None if several else 40.0,
        several_limits=several,
    )
    out = io.StringIO()
    print_summary(Console(out), report, MarkNames())

    assert f"220 calls in 2.8 s: {rates}\n" in out.getvalue()


def test_rare_collections() -> None:
    """While a file is sent, the collector runs rarely; an error restores its settings too."""

    def fail() -> None:
        with rare_collections():
            assert gc.get_threshold()[0] > 10_000
            assert gc.get_freeze_count() > 1_000
            raise RuntimeError

    before = gc.get_threshold()
    with pytest.raises(RuntimeError):
        fail()

    assert (before, 0) == (gc.get_threshold(), gc.get_freeze_count())
