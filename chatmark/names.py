"""Names for bits: the vendor's four, and a team's own for the bits that are the customer's."""

import difflib
import re
import tomllib
from collections.abc import Iterable
from typing import Any, Final, cast, final

from chatmark.errors import InputError
from chatmark.lazy import publish
from chatmark.marks import BIT_NAMES, ConversationMark, json_schema, pydantic_schema

_FIRST_OWN: Final = 32
_MOST_DIGITS: Final = 20


@final
class MarkNames:
    """
    A team's own names for its extension bits, used wherever marks meet text.

    Case does not matter. The four names of the vendor are always known, and so is each bit as a
    number or as `extension_33`. A name is an attribute too, unless it is one of a method:
    `names.vip`. As metadata of a field of a pydantic model, `Annotated[ConversationMark, names]`,
    they are read and written there.

    Args:
        names: A name and the number of its bit (32 to 63) for each.

    Raises:
        InputError: A name is unusable, used twice, or one of the vendor's; a bit is not the
            customer's own, or is named twice.

    >>> names = MarkNames(vip=32, escalated=33)
    >>> names.parse("VIP") | names.escalated
    <ConversationMark.EXTENSION_32|EXTENSION_33: 0x300000000>
    >>> names.labels(ConversationMark.FAVORITE | ConversationMark.extension(33))
    ('favorite', 'escalated')
    """

    __slots__ = ("_bits", "_own", "_shown")

    def __init__(self, /, **names: int) -> None:
        self._bits = dict(BIT_NAMES)
        self._shown = list(BIT_NAMES)
        self._own: dict[str, int] = {}
        for name, number in names.items():
            self._add(name, number)

    def _add(self, name: str, number: int) -> None:
        key = name.lower()
        if not any(map(str.isalpha, name)) or not re.fullmatch(r"[^\s|,;\"']+", name):
            raise InputError(
                "names", "a name needs a letter, and no blanks, quotes or separators", name
            )
        if key in self._bits:
            raise InputError("names", "the name is taken", name)
        if type(number) is not int or not _FIRST_OWN <= number < len(BIT_NAMES):
            raise InputError("names", f"{name}: a name stands for a bit from 32 to 63", number)
        if number in self._own.values():
            raise InputError("names", f"bit {number} has two names", self._shown[number], name)
        self._own[name] = number
        self._bits[key] = number
        self._shown[number] = name

    @classmethod
    def from_toml(cls, text: str) -> "MarkNames":
        r"""
        Read the names in the table `marks` of a TOML document, whose other tables are for others.

        Raises:
            InputError: It is not TOML, has no such table, or a name in it is refused.

        >>> MarkNames.from_toml("[marks]\nvip = 32")
        MarkNames(vip=32)
        """
        try:
            marks: Any = tomllib.loads(text).get("marks")
        except tomllib.TOMLDecodeError as error:
            raise InputError("names", f"is not TOML: {error}") from None
        if not isinstance(marks, dict):
            raise InputError("names", "there is no table [marks]")
        return cls(**cast("dict[str, Any]", marks))

    @property
    def own(self) -> dict[str, int]:
        """A team's own names, and the number of the bit of each."""
        return dict(self._own)

    def parse(self, mark: str | int) -> ConversationMark:
        """
        Return the single bit that a name or a number means.

        Raises:
            InputError: It is neither a known name nor a number from 0 to 63.
        """
        if isinstance(mark, str):
            key = mark.strip().lower()
            # Python reads no number of thousands of digits.
            if key.isascii() and key.isdigit() and len(key) <= _MOST_DIGITS:
                return ConversationMark.from_bits([int(key)])
            number = self._bits.get(key)
            if number is None:
                close = difflib.get_close_matches(key, self._bits, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise InputError("mark", f"is not a known mark{hint}", mark)
            return ConversationMark(1 << number)
        return ConversationMark.from_bits([mark])

    def parse_all(self, marks: Iterable[str | int]) -> ConversationMark:
        """
        Return the mark of several names or numbers.

        Raises:
            InputError: One of them is neither a known name nor a number from 0 to 63.
        """
        value = 0
        for mark in marks:
            value |= int(self.parse(mark))
        return ConversationMark(value)

    def labels(self, mark: ConversationMark) -> tuple[str, ...]:
        """Return the name of each bit that is set, ascending by bit."""
        return tuple(self._shown[number] for number in mark.bits)

    def __getattr__(self, name: str) -> ConversationMark:
        # A copy that is being made has no names yet.
        number = None if name.startswith("_") else self._bits.get(name.lower())
        if number is None:
            message = f"MarkNames has no mark {name!r}"
            raise AttributeError(message, name=name, obj=self)
        return ConversationMark(1 << number)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._own]

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> dict[str, Any]:
        return pydantic_schema(self.parse, lambda mark: list(self.labels(mark)))

    def __get_pydantic_json_schema__(self, schema: object, handler: Any) -> dict[str, Any]:
        return json_schema(handler.mode)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MarkNames):
            return NotImplemented
        return self._own == other._own

    def __hash__(self) -> int:
        return hash(frozenset(self._own.items()))

    def __repr__(self) -> str:
        return f"MarkNames({', '.join(f'{name}={bit}' for name, bit in self._own.items())})"


publish(__name__)
