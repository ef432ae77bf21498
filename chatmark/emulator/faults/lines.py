"""Faults of single lines of an answer."""

from collections.abc import Collection, Sequence
from random import Random
from typing import cast

import attrs

from chatmark.emulator.faults.fault import Fault
from chatmark.emulator.wire.answers import Line
from chatmark.emulator.wire.fields import Key, Named, key_of


def shuffled(lines: list[Line], rng: Random) -> list[Line]:
    """Return *lines* in another order, if there is one."""
    if all(line == lines[0] for line in lines):
        return lines
    order = lines.copy()
    while order == lines:
        rng.shuffle(order)
    return order


def _contact(line: Line) -> Line:
    """Return the part of a line that names the conversation."""
    return cast("Line", line.get("ContactItem", line))


def _key(line: Line) -> Key:
    contact = _contact(line)
    id_ = contact.get("To_Account", contact.get("ToGroupId"))
    return cast("Key", (contact["Type"], id_))


@attrs.frozen
class Shuffle(Fault):
    """Answer with the lines in another order."""

    def lines(self, lines: list[Line], conversations: Sequence[Key], rng: Random) -> list[Line]:
        return shuffled(lines, rng)


@attrs.frozen
class DropLines(Fault):
    """
    Answer without some of the lines.

    Args:
        count: The number of lines to leave out, from the first one of the request.
        conversations: The conversations to leave out instead.
        applied: Whether the items of the missing lines take effect; the others always do.
    """

    count: int = 1
    conversations: Collection[Key | Named] = attrs.field(default=(), kw_only=True)
    dropped_applied: bool = attrs.field(default=True, kw_only=True, alias="applied")
    applied: bool = attrs.field(default=True, init=False)

    def _dropped(self, conversations: Sequence[Key]) -> frozenset[Key]:
        return frozenset(map(key_of, self.conversations or conversations[: self.count]))

    def skipped(self, conversations: Sequence[Key]) -> frozenset[Key]:
        return frozenset() if self.dropped_applied else self._dropped(conversations)

    def lines(self, lines: list[Line], conversations: Sequence[Key], rng: Random) -> list[Line]:
        dropped = self._dropped(conversations or [_key(line) for line in lines])
        return [line for line in lines if _key(line) not in dropped]


@attrs.frozen
class ExtraLines(Fault):
    """Answer with further lines, of conversations that the request does not name."""

    count: int = 1

    def lines(self, lines: list[Line], conversations: Sequence[Key], rng: Random) -> list[Line]:
        extra: list[Line] = []
        for number in range(self.count if lines else 0):
            contact: Line = {"Type": 1, "To_Account": f"stranger_{number}"}
            model = {k: v for k, v in lines[0].items() if k not in ("To_Account", "ToGroupId")}
            nested = "ContactItem" in model
            extra.append(model | ({"ContactItem": contact} if nested else contact))
        return lines + extra


@attrs.frozen
class DuplicateLines(Fault):
    """Answer with the first *count* lines a second time, at the end."""

    count: int = 1

    def lines(self, lines: list[Line], conversations: Sequence[Key], rng: Random) -> list[Line]:
        return lines + lines[: self.count]


@attrs.frozen
class NamelessLines(Fault):
    """Answer with the first *count* lines without their To_Account or ToGroupId."""

    count: int = 1

    def lines(self, lines: list[Line], conversations: Sequence[Key], rng: Random) -> list[Line]:
        for line in lines[: self.count]:
            contact = _contact(line)
            contact.pop("To_Account", None)
            contact.pop("ToGroupId", None)
        return lines
