"""The settings of an emulator."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from ssl import SSLContext
from typing import Any, Final, Literal, TypedDict

import attrs

_Check = Callable[[object, "attrs.Attribute[Any]", Any], None]


def _must_be(what: str, holds: Callable[[Any], bool]) -> _Check:
    def check(_: object, setting: "attrs.Attribute[Any]", value: object) -> None:
        if value is not None and not holds(value):
            raise ValueError(f"{setting.name} must be {what}, not {value!r}")

    return check


_POSITIVE: Final = _must_be("an integer of 1 or more", lambda it: type(it) is int and it >= 1)
_COUNT: Final = _must_be("an integer of 0 or more", lambda it: type(it) is int and it >= 0)
_SECONDS: Final = _must_be("a number of 0 or more", lambda it: callable(it) or it >= 0)
_POOL: Final = _must_be("'marks' or 'shared'", lambda it: it in ("marks", "shared"))


def _ids(ids: Iterable[str]) -> tuple[str, ...]:
    if isinstance(ids, str):
        message = f"several ids are needed, such as ['amy'], not {ids!r}"
        raise ValueError(message)  # noqa: TRY004 - as of every wrong setting.
    return tuple(ids)


def _groups(groups: Mapping[str, Iterable[str] | None]) -> dict[str, frozenset[str] | None]:
    return {
        id_: None if members is None else frozenset(_ids(members))
        for id_, members in groups.items()
    }


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
        page_size: The number of conversations of a page of get_contact_group.
        return_unmarked: Whether a search returns conversations without marks.
        calls_per_second: The most calls of a command in any one second (60007 beyond); None for
            no limit.
        round_trip: Seconds from the effect of a request to its answer, or a callable that
            returns them.
        lenient: Whether to leave out the emulator's own rules, which go beyond the vendor's.
        request_ids: Whether answers have a RequestId.
        keep_alive: Seconds after which an idle connection is closed.
        request_timeout: Seconds from the head of a request to the end of its body.
        keep_calls: The number of calls to keep in `Emulator.calls`; None for all.
        name: The name of the host in `Emulator.url`, instead of ``host``: the page is open under
            this name, localhost and IP addresses.
        mark_names: Names of extension bits, for the page.
        on_call: Called at the end of each call with its `Call`.
        clock: Returns seconds since 1970: for timestamps and the expiry of a UserSig.
        monotonic: Returns seconds that never go back: for the rate and the record of calls.
        sleep: Waits that many seconds: for delays.

    Raises:
        ValueError: If a limit or a time is too small, the pool is unknown, or one text stands where
            several ids belong.
    """

    host: str = "127.0.0.1"
    port: int = 0
    ssl_context: SSLContext | None = None
    sdkappid: int = 1400000001
    secret_key: str = attrs.field(default="example-secret-not-real", repr=False)
    admins: tuple[str, ...] = attrs.field(default=("administrator",), converter=_ids)
    users: tuple[str, ...] | None = attrs.field(
        default=None, converter=attrs.converters.optional(_ids)
    )
    groups: dict[str, frozenset[str] | None] | None = attrs.field(
        default=None, converter=attrs.converters.optional(_groups)
    )
    standard_marks: bool = True
    max_marked: int = attrs.field(default=1000, validator=_COUNT)
    pool: Literal["marks", "shared"] = attrs.field(default="marks", validator=_POOL)
    max_contact_groups: int = attrs.field(default=20, validator=_COUNT)
    max_group_name: int = attrs.field(default=32, validator=_POSITIVE)
    max_items: int = attrs.field(default=100, validator=_POSITIVE)
    page_size: int = attrs.field(default=100, validator=_POSITIVE)
    return_unmarked: bool = False
    calls_per_second: int | None = attrs.field(default=200, validator=_POSITIVE)
    round_trip: float | Callable[[], float] = attrs.field(default=0.0, validator=_SECONDS)
    lenient: bool = False
    request_ids: bool = False
    keep_alive: float = attrs.field(default=75.0, validator=_SECONDS)
    request_timeout: float = attrs.field(default=10.0, validator=_SECONDS)
    keep_calls: int | None = 10_000
    name: str | None = None
    mark_names: Mapping[int, str] = attrs.field(factory=dict[int, str])
    on_call: Callable[[Any], object] | None = None
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep


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
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
