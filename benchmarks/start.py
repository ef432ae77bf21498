"""
How long a program takes to start that imports chatmark, and what it loads.

Processes of each kind run in turns; a figure is the ratio of their times from start to exit. What
Python itself takes is in both; the note says what is left without it.
"""

import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from benchmarks.figures import Figure
from benchmarks.measure import in_turns_sync, ratio

GROUP: Final = "start"
_ARGPARSE: Final = (
    "import argparse; parser = argparse.ArgumentParser(prog='bare');"
    "parser.add_argument('--version', action='version', version='bare 1.0');"
    "parser.parse_args(['--version'])"
)
_CLICK: Final = (
    "import click; click.version_option('1.0')(click.command()(lambda: None))"
    ".main(['--version'], prog_name='bare')"
)
_HELPERS: Final = "from chatmark import Conversation, ConversationMark, MarkChange, MarkNames"
_HEAVY: Final = ("aiohttp", "asyncio", "backoff", "cattrs", "ssl")


def run(*, quick: bool) -> Iterator[Figure]:
    """Yield the figures of this group."""
    python = [sys.executable, "-c"]
    script = pathlib.Path(sys.executable).with_name("chatmark")
    chatmark = [str(script)] if script.exists() else [sys.executable, "-m", "chatmark"]
    sides: dict[str, list[str]] = {
        "bare": [*python, "pass"],
        "attrs": [*python, "import attrs"],
        "chatmark": [*python, "import chatmark"],
        "session": [*python, "from chatmark import MarkSession"],
        "aiohttp": [*python, "import aiohttp, attrs, cattrs"],
        "argparse": [*python, _ARGPARSE],
        "click": [*python, _CLICK],
        "version": [*chatmark, "--version"],
    }
    times = in_turns_sync(
        {name: _process(command) for name, command in sides.items()}, 2 if quick else 40
    )
    bare = statistics.median(times["bare"])
    for above, below, name, goal in (
        ("chatmark", "attrs", "import chatmark over import attrs", None),
        ("session", "aiohttp", "import MarkSession over import aiohttp, attrs, cattrs", None),
        ("version", "argparse", "chatmark --version over bare Python with argparse", 1.5),
        ("version", "click", "chatmark --version over bare Python with click", None),
    ):
        own = [(statistics.median(times[each]) - bare) * 1e3 for each in (above, below)]
        spread = ratio(times[above], times[below])
        yield Figure(
            group=GROUP,
            name=name,
            goal=goal,
            note=f"{own[0]:.0f} ms against {own[1]:.0f}, beside {bare * 1e3:.0f} of Python's own",
            value=spread.median,
            spread=spread,
        )
    loaded = _loaded()
    yield Figure(
        group=GROUP,
        name="libraries that the mark helpers load and should not",
        value=len(loaded),
        goal=0,
        note=" ".join(loaded),
    )


def _process(command: list[str]) -> Callable[[], float]:
    def measure() -> float:
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - started

    return measure


def _loaded() -> list[str]:
    program = f"import sys; {_HELPERS}; print(*set({_HEAVY!r}) & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return sorted(done.stdout.split())
