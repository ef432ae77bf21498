"""The script: the faults of requests and items to come, and their form in JSON."""

from collections.abc import Sequence
from random import Random
from typing import Any, Final, Generic, TypeVar

import attrs

from chatmark.emulator import faults as faults_module
from chatmark.emulator.faults import Fault, NotApplied
from chatmark.emulator.wire import Key, Named, key_of

_FAULTS: Final[dict[str, type[Fault]]] = {
    name: each
    for name, each in vars(faults_module).items()
    if isinstance(each, type) and issubclass(each, Fault) and each is not NotApplied
}
_TYPES: Final[dict[Any, Any]] = {int: int, float: int | float, str: str, bool: bool}

_T = TypeVar("_T")


class _Draw(Generic[_T]):
    """Draws one of several equally likely values with a probability, and None otherwise."""

    def __init__(self, probability: float, values: Sequence[_T], rng: Random | int) -> None:
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"probability must be from 0.0 to 1.0, not {probability}")
        if not values:
            raise ValueError("give at least one fault or code to draw")
        self._probability = probability
        self._values = tuple(values)
        self._rng = _generator(rng)

    def __call__(self) -> _T | None:
        return self._rng.choice(self._values) if self._rng.random() < self._probability else None


def _generator(rng: Random | int) -> Random:
    return Random(rng) if isinstance(rng, int) else rng  # noqa: S311 - repeatable on purpose.


@attrs.frozen
class _Order:
    """A fault, or what draws one, for the requests of a command or a user."""

    fault: Fault | None
    command: str | None
    account: str | None
    draw: _Draw[Fault] | None = None

    def matches(self, command: str, account: str) -> bool:
        return self.command in (None, command) and self.account in (None, account)


@attrs.define
class _ItemOrder:
    conversation: Key
    code: int
    times: int | None
    account: str | None


class FaultScript:
    """
    The faults to come; the same *seed* and the same requests give the same faults.

    Only a request with a valid query and a valid body meets a fault: the first matching fault of
    `next`, else one that `randomly` draws, else the newest matching fault of `always`.

    Args:
        seed: Seeds the order of shuffled lines.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.shuffle_lines = False
        self.switched: dict[str, Fault] = {}
        self.line_rng = _generator(seed)
        self._seed = seed
        self._queue: list[_Order] = []
        self._random: list[_Order] = []
        self._always: list[_Order] = []
        self._items: list[_ItemOrder] = []
        self._random_items: list[_Draw[int]] = []

    def next(
        self,
        fault: Fault | None,
        *faults: Fault | None,
        command: str | None = None,
        account: str | None = None,
    ) -> None:
        """
        Let the next matching requests meet these faults, one each.

        Args:
            fault: A fault, or None to let one request pass.
            *faults: More of them.
            command: Only requests of this command, such as ``mark_contact``.
            account: Only requests with this From_Account.
        """
        self._queue += [_Order(each, command, account) for each in (fault, *faults)]

    def always(
        self, fault: Fault | None, *, command: str | None = None, account: str | None = None
    ) -> None:
        """
        Let every matching request meet *fault*, until `clear` or a newer matching `always`.

        Args:
            fault: A fault, or None to let the matching requests pass.
            command: Only requests of this command.
            account: Only requests with this From_Account.
        """
        self._always.insert(0, _Order(fault, command, account))

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
        Let each matching request meet one of *faults* with this probability.

        Args:
            probability: From 0.0 to 1.0.
            faults: The faults, all equally likely.
            rng: A generator or a seed.
            command: Only requests of this command.
            account: Only requests with this From_Account.

        Raises:
            ValueError: If the probability is wrong or there is no fault to draw.
        """
        draw = _Draw(probability, faults, rng)
        self._random.append(_Order(None, command, account, draw))

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

        Args:
            conversation: The conversation, as a Conversation or as type and id.
            code: The ResultCode.
            times: The number of items; None for all.
            account: Only items of this From_Account.
        """
        self._items.append(_ItemOrder(key_of(conversation), code, times, account))

    def items_randomly(
        self, probability: float, codes: Sequence[int], *, rng: Random | int = 0
    ) -> None:
        """
        Answer each item with one of *codes* with this probability, instead of applying it.

        Args:
            probability: From 0.0 to 1.0.
            codes: ResultCodes, all equally likely.
            rng: A generator or a seed.

        Raises:
            ValueError: If the probability is wrong or there is no code to draw.
        """
        self._random_items.append(_Draw(probability, codes, rng))

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
        for index, order in enumerate(self._queue):
            if order.matches(command, account):
                del self._queue[index]
                return order.fault
        for order in self._random:
            if order.draw and order.matches(command, account) and (fault := order.draw()):
                return fault
        for order in self._always:
            if order.matches(command, account):
                return order.fault
        if self.switched:
            return self.line_rng.choice(list(self.switched.values()))
        return None

    def take_item(self, account: str, conversation: Key) -> int:
        """Return the code of an item, or 0."""
        for index, order in enumerate(self._items):
            if order.conversation == conversation and order.account in (None, account):
                if order.times is not None:
                    order.times -= 1
                    if order.times <= 0:
                        del self._items[index]
                return order.code
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
    for number, order in enumerate(orders, 1):
        try:
            _add(script, order)
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"entry {number}: {error}") from None


def _add(script: FaultScript, order: Any) -> None:
    if type(order) is not dict:
        raise ValueError("must be an object")
    fields: dict[str, Any] = dict(order)
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
    fields: dict[str, Any] = dict(raw) if isinstance(raw, dict) else {"name": raw}
    name = fields.pop("name", None)
    if not isinstance(name, str) or name not in _FAULTS:
        raise ValueError(f"{name!r} is not a fault; the faults are {', '.join(sorted(_FAULTS))}")
    if "then" in fields:
        fields["then"] = _fault(fields["then"])
    if isinstance(fields.get("body"), str):
        fields["body"] = fields["body"].encode()
    if "conversations" in fields:
        fields["conversations"] = [(type_, id_) for type_, id_ in fields["conversations"]]
    for field in attrs.fields(attrs.resolve_types(_FAULTS[name])):
        kind, value = _TYPES.get(field.type), fields.get(field.alias)
        if kind and field.alias in fields and not isinstance(value, kind):
            raise ValueError(f"{field.alias} of {name} must be a {field.type.__name__}")
    return _FAULTS[name](**fields)
