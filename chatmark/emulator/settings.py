"""The settings of an emulator."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from ssl import SSLContext
from typing import Any, Final, Literal, TypedDict, cast

import attrs


def _integer(least: float = -math.inf, most: float = math.inf) -> Callable[[Any], bool]:
    return lambda it: type(it) is int and least <= it <= most


def _is_number(it: Any) -> bool:
    return type(it) in (int, float) and it >= 0


def _are_ids(it: Any) -> bool:
    return isinstance(it, Iterable) and not isinstance(it, str | bytes)


def _are_groups(it: Any) -> bool:
    return isinstance(it, Mapping) and all(
        each is None or _are_ids(each) for each in cast("Any", it).values()
    )


def _tuple(it: Iterable[str]) -> Iterable[str]:
    """Keep ids for more than one look, and leave to the check what are none."""
    return tuple(it) if _are_ids(it) else it


# Each rule is the words of its message, its check, and the settings that it holds for.
_RULES: Final[tuple[tuple[str, Callable[[Any], bool], tuple[str, ...]], ...]] = (
    ("an integer from 0 to 65535", _integer(0, 65_535), ("port",)),
    ("an integer", _integer(), ("sdkappid", "seed")),
    ("an integer of 0 or more", _integer(0), ("max_marked", "max_contact_groups", "keep_calls")),
    (
        "an integer of 1 or more",
        _integer(1),
        ("max_group_name", "max_items", "max_contacts", "page_size", "calls_per_second"),
    ),
    ("a number of 0 or more", _is_number, ("keep_alive", "request_timeout")),
    (
        "a number of 0 or more or a callable that returns one",
        lambda it: callable(it) or _is_number(it),
        ("round_trip",),
    ),
    ("a string", lambda it: isinstance(it, str), ("host", "secret_key", "name")),
    (
        "True or False",
        lambda it: isinstance(it, bool),
        ("standard_marks", "return_unmarked", "lenient", "request_ids"),
    ),
    ("'marks' or 'shared'", lambda it: it in ("marks", "shared"), ("pool",)),
    ("several ids, such as ['amy']", _are_ids, ("admins", "users")),
    ("a dict of group ids, each with user ids or None", _are_groups, ("groups",)),
    ("a dict of bits and names", lambda it: isinstance(it, Mapping), ("mark_names",)),
)
_MAY_BE_NONE: Final = {"users", "groups", "calls_per_second", "keep_calls", "name"}


@attrs.frozen(kw_only=True)
class Settings:
    """
    The settings of an emulator, which `Emulator` takes by name.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 for a free one, which then stays the same.
        ssl_context: The context for https; None for http.
        sdkappid: The application.
        secret_key: Its key.
        admins: The identifiers of administrators. Only they may call.
        users: Imported users; None if every valid id is one.
        groups: Chat groups, each with its members (None if all users are members); None if every
            valid id is a group with all users as members.
        standard_marks: Whether the edition has standard marks (else 51013).
        max_marked: The most marked, and the most grouped, conversations of a user (51008 beyond).
        pool: Whether the marked conversations alone may be ``max_marked`` ("marks"), or the marked
            and the grouped ones together ("shared"). The vendor's pages say both.
        max_contact_groups: The most conversation groups of a user (51010 beyond).
        max_group_name: The most bytes of the name of a conversation group (51011 beyond). The pages
            of 2026 say 64, all others 32.
        max_items: The most items of a mark_contact (51006 beyond).
        max_contacts: The most contacts of a search_contact_group (50002 beyond).
        page_size: The number of conversations of a page of get_contact_group.
        return_unmarked: Whether a search returns conversations without marks.
        calls_per_second: The most calls of a command in any one second (60007 beyond); None for
            no limit.
        round_trip: Seconds from the effect of a request to its answer, or a callable that
            returns them.
        lenient: Whether to leave out the emulator's own rules, which go beyond the vendor's.
        request_ids: Whether answers have a RequestId.
        keep_alive: Seconds after which an idle connection is closed.
        request_timeout: Seconds in which a request must have arrived: its head on a new connection,
            and its body.
        keep_calls: The number of calls to keep in `Emulator.calls`; None for all.
        name: The name of the host in `Emulator.url`, instead of ``host``: the page is open under
            this name, localhost and IP addresses.
        mark_names: Names of extension bits, for the page.
        on_call: Called at the end of each call with its `Call`.
        seed: Seeds the order of shuffled lines.
        clock: Returns seconds since 1970: for timestamps and the expiry of a UserSig.
        monotonic: Returns seconds that never go back: for the rate and the record of calls.
        sleep: Waits that many seconds: for delays.

    Raises:
        ValueError: If a setting is wrong; the text names it and says what it must be.
    """

    host: str = "127.0.0.1"
    port: int = 0
    ssl_context: SSLContext | None = None
    sdkappid: int = 1400000001
    secret_key: str = attrs.field(default="example-secret-not-real", repr=False)
    admins: Iterable[str] = attrs.field(default=("administrator",), converter=_tuple)
    users: Iterable[str] | None = None
    groups: Mapping[str, Iterable[str] | None] | None = None
    standard_marks: bool = True
    max_marked: int = 1000
    pool: Literal["marks", "shared"] = "marks"
    max_contact_groups: int = 20
    max_group_name: int = 32
    max_items: int = 100
    max_contacts: int = 300
    page_size: int = 100
    return_unmarked: bool = False
    calls_per_second: int | None = 200
    round_trip: float | Callable[[], float] = 0.0
    lenient: bool = False
    request_ids: bool = False
    keep_alive: float = 75.0
    request_timeout: float = 10.0
    keep_calls: int | None = 10_000
    name: str | None = None
    mark_names: Mapping[int, str] = attrs.field(factory=dict[int, str])
    on_call: Callable[[Any], object] | None = None
    seed: int = 0
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    def __attrs_post_init__(self) -> None:
        for what, is_so, names in _RULES:
            for name in names:
                value = getattr(self, name)
                if not (is_so(value) or (value is None and name in _MAY_BE_NONE)):
                    shown = type(value).__name__ if name == "secret_key" else repr(value)
                    raise ValueError(f"{name} must be {what}, not {shown}")

    @property
    def strict(self) -> bool:
        """Whether the emulator's own rules hold."""
        return not self.lenient


class EmulatorOptions(TypedDict, total=False):
    """The settings of `Settings`, each of them optional."""

    host: str
    port: int
    ssl_context: SSLContext | None
    sdkappid: int
    secret_key: str
    admins: Iterable[str]
    users: Iterable[str] | None
    groups: Mapping[str, Iterable[str] | None] | None
    standard_marks: bool
    max_marked: int
    pool: Literal["marks", "shared"]
    max_contact_groups: int
    max_group_name: int
    max_items: int
    max_contacts: int
    page_size: int
    return_unmarked: bool
    calls_per_second: int | None
    round_trip: float | Callable[[], float]
    lenient: bool
    request_ids: bool
    keep_alive: float
    request_timeout: float
    keep_calls: int | None
    name: str | None
    mark_names: Mapping[int, str]
    on_call: Callable[[Any], object] | None
    seed: int
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
