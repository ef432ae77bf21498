"""The script: the faults of requests and items to come, and their form in JSON."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, Generic, TypeVar, cast

import attrs

from chatmark.emulator import faults as all_faults
from chatmark.emulator.faults import Fault
from chatmark.emulator.wire import Key, Named, key_of

_FAULTS: Final[dict[str, type[Fault]]] = {
    name: getattr(all_faults, name) for name in all_faults.__all__
}
_TYPES: Final[dict[Any, Any]] = {int: int, float: int | float, str: str, bool: bool}

_T = TypeVar("_T")


@attrs.define(eq=False)
class _Order(Generic[_T]):
    """A fault, a code, or what draws one, for requests or items."""

    value: _T
    # The command or the conversation, and the user; None for any.
    place: tuple[object, object]
    # How often it is met; None for ever.
    times: int | None = None

    def matches(self, place: tuple[object, object]) -> bool:
        return all(a in (None, b) for a, b in zip(self.place, place, strict=True))


def _first(orders: list[_Order[_T]], place: tuple[object, object]) -> _Order[_T] | None:
    """Return the first order for *place*, and remove it when it was met as often as it holds."""
    order = next((each for each in orders if each.matches(place)), None)
    if order is not None and order.times is not None:
        order.times -= 1
        if order.times <= 0:
            orders.remove(order)
    return order


def _drawing(
    probability: float, values: Sequence[_T], rng: Random | int
) -> Callable[[], _T | None]:
    """Return what draws one of *values* with this probability, and None otherwise."""
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"probability must be from 0.0 to 1.0, not {probability}")
    if not values:
        raise ValueError("give at least one fault or code to draw")
    chance = Random(rng) if isinstance(rng, int) else rng  # noqa: S311 - repeatable on purpose.
    drawn = tuple(values)
    return lambda: chance.choice(drawn) if chance.random() < probability else None


class FaultScript:
    """
    The faults to come; the same *seed* and the same requests give the same faults.

    Only a request with a valid query and a valid body meets a fault: the first matching fault of
    `next`, else one that `randomly` draws, else the newest matching fault of `always`. None for a
    fault lets a request pass. An order with a *command*, such as ``mark_contact``, or an *account*
    is for requests of this command and this From_Account only; a *rng* is a generator or a seed.

    Args:
        seed: Seeds the order of shuffled lines.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.shuffle_lines = False
        self.switched: dict[str, Fault] = {}
        self.line_rng = Random(seed)  # noqa: S311 - repeatable on purpose.
        self._seed = seed
        self._queue: list[_Order[Fault | None]] = []
        self._random: list[_Order[Callable[[], Fault | None]]] = []
        self._always: list[_Order[Fault | None]] = []
        self._items: list[_Order[int]] = []
        self._random_items: list[Callable[[], int | None]] = []

    def next(
        self,
        fault: Fault | None,
        *faults: Fault | None,
        command: str | None = None,
        account: str | None = None,
    ) -> None:
        """Let the next matching requests meet these faults, one each."""
        self._queue += [_Order(each, (command, account), 1) for each in (fault, *faults)]

    def always(
        self, fault: Fault | None, *, command: str | None = None, account: str | None = None
    ) -> None:
        """Let every matching request meet *fault*, until `clear` or a newer matching `always`."""
        self._always.insert(0, _Order(fault, (command, account)))

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
        draw = _drawing(probability, faults, rng)
        self._random.append(_Order(draw, (command, account)))

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
        self._items.append(_Order(code, (key_of(conversation), account), times))

    def items_randomly(
        self, probability: float, codes: Sequence[int], *, rng: Random | int = 0
    ) -> None:
        """
        Answer each item with one of *codes* with this probability, instead of applying it.

        Raises:
            ValueError: If the probability is not from 0.0 to 1.0 or there is no code to draw.
        """
        self._random_items.append(_drawing(probability, codes, rng))

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
        self.line_rng.seed(self._seed)

    @property
    def pending(self) -> int:
        """The number of faults of `next` that are still to come."""
        return len(self._queue)

    @property
    def concerns_items(self) -> bool:
        """Whether any item may meet a fault."""
        return bool(self._items or self._random_items)

    def take(self, command: str, account: str) -> Fault | None:
        """Return the fault of a request, and remove it from the queue."""
        place = command, account
        if order := _first(self._queue, place):
            return order.value
        for drawing in self._random:
            if drawing.matches(place) and (fault := drawing.value()):
                return fault
        if order := _first(self._always, place):
            return order.value
        return self.line_rng.choice(list(self.switched.values())) if self.switched else None

    def take_item(self, account: str, conversation: Key) -> int:
        """Return the code of an item, or 0."""
        if order := _first(self._items, (conversation, account)):
            return order.value
        return next((code for draw in self._random_items if (code := draw())), 0)


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
    if type(orders) is not list:
        raise ValueError("must be a JSON array of faults")
    for number, order in enumerate(cast("Any", orders), 1):
        try:
            _add(script, order)
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"entry {number}: {error}") from None


def _add(script: FaultScript, order: Any) -> None:
    if type(order) is not dict:
        raise ValueError("must be an object")
    fields = cast("dict[str, Any]", order).copy()
    when = fields.pop("when", "next")
    if when == "item":
        type_, id_ = fields.pop("conversation")
        script.item((type_, id_), **fields)
    elif when == "randomly":
        faults = [_fault(each) for each in fields.pop("faults")]
        script.randomly(fields.pop("probability"), [each for each in faults if each], **fields)
    elif when == "always":
        script.always(_fault(fields.pop("fault")), **fields)
    elif when == "next":
        script.next(*[_fault(fields.pop("fault"))] * fields.pop("times", 1), **fields)
    else:
        raise ValueError(f"when must be next, always, randomly or item, not {when!r}")


def _fault(raw: Any) -> Fault | None:
    """Return the fault that JSON names, None for none."""
    if raw is None:
        return None
    fields: dict[str, Any] = {**raw} if isinstance(raw, dict) else {"name": raw}
    name = fields.pop("name", None)
    if not isinstance(name, str) or name not in _FAULTS:
        raise ValueError(f"{name!r} is not a fault; the faults are {', '.join(sorted(_FAULTS))}")
    if "then" in fields:
        fields["then"] = _fault(fields["then"])
    if isinstance(fields.get("body"), str):
        fields["body"] = fields["body"].encode()
    if "conversations" in fields:
        fields["conversations"] = [(type_, id_) for type_, id_ in fields["conversations"]]
    for field in attrs.fields(_FAULTS[name]):
        kind, value = _TYPES.get(field.type), fields.get(field.alias)
        if kind and field.alias in fields and not isinstance(value, kind):
            raise ValueError(f"{field.alias} of {name} must be a {field.type.__name__}")
    return _FAULTS[name](**fields)
