"""What a benchmark finds: figures with their goals, as a table and as JSON."""

import json
import os
import pathlib
import platform
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any, Final

import attrs

from benchmarks.measure import Spread

_LIBRARIES: Final = ("chatmark", "aiohttp", "attrs", "cattrs", "orjson", "pyarrow")


@attrs.frozen(kw_only=True)
class Figure:
    """
    One figure of one group of benchmarks.

    Args:
        group: The group's name.
        name: What was measured.
        value: The figure, None when it could not be had; `note` says why then.
        goal: What it ought to be, None for a figure that only informs.
        at_least: Whether more is better.
        spread: How it varied over the rounds.
        unit: What the figure counts, "" for a ratio.
        note: What else there is to say.
    """

    group: str
    name: str
    value: float | None
    goal: float | None = None
    at_least: bool = False
    spread: Spread | None = None
    unit: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached, None where there is none or no figure."""
        if self.goal is None or self.value is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    @property
    def cells(self) -> tuple[str, ...]:
        """The figure as a row of the table."""
        goal = ""
        if self.goal is not None:
            goal = f"{'>=' if self.at_least else '<='} {_short(self.goal)}"
        value = "skipped" if self.value is None else f"{_short(self.value)} {self.unit}".rstrip()
        if self.spread is not None:
            value += f" ({_short(self.spread.low)} to {_short(self.spread.high)})"
        met = {None: "", True: "yes", False: "no"}[self.met]
        return self.group, self.name, goal, value, met, self.note


_HEADS: Final = ("group", "what", "goal", "measured (quartiles)", "met", "note")


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a table in Markdown, which a terminal shows as well."""
    rows = [_HEADS, *(figure.cells for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def document(figures: Iterable[Figure]) -> dict[str, Any]:
    """Return the figures, and what they were measured with, as JSON's types."""
    return {
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "cpus": os.cpu_count(),
        },
        "versions": {name: found for name in _LIBRARIES if (found := _version(name))},
        "figures": [attrs.asdict(figure) | {"met": figure.met} for figure in figures],
    }


def write_json(path: str, figures: Iterable[Figure]) -> None:
    """Write the figures to a file."""
    text = json.dumps(document(figures), indent=2)
    pathlib.Path(path).write_text(text + "\n", encoding="utf-8")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
