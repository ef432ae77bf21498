"""
The Redis or Valkey that keeps a shared budget. Needs the extra `redis`; the only importer of it.
"""

import importlib.resources
import math
import urllib.parse
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from chatmark.credentials import Secret
from chatmark.errors import InputError
from chatmark.sharing import Answer, Question, UnreachableError

T = TypeVar("T")

_MICROSECONDS: Final = 1_000_000
_SCHEMES: Final = ("redis", "rediss", "unix")
SCRIPT: Final = (importlib.resources.files("chatmark") / "shared_budget.lua").read_text("utf-8")
_KEYS: Final = ("state", "slots", "queue", "polled", "alive", "turns")
# What an answer holds before the promises.
_HEAD: Final = 5
_SERVER_CLOCK: Final = 0.0


class BudgetServer:
    """
    Asks the server, over one connection that is made when it is needed.

    Args:
        url: `redis://`, `rediss://` or `unix://`; it may hold a password.
        key: Where the count is; one for each application.
        timeout: Seconds for an answer.

    Raises:
        InputError: The URL or the key will not do.
    """

    def __init__(self, url: str, key: str, timeout: float) -> None:
        self.place = check_redis_url(url)
        if not (isinstance(key, str) and key and key.isprintable() and not set(key) & {*"{}"}):
            raise InputError("key", "is no name for a key", key)
        self._url = Secret(url)
        self._keys = keys_of(key)
        self._timeout = timeout
        self._redis: Redis | None = None
        self._digest = ""

    async def connect(self) -> None:
        """
        Make sure that a question need not wait for a connection.

        Raises:
            UnreachableError: There is none to be had.
        """
        if self._redis is None:
            await self._guarded(self._connect())

    async def ask(self, question: Question) -> Answer:
        """
        Tell and ask in one round trip.

        Raises:
            UnreachableError: No answer came in time, or none that can be read.
        """
        return await self._guarded(self._run(arguments_of(question)))

    async def aclose(self) -> None:
        """
        Close the connection; the next question makes another.
        """
        redis, self._redis = self._redis, None
        if redis is not None:
            try:
                await redis.aclose()
            except (RedisError, OSError):
                # It was broken already.
                return

    async def _guarded(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        except (RedisError, OSError, TimeoutError, TypeError, ValueError) as error:
            reason = type(error).__name__
        # Late answers must not be taken for those to later questions.
        await self.aclose()
        raise UnreachableError(reason)

    async def _connect(self) -> None:
        client: Any = Redis
        redis = self._redis = client.from_url(
            self._url.reveal(),
            socket_timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            single_connection_client=True,
            # Whoever asks has something better to do than to ask again.
            retry=Retry(NoBackoff(), 0),
        )
        self._digest = str(await redis.script_load(SCRIPT))

    async def _run(self, arguments: tuple[str, ...]) -> Answer:
        if self._redis is None:
            await self._connect()
        redis: Any = self._redis
        return answer_of(
            await redis.evalsha(self._digest, len(self._keys), *self._keys, *arguments)
        )


def keys_of(key: str) -> tuple[str, ...]:
    """
    Return the keys of the script; a cluster keeps what has one hash tag together.
    """
    return tuple(f"{{{key}}}:{name}" for name in _KEYS)


def arguments_of(question: Question, now: float = _SERVER_CLOCK) -> tuple[str, ...]:
    """
    Return the arguments of the script, in its order.

    Args:
        question: What to ask and tell.
        now: The time, in place of that of the server's clock.
    """
    terms = question.terms
    return (
        question.process,
        _whole(now),
        str(terms.most),
        *map(_whole, (terms.period, terms.burst, terms.horizon, terms.grace, terms.hold)),
        str(terms.rank),
        str(question.wanted),
        str(question.first),
        _whole(question.pause),
        str(int(question.leaving)),
        *(
            each
            for name, until in question.report.items()
            for each in (name, "0" if until is None else _whole(until))
        ),
    )


def answer_of(reply: Any) -> Answer:
    """
    Return what the script said.
    """
    now, paused, opens, processes, wait = (int(each) for each in reply[:_HEAD])
    return Answer(
        now / _MICROSECONDS,
        paused / _MICROSECONDS,
        opens / _MICROSECONDS,
        processes,
        wait / _MICROSECONDS,
        tuple(int(each) / _MICROSECONDS for each in reply[_HEAD:]),
    )


def check_redis_url(url: object) -> str:
    """
    Return where a URL leads, without the user, the password and the options in it.

    >>> check_redis_url("redis://user:secret@cache.example.com:6379/1?x=y")
    'redis://cache.example.com:6379/1'

    Raises:
        InputError: It is no URL of a Redis. What it is, is not repeated: it may hold a password.
    """
    try:
        parts = urllib.parse.urlsplit(url) if isinstance(url, str) else None
        port = None if parts is None else parts.port
    except ValueError:
        parts = port = None
    if parts is None or parts.scheme not in _SCHEMES or not (parts.hostname or parts.path):
        raise InputError("pace", "is no URL such as redis://127.0.0.1:6379")
    host = parts.hostname or ""
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path}"


def _whole(seconds: float) -> str:
    # Rounded up: a call counts rather longer than shorter.
    return str(math.ceil(seconds * _MICROSECONDS))
