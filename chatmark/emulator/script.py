"""The script: the faults of requests and items to come, and their form in JSON."""

import inspect
from collections.abc import Callable, Collection, Sequence
from functools import partial
from random import Random
from typing import Annotated, Any, Final, Generic, TypeVar

import attrs
import msgspec

from chatmark.emulator import faults as all_faults
from chatmark.emulator.faults import Fault
from chatmark.emulator.wire import Key, Named, key_of

_FAULTS: Final[dict[str, type[Fault]]] = {
    name: getattr(all_faults, name) for name in all_faults.__all__
}
# The JSON types for arguments of these types; faults are read apart.
_FORMS: Final[dict[object, Any]] = {
    Key | Named: tuple[int, str],
    Collection[Key | Named]: list[tuple[int, str]],
    Random | int: int,
    Sequence[Fault]: list[Any],
    str | float | None: str | int | float | None,
    bytes: str,
}

_T = TypeVar("_T")
_Place = tuple[object, object]


def _random(rng: Random | int) -> Random:
    return Random(rng) if isinstance(rng, int) else rng  # noqa: S311 - repeatable on purpose.


@attrs.define(eq=False)
class _Order(Generic[_T]):
    """An order to meet one of these faults or codes."""

    values: Sequence[_T] = attrs.field(validator=attrs.validators.min_len(1))
    # The command or the conversation, and the user; None for any.
    place: _Place
    # How often it is met; None for ever.
    times: int | None = None
    probability: float = attrs.field(
        default=1.0, validator=[attrs.validators.ge(0.0), attrs.validators.le(1.0)]
    )
    # Draws whether it is met, and which value; None for the one value every time.
    rng: Random | None = None

    def meets(self, place: _Place) -> bool:
        is_here = all(own in (None, each) for own, each in zip(self.place, place, strict=True))
        return is_here and (self.rng is None or self.rng.random() < self.probability)


def _take(orders: list[_Order[_T]], place: _Place) -> Sequence[_T]:
    """Return the value of the first order that *place* meets, and drop an order that is done."""
    order = next((each for each in orders if each.meets(place)), None)
    if order is None:
        return ()
    if order.times is not None:
        order.times -= 1
        if order.times <= 0:
            orders.remove(order)
    return [order.values[0] if order.rng is None else order.rng.choice(order.values)]


class FaultScript:
    """
    The faults to come; the same requests meet the same faults.

    Only a request with a valid query and a valid body meets a fault: the first matching fault of
    `next`, else one that `randomly` draws, else the newest matching fault of `always`. None for a
    fault lets a request pass. An order with a *command*, such as ``mark_contact``, or an *account*
    is for requests of this command and this From_Account only; a *rng* is a generator or a seed.
    """

    def __init__(self) -> None:
        self.shuffle_lines = False
        self.switched: dict[str, Fault] = {}
        self.line_rng = _random(0)
        self._queue: list[_Order[Fault | None]] = []
        self._random: list[_Order[Fault | None]] = []
        self._always: list[_Order[Fault | None]] = []
        self._items: list[_Order[int]] = []
        self._random_items: list[_Order[int]] = []

    def next(
        self,
        fault: Fault | None,
        *faults: Fault | None,
        command: str | None = None,
        account: str | None = None,
    ) -> None:
        """Let the next matching requests meet these faults, one each."""
        self._queue += [_Order([each], (command, account), 1) for each in (fault, *faults)]

    def always(
        self, fault: Fault | None, *, command: str | None = None, account: str | None = None
    ) -> None:
        """Let every matching request meet *fault*, until `clear` or a newer matching `always`."""
        self._always.insert(0, _Order([fault], (command, account)))

    def randomly(
        self,
        probability: float,
        faults: Sequence[Fault],
        *,
        rng: Random | int = 0,
        command: str | None = None,
        account: str | None = None,
    ) -> None:
        """
        Let each matching request meet one of *faults*, all equally likely, with this probability.

        Raises:
            ValueError: If the probability is not from 0.0 to 1.0 or there is no fault to draw.
        """
        self._random.append(_Order(faults, (command, account), None, probability, _random(rng)))

    def item(
        self,
        conversation: Key | Named,
        code: int,
        *,
        times: int | None = 1,
        account: str | None = None,
    ) -> None:
        """
        Answer the next *times* items of *conversation* with *code* instead of applying them.

        A conversation is a Conversation, or its type and id; None for *times* is all items.
        """
        self._items.append(_Order([code], (key_of(conversation), account), times))

    def items_randomly(
        self, probability: float, codes: Sequence[int], *, rng: Random | int = 0
    ) -> None:
        """
        Answer each item with one of *codes* with this probability, instead of applying it.

        Raises:
            ValueError: If the probability is not from 0.0 to 1.0 or there is no code to draw.
        """
        self._random_items.append(_Order(codes, (None, None), None, probability, _random(rng)))

    def switch(self, name: str, fault: Fault | None) -> None:
        """Let each request without another fault meet *fault*, until it is None for this name."""
        self.switched.pop(name, None)
        if fault is not None:
            self.switched[name] = fault

    def clear(self) -> None:
        """Remove all faults, and restart the random order of lines."""
        for orders in (self._queue, self._random, self._always, self._items, self._random_items):
            orders.clear()
        self.switched.clear()
        self.shuffle_lines = False
        self.line_rng.seed(0)

    @property
    def pending(self) -> int:
        """The number of faults of `next` that are still to come."""
        return len(self._queue)

    def take(self, command: str, account: str) -> Fault | None:
        """Return the fault of a request, and remove it from the queue."""
        place = command, account
        drawn = _take(self._queue, place) or _take(self._random, place)
        drawn = drawn or _take(self._always, place)
        if not drawn and self.switched:
            return self.line_rng.choice(list(self.switched.values()))
        return drawn[0] if drawn else None

    def take_item(self, account: str, conversation: Key) -> int:
        """Return the code of an item, or 0."""
        place = conversation, account
        drawn = _take(self._items, place) or _take(self._random_items, place)
        return drawn[0] if drawn else 0


def load_faults(script: FaultScript, orders: object) -> None:
    """
    Add the faults of *orders*, an array of JSON, to *script*.

    Each entry is an object whose "when" names a method of `FaultScript`: next (the default),
    always, randomly or item. Its other fields are the arguments of the method; "times" repeats a
    fault of next. A fault is its name, or an object with its name and its arguments, such as
    ``{"name": "Refuse", "code": 60007}``. A conversation is an array of type and id.

    Raises:
        ValueError: It is not such an array.
    """
    for number, order in enumerate(msgspec.convert(orders, list[dict[str, Any]]), 1):
        try:
            _add(script, order)
        except ValueError as error:
            raise ValueError(f"entry {number}: {error}") from None


def _add(script: FaultScript, fields: dict[str, Any]) -> None:
    when = fields.pop("when", "next")
    if when not in ("next", "always", "randomly", "item"):
        raise ValueError(f"when must be next, always, randomly or item, not {when!r}")
    times = fields.pop("times", 1) if when == "next" else 1
    add = _with_arguments(getattr(script, when), when, fields)
    for _ in range(_argument("times", Annotated[int, msgspec.Meta(ge=1)], times)):
        add()


def _with_arguments(make: Callable[..., _T], place: str, raw: dict[str, Any]) -> Callable[[], _T]:
    """Return *make* with arguments of JSON, unless one is missing, unknown or of another type."""
    signature = inspect.signature(make)
    try:
        signature.bind(**raw)
    except TypeError as error:
        raise ValueError(f"{place}: {error}; it takes {signature}") from None
    annotations = {name: each.annotation for name, each in signature.parameters.items()}
    return partial(make, **{n: _argument(f"{place}: {n}", annotations[n], raw[n]) for n in raw})


def _argument(place: str, kind: Any, raw: Any) -> Any:
    if raw is None and kind == Fault | None:
        return None
    if kind in (Fault, Fault | None):
        return _fault(raw)
    try:
        value = msgspec.convert(raw, _FORMS.get(kind, kind))
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    if kind == Sequence[Fault]:
        return [_fault(each) for each in value]
    return value.encode() if kind is bytes else value


def _fault(raw: Any) -> Fault:
    fields: dict[str, Any] = {**raw} if isinstance(raw, dict) else {"name": raw}
    name = fields.pop("name", None)
    if not isinstance(name, str) or name not in _FAULTS:
        raise ValueError(f"{name!r} is not a fault; the faults are {', '.join(sorted(_FAULTS))}")
    return _with_arguments(_FAULTS[name], name, fields)()
