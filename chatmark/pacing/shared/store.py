"""
The Redis or Valkey that keeps a shared budget. Needs the extra `redis`; the only importer of it.
"""

import asyncio
import contextlib
import hashlib
import importlib.resources
import math
import re
import urllib.parse
from collections.abc import Awaitable
from typing import Any, Final, TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    InvalidResponse,
    NoScriptError,
    RedisError,
    ResponseError,
)

from chatmark.credentials import Secret
from chatmark.errors import InputError
from chatmark.failures import BudgetError
from chatmark.pacing.shared.member import LONGEST_PAUSE, Answer, Question, UnreachableError

T = TypeVar("T")

_MICROSECONDS: Final = 1_000_000
_SCHEMES: Final = ("redis", "rediss", "unix")
SCRIPT: Final = (importlib.resources.files("chatmark.pacing.shared") / "count.lua").read_text(
    "utf-8"
)
_DIGEST: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
_KEYS: Final = ("state", "slots", "queue", "polled", "alive", "turns")
# The numbers of an answer before the promises.
_HEAD: Final = 6
_SERVER_CLOCK: Final = 0.0
# A handshake takes several round trips, each of which may take the timeout.
_HANDSHAKE: Final = 4
# More processes than any application has, and more microseconds than any clock has.
_MOST_PROCESSES: Final = 100_000
_MOST: Final = 2**53

# Errors that a server answered; other errors may come from anywhere on the way to it.
_ANSWERED: Final = (ResponseError, InvalidResponse, AuthenticationError, AuthorizationError)
# Kinds and texts of errors that pass: the server starts, fails over, is full or is busy.
_PASSES: Final = re.compile(
    r"LOADING|BusyLoading|BUSY|TRYAGAIN|TryAgain|CLUSTERDOWN|ClusterDown|MASTERDOWN|MasterDown"
    r"|READONLY|ReadOnly|OOM|OutOfMemory|MISCONF|NOREPLICAS|^AskError|\bASK\b"
    r"|max number of clients|upstream|[Cc]onnection refused|timed out"
)
# Kinds and texts of errors that time does not mend, and what to do. The first that fits counts.
_NO_SCRIPT: Final = """
    refuses the script that counts calls ({kind}). chatmark needs Redis 5 or later, or Valkey, and
    the commands SCRIPT LOAD, EVAL and EVALSHA
"""
_ADVICE: Final = {
    r"unknown command": _NO_SCRIPT,
    r"Authenti|Authoriz|NOAUTH|WRONGPASS|password": """
        does not accept the user and the password. Correct them in the URL,
        redis://USER:PASSWORD@HOST:PORT (percent-encode special characters); the command line takes
        it from CHATMARK_PACE
    """,
    r"NoPermission|NOPERM|can't run this command": """
        does not let this user count calls. Allow it the keys {keys} and the commands
        +script|load +eval +evalsha +time +del +pexpire +@hash +@sortedset
    """,
    r"DB index|SELECT": """
        has no database of this number. Correct the number at the end of the URL
    """,
    r"WRONGTYPE": """
        keeps other data under {keys}. Use another key, or delete these keys
    """,
    r"Moved|MOVED|CrossSlot|CROSSSLOT": """
        is a node of a cluster and does not own the slot of {keys}. Name the node that owns
        it{owner}, or a server outside of a cluster
    """,
    r"InvalidResponse": """
        is not a Redis: it answers in another protocol. Correct the host and the port of the URL
    """,
    r"CertVerification": """
        has a certificate that is not trusted. Name its authority in the URL:
        rediss://HOST:PORT?ssl_ca_certs=FILE
    """,
    r"WRONG_VERSION_NUMBER": """
        does not speak TLS. Use redis:// instead of rediss://
    """,
    r"FileNotFound|IsADirectory|PEM|NO_CERTIFICATE|KEY_VALUES": """
        needs TLS files that cannot be read. Correct ssl_ca_certs, ssl_certfile and ssl_keyfile in
        the URL
    """,
    r"PermissionError": """
        is closed to this process. Correct the permissions of the socket or of the TLS files
    """,
}


class BudgetServer:
    """
    Asks the server over one connection, which is made when it is needed.

    Args:
        url: `redis://`, `rediss://` or `unix://`; it may hold a password.
        key: The name of the count, one for each application.
        timeout: Seconds for an answer.
        command: The call of the API that is counted.

    Raises:
        InputError: The URL or the key is wrong.
    """

    def __init__(self, url: str, key: str, timeout: float, command: str = "") -> None:
        self.place = check_redis_url(url)
        if not (isinstance(key, str) and key and key.isprintable() and not set(key) & {*"{}"}):
            raise InputError("key", "must be printable text without braces", key)
        self._url = Secret(url)
        self._key = key
        self._keys = keys_of(key, command)
        self._timeout = timeout
        self._redis: Redis | None = None
        self._check_options()

    def of(self, command: str) -> "BudgetServer":
        """Return what keeps the count of another command."""
        return BudgetServer(self._url.reveal(), self._key, self._timeout, command)

    async def connect(self) -> None:
        """
        Connect, so that the next question takes one round trip.

        Raises:
            UnreachableError: No connection came about in time.
            BudgetError: The server refuses this client.
        """
        if self._redis is None:
            self._redis = self._client()
            await self._guarded(self._redis.script_load(SCRIPT), _HANDSHAKE * self._timeout)

    async def ask(self, question: Question) -> Answer:
        """
        Ask, and report calls, in one round trip; in two if the server has lost the script.

        Raises:
            UnreachableError: No answer that can be read came in time.
            BudgetError: The server refuses to count.
        """
        await self.connect()
        return await self._guarded(self._run(question), self._timeout)

    async def aclose(self) -> None:
        """Close the connection; the next question makes another."""
        redis, self._redis = self._redis, None
        if redis is not None:
            try:
                await redis.aclose()
            except (RedisError, OSError):
                # The connection was broken already.
                return

    def _client(self) -> Redis:
        client: Any = Redis
        redis: Redis = client.from_url(
            self._url.reveal(),
            socket_timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            single_connection_client=True,
            # A second attempt would come too late for the caller.
            retry=Retry(NoBackoff(), 0),
        )
        return redis

    def _check_options(self) -> None:
        try:
            pool: Any = self._client().connection_pool
            pool.make_connection()
        except Exception as error:  # noqa: BLE001 - redis-py raises several kinds for an option.
            named = re.search(r"'([a-z_]+)'(?: in connection URL\.)?$", str(error))
        else:
            return
        option = "" if named is None else f": {named[1]}"
        reason = f"the URL has an option that redis-py does not take{option}"
        raise InputError("pace", f"{reason} (those that begin with ssl_ need rediss://)")

    async def _guarded(self, work: Awaitable[T], seconds: float) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await work
        except Exception as error:  # noqa: BLE001 - redis-py raises any kind for a garbled answer.
            trouble = self._trouble(error)
        # A late answer must not be taken for the answer to a later question.
        await self.aclose()
        raise trouble

    async def _run(self, question: Question) -> Answer:
        redis: Any = self._redis
        arguments = (len(self._keys), *self._keys, *arguments_of(question))
        with contextlib.suppress(NoScriptError):
            return answer_of(await redis.evalsha(_DIGEST, *arguments), question)
        # The server's scripts were flushed.
        return answer_of(await redis.eval(SCRIPT, *arguments), question)

    def _trouble(self, error: Exception) -> UnreachableError | BudgetError:
        """
        Return what to raise for an error, without its text: servers repeat what they were sent.
        """
        fault = _source(error)
        kind = type(fault).__name__
        is_answer = isinstance(fault, _ANSWERED)
        if isinstance(fault, InvalidResponse):
            # The answer of a server of another protocol may be anything.
            said = kind
        else:
            said = f"{kind} {fault if is_answer else getattr(fault, 'reason', '')}"
        if _PASSES.search(said) or (kind == "FileNotFoundError" and self.place.startswith("unix")):
            return UnreachableError(kind)
        advice = [each for pattern, each in _ADVICE.items() if re.search(pattern, said)]
        if not (advice or is_answer):
            return UnreachableError(kind)
        owner = re.search(r"\d+ ([\w.:\[\]-]{3,255})$", said)
        text = " ".join([*advice, _NO_SCRIPT][0].split()).format(
            keys=f"{self._keys[0].removesuffix(_KEYS[0])}*",
            kind=kind,
            owner="" if owner is None else f", {owner[1]}",
        )
        return BudgetError(f"the Redis at {self.place} {text}")


def _source(error: Exception) -> BaseException:
    """
    Return what an error of redis-py was made of: an answer, or an error of the operating system.
    """
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, (*_ANSWERED, OSError)):
        inner = inner.__cause__ or inner.__context__
    return inner or error


def keys_of(key: str, command: str = "") -> tuple[str, ...]:
    """Return the keys of the script. Their common hash tag keeps them on one node of a cluster."""
    of_command = f"{command}:" if command else ""
    return tuple(f"{{{key}}}:{of_command}{name}" for name in _KEYS)


def arguments_of(question: Question, now: float = _SERVER_CLOCK) -> tuple[str, ...]:
    """
    Return the arguments of the script, in its order.

    Args:
        question: The question.
        now: A time to use instead of the server's clock.
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


def answer_of(reply: Any, question: Question) -> Answer:
    """
    Return the script's answer, with each number within the bounds of what the script can say.

    Raises:
        ValueError: The reply is not an answer of the script.
    """
    numbers = cast("list[int]", reply) if isinstance(reply, list) else []
    if len(numbers) < _HEAD or any(
        type(each) is not int or not 0 <= each <= _MOST for each in numbers
    ):
        raise ValueError("no answer of the script")
    now, paused, opens, processes, wait, mended, *promised = numbers
    horizon, hold, longest = (
        now + math.ceil(seconds * _MICROSECONDS)
        for seconds in (question.terms.horizon, question.terms.hold, LONGEST_PAUSE)
    )
    said = (paused, opens, processes, promised)
    bounded = (
        min(paused, longest),
        min(opens, hold),
        min(processes, _MOST_PROCESSES),
        [min(at, horizon) for at in promised[: question.wanted]],
    )
    paused, opens, processes, promised = bounded
    return Answer(
        now / _MICROSECONDS,
        paused / _MICROSECONDS,
        opens / _MICROSECONDS,
        max(1, processes),
        wait / _MICROSECONDS,
        tuple(at / _MICROSECONDS for at in promised),
        is_mended=mended > 0 or bounded != said,
    )


def check_redis_url(url: object) -> str:
    """
    Return a URL without its user, password and options.

    >>> check_redis_url("redis://user:secret@cache.example.com:6379/1?x=y")
    'redis://cache.example.com:6379/1'

    Raises:
        InputError: It is not a URL of a Redis. The text does not repeat it: it may hold a password.
    """
    try:
        parts = urllib.parse.urlsplit(url) if isinstance(url, str) else None
        port = None if parts is None else parts.port
    except ValueError:
        parts = port = None
    if parts is None or parts.scheme not in _SCHEMES or not (parts.hostname or parts.path):
        raise InputError("pace", "must be a URL such as redis://127.0.0.1:6379")
    if parts.scheme != "unix" and not re.fullmatch(r"/?|/[0-9]+", parts.path):
        raise InputError("pace", "has no number of a database such as redis://127.0.0.1:6379/0")
    host = parts.hostname or ""
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path}"


def _whole(seconds: float) -> str:
    # Rounded up, so that no call counts for too short a time.
    return str(math.ceil(seconds * _MICROSECONDS))
