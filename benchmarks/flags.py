"""
The operations of `ConversationMark` against those of `enum.IntFlag`, an int and a set.

The enumeration only meets values that it has kept, which is its best case. There is no goal: an
`IntFlag` is an int, whose comparisons are C's, and it pays for that with memory (see `memory`).
"""

import functools
import statistics
import timeit
from collections.abc import Iterator
from typing import Any, Final

from benchmarks.figures import Figure
from benchmarks.measure import in_turns_sync, ratio
from benchmarks.memory import PlainFlag
from chatmark import ConversationMark

GROUP: Final = "flags"
_VALUE: Final = 0x3_0000_0005
_OTHER: Final = 0x2_0000_000C
_KINDS: Final[dict[str, Any]] = {
    "mark": ConversationMark,
    "flag": PlainFlag,
    "int": int,
    "set": lambda value: frozenset(bit for bit in range(64) if value >> bit & 1),
}
_OPERATIONS: Final = {
    "a | b": "a | b",
    "a & b": "a & b",
    "a ^ b": "a ^ b",
    "~a": "~a",
    "a == b": "a == b",
    "b in a": "b in a",
    "hash(a)": "hash(a)",
    "bool(a)": "bool(a)",
    "int(a)": "int(a)",
    "len(a)": "len(a)",
    "list(a)": "list(a)",
    "made from an int": "make(value)",
    "looked up by name": "make['HIDDEN']",
}
# An int has no members, a set has no complement, and neither has names.
_WITHOUT: Final = {
    "int": {"b in a", "len(a)", "list(a)", "looked up by name"},
    "set": {"~a", "b in a", "int(a)", "made from an int", "looked up by name"},
}
_SPECIAL: Final = {("int", "b in a"): "a & b == b", ("set", "b in a"): "b <= a"}


def run(*, quick: bool) -> Iterator[Figure]:
    """Yield the figures of this group."""
    number, rounds = (100, 2) if quick else (20_000, 30)
    for name, statement in _OPERATIONS.items():
        sides = {}
        for kind, make in _KINDS.items():
            special = _SPECIAL.get((kind, name))
            if special is None and name in _WITHOUT.get(kind, ()):
                continue
            timer = timeit.Timer(
                special or statement,
                globals={"a": make(_VALUE), "b": make(_OTHER), "make": make, "value": _VALUE},
            )
            sides[kind] = functools.partial(timer.timeit, number)
        times = in_turns_sync(sides, rounds)
        each = ", ".join(
            f"{kind} {statistics.median(found) / number * 1e9:.0f}" for kind, found in times.items()
        )
        spread = ratio(times["mark"], times["flag"])
        yield Figure(
            group=GROUP,
            name=f"{name}, over enum.IntFlag",
            note=f"ns: {each}",
            value=spread.median,
            spread=spread,
        )
