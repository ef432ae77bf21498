"""
Make `marks.jsonl`: 5,000 changes over 50 users, as a team's export might look.

    python examples/make_marks.py > examples/marks.jsonl

The same seed gives the same file on every Python: only `Random.random` is drawn from, whose numbers
are guaranteed to stay.
"""

import json
import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

SEED = 53438
CHANGES = 5_000
USERS = 50
CUSTOMERS = 400
GROUPS = 60

MARKS: Sequence[str | int] = ("favorite", "unread", "collapsed", "hidden", 0, 1, 32, 33, 40, 63)
TEXTS = (
    "",
    "abcd",
    "follow up on Monday",
    "重要客户",
    "позвонить завтра",
    "à rappeler ☎",
    "🔥 escalated",
    "مهم",
    '{"tier": "gold", "owner": "mia"}',
)
# Shares of the rows. A team's agents keep coming back to a few conversations.
SEEN_BEFORE = 0.3
ONE_TO_ONE = 0.7
CUSTOM_ONLY = 0.15
BOTH = 0.3


class Maker:
    """Draws changes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random
        self._recent: list[dict[str, str]] = []

    def rows(self, count: int) -> Iterator[dict[str, Any]]:
        """Yield so many changes."""
        for _ in range(count):
            yield self._target() | self._marks()

    def _pick(self, choices: Sequence[T]) -> T:
        return choices[int(self._random() * len(choices))]

    def _number(self, count: int) -> int:
        return 1 + int(self._random() * count)

    def _target(self) -> dict[str, str]:
        if self._recent and self._random() < SEEN_BEFORE:
            return self._pick(self._recent)
        target = {"from_account": f"user_{self._number(USERS):04}"}
        if self._random() < ONE_TO_ONE:
            target["to_account"] = f"customer_{self._number(CUSTOMERS):04}"
        else:
            target["to_group_id"] = f"@TGS#{self._number(GROUPS):04}"
        self._recent = [*self._recent[-199:], target]
        return target

    def _marks(self) -> dict[str, Any]:
        kind = self._random()
        if kind < CUSTOM_ONLY:
            return {"custom_mark": self._pick(TEXTS)}
        marks = list(dict.fromkeys(self._pick(MARKS) for _ in range(self._number(3))))
        # Numbers 0 and 1 are favorite and unread: a change names a bit once.
        marks = [mark for mark in marks if not self._is_twice(mark, marks)]
        cut = int(self._random() * (len(marks) + 1))
        row: dict[str, Any] = {"set_mark": marks[:cut], "clear_mark": marks[cut:]}
        row = {field: value for field, value in row.items() if value}
        if kind < CUSTOM_ONLY + BOTH:
            row["custom_mark"] = self._pick(TEXTS)
        return row

    @staticmethod
    def _is_twice(mark: str | int, marks: Sequence[str | int]) -> bool:
        return isinstance(mark, int) and mark < len(MARKS) and MARKS[mark] in marks


def main() -> None:
    """Write the file to standard output."""
    for row in Maker(SEED).rows(CHANGES):
        sys.stdout.buffer.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


if __name__ == "__main__":
    main()
