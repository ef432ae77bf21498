"""The script: the faults of requests and items to come, and their form in JSON."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, Final, Generic, TypeVar, cast

import attrs

from chatmark.emulator import faults as all_faults
from chatmark.emulator.faults import Fault
from chatmark.emulator.wire import Key, Named, key_of

_FAULTS: Final[dict[str, type[Fault]]] = {
    name: getattr(all_faults, name) for name in all_faults.__all__
}
# The values of JSON for arguments of these types, and their name in a message.
_TYPES: Final[dict[Any, tuple[Any, str]]] = {
    bool: (bool, "true or false"),
    int: (int, "an integer"),
    int | None: (int | None, "an integer or null"),
    Random | int: (int, "an integer"),
    float: (int | float, "a number"),
    str: (str, "a string"),
    str | None: (str | None, "a string or null"),
    str | float | None: (str | int | float | None, "a string, a number or null"),
    bytes: (bytes, "a string"),
    Fault: (Fault, "a fault"),
    Sequence[str]: (list, "an array of strings"),
    Mapping[str, str]: (dict, "an object"),
    Mapping[str, object]: (dict, "an object"),
}

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
        except ValueError as error:
            raise ValueError(f"entry {number}: {error}") from None


def _add(script: FaultScript, order: Any) -> None:
    if type(order) is not dict:
        raise ValueError("must be an object")
    fields = cast("dict[str, Any]", order).copy()
    when = fields.pop("when", "next")
    if when not in ("next", "always", "randomly", "item"):
        raise ValueError(f"when must be next, always, randomly or item, not {when!r}")
    times = fields.pop("times", 1) if when == "next" else 1
    if type(times) is not int or times < 1:
        raise ValueError("times must be an integer of 1 or more")
    add = _with_fields(getattr(script, when), when, fields)
    for _ in range(times):
        add()


def _with_fields(make: Callable[..., _T], place: str, raw: dict[str, Any]) -> Callable[[], _T]:
    """Return *make* with the fields *raw* of JSON, unless one is missing, unknown or wrong."""
    parameters = inspect.signature(make).parameters.values()
    known = {each.name: each for each in parameters if each.kind is not each.VAR_POSITIONAL}
    for name in raw:
        if name not in known:
            raise ValueError(f"{place}: unknown field {name!r}; the fields are {', '.join(known)}")
    fields: dict[str, Any] = {}
    for name, parameter in known.items():
        if name in raw:
            value = fields[name] = _argument(name, raw[name])
            kind, words = _TYPES.get(parameter.annotation, (object, ""))
            if not isinstance(value, kind):
                raise ValueError(f"{place}: {name} must be {words}")
        elif parameter.default is parameter.empty:
            raise ValueError(f"{place}: field {name!r} is missing")
    return partial(make, **fields)


def _argument(name: str, raw: Any) -> Any:
    if name in ("fault", "then"):
        return _fault(raw)
    if name == "conversation":
        return _conversation(raw)
    if name in ("faults", "conversations"):
        if not isinstance(raw, list | tuple):
            raise ValueError(f"{name} must be an array")
        read = _fault if name == "faults" else _conversation
        return [each for each in map(read, cast("Any", raw)) if each]
    return raw.encode() if name == "body" and isinstance(raw, str) else raw


def _fault(raw: Any) -> Fault | None:
    """Return the fault that JSON names, None for none."""
    if raw is None:
        return None
    fields: dict[str, Any] = {**raw} if isinstance(raw, dict) else {"name": raw}
    name = fields.pop("name", None)
    if not isinstance(name, str) or name not in _FAULTS:
        raise ValueError(f"{name!r} is not a fault; the faults are {', '.join(sorted(_FAULTS))}")
    return _with_fields(_FAULTS[name], name, fields)()


def _conversation(raw: Any) -> Key:
    match raw:
        case [int(type_), str(id_)]:
            return type_, id_
        case _:
            raise ValueError(f"a conversation must be an array of type and id, not {raw!r}")
