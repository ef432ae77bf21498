"""The script: the faults of requests and items to come."""

from collections.abc import Sequence
from random import Random

import attrs

from chatmark.emulator.faults.fault import Fault
from chatmark.emulator.wire.fields import Key, Named, key_of


@attrs.frozen
class _Order:
    """One or several faults for the requests of a command or a user."""

    faults: tuple[Fault | None, ...]
    command: str | None
    account: str | None
    probability: float = 1.0
    rng: Random | None = None

    def matches(self, command: str, account: str) -> bool:
        return self.command in (None, command) and self.account in (None, account)


@attrs.define
class _ItemOrder:
    conversation: Key
    code: int
    times: int | None
    account: str | None


def _generator(rng: Random | int) -> Random:
    return Random(rng) if isinstance(rng, int) else rng  # noqa: S311 - repeatable on purpose.


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
        self._random_items: list[tuple[float, tuple[int, ...], Random]] = []

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
        self._queue.extend(_Order((each,), command, account) for each in (fault, *faults))

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
        self._always.insert(0, _Order((fault,), command, account))

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
        _check_draw(probability, faults)
        self._random.append(_Order(tuple(faults), command, account, probability, _generator(rng)))

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
        _check_draw(probability, codes)
        self._random_items.append((probability, tuple(codes), _generator(rng)))

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
                return order.faults[0]
        for order in self._random:
            rng = order.rng
            if rng and order.matches(command, account) and rng.random() < order.probability:
                return rng.choice(order.faults)
        for order in self._always:
            if order.matches(command, account):
                return order.faults[0]
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
        for probability, codes, rng in self._random_items:
            if rng.random() < probability:
                return rng.choice(codes)
        return 0


def _check_draw(probability: float, drawn: Sequence[object]) -> None:
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"probability must be from 0.0 to 1.0, not {probability}")
    if not drawn:
        raise ValueError("give at least one fault or code to draw")
