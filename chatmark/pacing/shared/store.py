"""
The Redis or Valkey that keeps a shared budget, asked by way of an asyncio client.

The client may be of redis-py or of valkey-py, so errors are told apart by the names of their
classes. Only a URL needs the extra `redis`.
"""

import asyncio
import contextlib
import hashlib
import importlib.resources
import inspect
import re
import urllib.parse
from collections.abc import Awaitable
from typing import Any, Final

from chatmark.codes import MARKING
from chatmark.credentials import Secret
from chatmark.errors import InputError
from chatmark.failures import BudgetError
from chatmark.pacing.shared.member import UnreachableError

SCRIPT: Final = (importlib.resources.files("chatmark.pacing.shared") / "count.lua").read_text(
    "utf-8"
)
_DIGEST: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
_KEYS: Final = ("state", "slots", "queue", "polled", "alive", "turns")
# A handshake takes several round trips, each of which may take the timeout.
_HANDSHAKE: Final = 4

# Errors that a server answered; other errors may come from anywhere on the way to it.
_ANSWERED: Final = frozenset(
    ("ResponseError", "InvalidResponse", "AuthenticationError", "AuthorizationError")
)
# Kinds and texts of errors that pass: the server starts, fails over, is full or is busy.
_PASSES: Final = re.compile(
    r"LOADING|BusyLoading|BUSY|TRYAGAIN|TryAgain|CLUSTERDOWN|ClusterDown|MASTERDOWN|MasterDown"
    r"|READONLY|ReadOnly|OOM|OutOfMemory|MISCONF|NOREPLICAS|^AskError|\bASK\b"
    r"|max number of clients|upstream|[Cc]onnection refused|timed out"
)
# The least rights that a user of the server needs.
RIGHTS: Final = "+eval +evalsha " + " ".join(
    sorted({f"+{name.lower()}" for name in re.findall(r"redis\.call\('(\w+)'", SCRIPT)})
)
_NO_SCRIPT: Final = (
    "refuses the script that counts calls ({kind}). chatmark needs Redis 5 or later, or Valkey, and"
    " the commands EVAL and EVALSHA"
)
# Kinds and texts of errors that time does not mend, and what to do. The first that fits counts.
_ADVICE: Final = {
    r"unknown command": _NO_SCRIPT,
    r"Authenti|Authoriz|NOAUTH|WRONGPASS|password": "does not accept the user and the password."
    " Correct them; in a URL, redis://USER:PASSWORD@HOST:PORT, special characters are"
    " percent-encoded, and the command line takes it from CHATMARK_PACE",
    r"NoPermission|NOPERM|can't run this command": "does not let this user count calls. Allow it:"
    " ~{keys} {rights} (and in a cluster +command +cluster|slots)",
    r"DB index|SELECT": "has no database of this number. Correct the number at the end of the URL",
    r"WRONGTYPE": "keeps other data under {keys}. Use another key, or delete these keys",
    r"Moved|MOVED|CrossSlot|CROSSSLOT": "is a node of a cluster and does not own the slot of"
    " {keys}. Give RedisBudget a ready redis.asyncio.RedisCluster, or name the node that owns it",
    r"InvalidResponse": "is not a Redis: it answers in another protocol. Correct the host and the"
    " port",
    r"CertVerification": "has a certificate that is not trusted. Name its authority in the URL:"
    " rediss://HOST:PORT?ssl_ca_certs=FILE",
    r"WRONG_VERSION_NUMBER": "does not speak TLS. Use redis:// instead of rediss://",
    r"FileNotFound|IsADirectory|PEM|NO_CERTIFICATE|KEY_VALUES": "needs TLS files that cannot be"
    " read. Correct ssl_ca_certs, ssl_certfile and ssl_keyfile",
    r"PermissionError": "is closed to this process. Correct the permissions of the socket or of the"
    " TLS files",
}


class UrlClient:
    """
    The clients of a URL, each for one event loop. They connect when they are asked.

    Attributes:
        place: The URL without user, password and options.

    Raises:
        InputError: The URL or one of its options is wrong, or the extra is missing.
    """

    def __init__(self, url: str) -> None:
        self.place = place_of(url)
        self._url = Secret(url)
        try:
            self.new().connection_pool.make_connection()
        except ModuleNotFoundError:
            reason = "needs another package: pip install 'chatmark[redis]'"
        except Exception:  # noqa: BLE001 - redis-py raises several kinds for an option.
            reason = "has an option that redis-py does not take (ssl_... needs rediss://)"
        else:
            return
        raise InputError("pace", reason)

    def new(self) -> Any:
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra.
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415

        client: Any = Redis
        # A second attempt would come too late for the caller.
        return client.from_url(self._url.reveal(), retry=Retry(NoBackoff(), 0))


class BudgetServer:
    """
    Asks the server by way of a `UrlClient`, in one event loop, or of a caller's asyncio client.

    Attributes:
        place: The URL without user, password and options, or the kind of the client.

    Raises:
        InputError: The client or the key is wrong.
    """

    def __init__(self, client: Any, key: str, timeout: float, command: str = MARKING) -> None:
        self._is_own = isinstance(client, UrlClient)
        self._client = client.new() if self._is_own else client
        if not inspect.iscoroutinefunction(getattr(self._client, "execute_command", None)):
            # The value is not shown: it may hold a password.
            raise InputError(
                "client",
                "must be an asyncio client, for example redis.asyncio.Redis(host='127.0.0.1'), "
                f"not {type(client).__module__}.{type(client).__qualname__}",
            )
        if not (isinstance(key, str) and key and key.isprintable() and not set(key) & {*"{}"}):
            raise InputError("key", "must be printable text without braces", key)
        self.place = client.place if self._is_own else f"the given {type(client).__name__}"
        self._keys = keys_of(key, command)
        self._timeout = timeout
        self._is_connected = False

    async def connect(self) -> None:
        """Connect, so that the next question takes one round trip. It raises what `ask` does."""
        if not self._is_connected:
            # A key, so that a client of a cluster connects to the node that keeps the count.
            hello = self._client.execute_command("EVAL", "return 1", 1, self._keys[0])
            await self._guard(hello, _HANDSHAKE * self._timeout)
            self._is_connected = True

    async def ask(self, arguments: tuple[str, ...]) -> Any:
        """
        Run the script, in one round trip; in two if the server has lost it. Return its reply.

        Raises:
            UnreachableError: No reply came in time.
            BudgetError: The server refuses to count.
        """
        return await self._guard(self._run(arguments), self._timeout)

    async def disconnect(self) -> None:
        """Close the idle connections, unless they are the caller's."""
        self._is_connected = False
        if self._is_own:
            # A broken connection may say so once more.
            with contextlib.suppress(Exception):
                await self._client.connection_pool.disconnect(inuse_connections=False)

    async def _run(self, arguments: tuple[str, ...]) -> Any:
        ask, given = self._client.execute_command, (len(self._keys), *self._keys, *arguments)
        try:
            return await ask("EVALSHA", _DIGEST, *given)
        except Exception as error:
            if "NoScriptError" not in _kinds(error):
                raise
        # This server does not know the script yet.
        return await ask("EVAL", SCRIPT, *given)

    async def _guard(self, work: Awaitable[Any], seconds: float) -> Any:
        try:
            async with asyncio.timeout(seconds):
                return await work
        except Exception as error:  # noqa: BLE001 - clients raise any kind for a garbled answer.
            trouble = self._trouble(error)
        self._is_connected = False
        raise trouble

    def _trouble(self, error: Exception) -> UnreachableError | BudgetError:
        """Return what to raise for an error, without its text: servers repeat what they got."""
        fault = _source(error)
        kind = type(fault).__name__
        is_answer = not _ANSWERED.isdisjoint(_kinds(fault))
        if kind == "InvalidResponse":
            # The answer of a server of another protocol may be anything.
            said = kind
        else:
            said = f"{kind} {fault if is_answer else getattr(fault, 'reason', '')}"
        if _PASSES.search(said) or (kind == "FileNotFoundError" and self.place.startswith("unix")):
            return UnreachableError(kind)
        advice = [each for pattern, each in _ADVICE.items() if re.search(pattern, said)]
        if not (advice or is_answer):
            return UnreachableError(kind)
        keys = f"{self._keys[0].removesuffix(_KEYS[0])}*"
        text = [*advice, _NO_SCRIPT][0].format(keys=keys, rights=RIGHTS, kind=kind)
        return BudgetError(f"the Redis at {self.place} {text}")


def _kinds(error: BaseException) -> set[str]:
    return {each.__name__ for each in type(error).__mro__}


def _source(error: Exception) -> BaseException:
    """Return what an error of a client was made of: an answer, or an error of the system."""
    inner: BaseException | None = error
    while inner is not None and _kinds(inner).isdisjoint({*_ANSWERED, "OSError"}):
        inner = inner.__cause__ or inner.__context__
    return inner or error


def keys_of(key: str, command: str = MARKING) -> tuple[str, ...]:
    """Return the keys of the script. Their common hash tag keeps them on one node of a cluster."""
    of_command = "" if command == MARKING else f"{command}:"
    return tuple(f"{{{key}}}:{of_command}{name}" for name in _KEYS)


def place_of(url: object) -> str:
    """
    Return a URL without its user, password and options.

    >>> place_of("redis://user:secret@cache.example.com:6379/1?x=y")
    'redis://cache.example.com:6379/1'

    Raises:
        InputError: It is not a URL of a Redis. The text does not repeat it: it may hold a password.
    """
    with contextlib.suppress(ValueError):
        parts = urllib.parse.urlsplit(url if isinstance(url, str) else "")
        host, port = parts.hostname or "", "" if parts.port is None else f":{parts.port}"
        is_redis = parts.scheme in ("redis", "rediss") and re.fullmatch(r"/?|/\d+", parts.path)
        if (is_redis and host) or (parts.scheme == "unix" and parts.path):
            return f"{parts.scheme}://{host}{port}{parts.path}"
    raise InputError("pace", "must be a URL such as redis://127.0.0.1:6379/0")
