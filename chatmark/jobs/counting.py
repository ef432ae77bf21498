"""Counters that are added and subtracted field by field."""

import re
from collections.abc import Callable
from typing import Any, Final, Self, cast

import attrs

#: The version of JSON documents: it grows when a field is taken away, or means something else.
SCHEMA: Final = 1
_FORMS: Final = re.compile(r"\{([^{|}]*)\|([^{|}]*)\}")


def counted(count: int, thing: str) -> str:
    """
    Return a number with its noun.

    >>> counted(1, "row"), counted(1_000, "row")
    ('1 row', '1,000 rows')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def agree(count: int, text: str) -> str:
    """
    Return the words of a text that agree with a number.

    >>> agree(1, "{row was|rows were} set aside")
    'row was set aside'
    """
    return _FORMS.sub(r"\1" if count == 1 else r"\2", text)


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
