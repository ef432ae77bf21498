"""
A UserSig for each request.

It is made when the first is needed, renewed before it expires, and once more when the server says
that it has.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final

import attrs

from chatmark.credentials import Credentials, Secret
from chatmark.errors import InputError
from chatmark.failures import SessionClosedError, SignatureError
from chatmark.usersig import make_usersig, read_usersig

# The text of error 70001 asks for 24 hours at least.
_VALIDITY: Final = 86_400
# The share of its life after which a signature is renewed.
_RENEW_AT: Final = 0.8
# A provider whose signatures have expired already is not asked more often than this, in seconds.
_RENEW_AT_LEAST: Final = 1.0
# Seconds that closing waits for a provider that was cancelled.
_FAREWELL: Final = 1.0


@attrs.frozen
class Signature:
    """A UserSig, its number in this session, and whether a refusal made it necessary."""

    usersig: Secret
    number: int
    forced: bool


class Signer:
    """
    Hands out the current UserSig of a session.

    One task renews it while the others wait; a waiter that is cancelled does not stop the renewal
    for the others. The clock gives seconds since the epoch.
    """

    def __init__(self, credentials: Credentials, clock: Callable[[], float] = time.time) -> None:
        self._credentials = credentials
        self._clock = clock
        self._current: Signature | None = None
        self._made_at = -math.inf
        self._renew_at = -math.inf
        self._renewal: asyncio.Task[Signature] | None = None
        self._accepted = 0
        self._forced = False
        self._closed = False

    @property
    def renewals(self) -> int:
        return self._current.number if self._current else 0

    def current(self) -> Signature | None:
        """Return the UserSig if it holds for longer than a request takes, else None: `get` it."""
        # A clock that was set back would otherwise keep a signature from the future.
        is_good = not self._closed and self._made_at <= self._clock() < self._renew_at
        return self._current if is_good else None

    async def get(self) -> Signature:
        """
        Return a UserSig that holds for longer than a request takes.

        Raises:
            SignatureError: The provider failed.
            SessionClosedError: The session was closed.
        """
        if self._closed:
            raise SessionClosedError
        if (current := self.current()) is not None:
            return current
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew(), name="chatmark-usersig")
            self._renewal.add_done_callback(self._renewed)
        renewal = self._renewal
        try:
            return await asyncio.shield(renewal)
        except asyncio.CancelledError:
            if not renewal.cancelled() or _is_cancelled():
                raise
            if self._closed:
                raise SessionClosedError from None
            raise SignatureError("the task that renews the UserSig was cancelled") from None

    def accepted(self, signature: Signature) -> None:
        self._accepted = max(self._accepted, signature.number)

    def refused(self, signature: Signature) -> bool:
        """
        Note that the server refused this signature, and say whether another may be tried.

        A refusal is final for a UserSig that cannot be renewed, and for one that was renewed
        because the server refused its predecessor and that has never been accepted.
        """
        if self._credentials.usersig is not None:
            return False
        if self._current is None or signature.number < self._current.number:
            return True
        if signature.forced and signature.number > self._accepted:
            return False
        self._renew_at = -math.inf
        self._forced = True
        return True

    async def aclose(self) -> None:
        """Stop a renewal; a task that waits for it is told that the session is closed."""
        self._closed = True
        if self._renewal is not None:
            self._renewal.cancel()
            # A provider may not let itself be cancelled, or wait for this very session to close.
            await asyncio.wait([self._renewal], timeout=_FAREWELL)

    def _renewed(self, task: asyncio.Task[Signature]) -> None:
        self._renewal = None
        if not task.cancelled():
            # Every waiter may have gone; the failure is not news then.
            task.exception()

    async def _renew(self) -> Signature:
        now = self._clock()
        secret = await self._make(now)
        if secret is None:
            raise SignatureError("the provider gave no UserSig")
        # Read only now: a refusal that came during the renewal was of the predecessor.
        forced, self._forced = self._forced, False
        self._current = Signature(secret, self.renewals + 1, forced)
        self._made_at, self._renew_at = now, self._renewal_time(secret, now)
        return self._current

    async def _make(self, now: float) -> Secret | None:
        credentials = self._credentials
        if credentials.usersig is not None:
            return credentials.usersig
        if credentials.secret_key is not None:
            signing = credentials.sdkappid, credentials.identifier, credentials.secret_key.reveal()
            return Secret(make_usersig(*signing, now=now, expire=_VALIDITY))
        try:
            assert credentials.provider is not None  # noqa: S101
            made = await credentials.provider()
            return attrs.evolve(credentials, provider=None, usersig=made).usersig
        except (Exception, asyncio.CancelledError) as error:
            # A provider may raise anything. A task cancelled inside it is not one of its waiters.
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            failed = SignatureError(f"the provider of UserSigs failed: {type(error).__name__}")
            raise failed from error.with_traceback(None)

    def _renewal_time(self, secret: Secret, now: float) -> float:
        if self._credentials.usersig is not None:
            return math.inf
        try:
            content = read_usersig(secret.reveal())
        except InputError:
            # The server decides about it.
            return now + _VALIDITY * _RENEW_AT
        return now + max((content.expires_at - now) * _RENEW_AT, _RENEW_AT_LEAST)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
