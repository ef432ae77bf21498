"""Counters that are added and subtracted field by field, and numbers in words."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Self, cast

import attrs

#: The version of JSON documents: it grows when a field is taken away, or means something else.
SCHEMA: Final = 1
_MINUTE: Final = 60
_HOUR: Final = 3600
_FORMS: Final = re.compile(r"\{([^{|}]*)\|([^{|}]*)\}")


def counted(count: int, thing: str) -> str:
    """Return a number with its noun, such as "1,000 rows"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def agree(count: int, text: str) -> str:
    """Return the words of a text, such as "{row was|rows were} read", that agree with a number."""
    return _FORMS.sub(r"\1" if count == 1 else r"\2", text)


def troubles(
    retries_by_reason: Mapping[str, int], failures_by_code: Mapping[int | None, int]
) -> str:
    """Return both in one line, "" without any."""
    found: dict[str, Mapping[Any, int]] = {
        "put back to be sent again": retries_by_reason,
        "failed": failures_by_code,
    }
    return ", ".join(
        f"{sum(counts.values()):,} {text} ({listed(counts)})"
        for text, counts in found.items()
        if any(counts.values())
    )


def by_count(counts: Mapping[Any, int]) -> list[tuple[Any, int]]:
    """Return the items of *counts*, the most frequent first, equal ones in a fixed order."""
    return sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))


def listed(counts: Mapping[Any, int]) -> str:
    """Return counts as text, the most frequent first, such as "no code: 2, 50001: 1"."""
    return ", ".join(
        f"{'no code' if key is None else key}: {count:,}" for key, count in by_count(counts)
    )


def precise(seconds: float) -> str:
    """Return a duration for people, with tenths of a second where it is short."""
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)  # noqa: PLR2004 - seconds.


def duration(seconds: float) -> str:
    """Return a duration for people, such as "45 s" or "1:02:05 h"."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}:{whole % _MINUTE:02} min"
    return f"{whole // _HOUR}:{whole % _HOUR // _MINUTE:02}:{whole % _MINUTE:02} h"


@attrs.frozen
class Phase:
    """A part of a job (check, group, send or verify): how many things it handled in its time."""

    name: str
    things: str
    count: int
    seconds: float
    calls: int = 0

    @property
    def rate(self) -> float:
        return self.count / max(self.seconds, 1e-3)


class Addable:
    """Base of attrs classes whose fields are numbers, Counters, lists and dicts."""

    __slots__ = ()

    def __add__(self, other: Self) -> Self:
        # A plain dict has no "+"; a Counter, which adds up its values, has.
        return self._combined(other, lambda a, b: a | b if type(a) is dict else a + b)

    def __sub__(self, earlier: Self) -> Self:
        return self._combined(earlier, lambda a, b: a - b)

    def _combined(self, other: Self, combine: Callable[[Any, Any], Any]) -> Self:
        names = [field.name for field in attrs.fields(cast("Any", type(self)))]
        return type(self)(*(combine(getattr(self, name), getattr(other, name)) for name in names))
