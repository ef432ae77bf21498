"""One attempt at one call of the API: signed, sent, classified, and told to the hooks."""

import asyncio
import collections
import contextlib
import datetime as dt
import logging
import math
import random
import traceback
from collections.abc import Callable, Generator, Iterable
from typing import Any, Final, TypeVar

import attrs

from chatmark.codes import Command, Handling
from chatmark.credentials import Credentials
from chatmark.errors import InputError, withhold
from chatmark.events import (
    ChangesSettled,
    Event,
    Hook,
    Paused,
    RequestEnded,
    RetryPlanned,
    SignatureRenewed,
    logger,
)
from chatmark.failures import AnswerError, ApplicationRefusedError, RefusedError, SignatureError
from chatmark.http.signer import Signature, Signer
from chatmark.http.transport import Transport
from chatmark.pacing.budget import Budget, BudgetOfCommands, CallOutcome, Permit
from chatmark.usersig import read_usersig
from chatmark.wire.classify import CONFIRMED, GatewayFaults, Verdict
from chatmark.wire.converter import to_json
from chatmark.wire.messages import (
    Envelope,
    HttpAnswer,
    Message,
    NoAnswer,
    Reply,
    unread_of,
    without_texts,
)

E = TypeVar("E", bound=Envelope)

# Characters of all texts of one answer that are looked through and kept, a line of each of 100
# conversations among them; many more would stop the loop.
_MOST_TEXTS: Final = 100_000
# A permit that waited so long, in seconds, for a signature is no longer one.
_STALE: Final = 0.01
_RANDOMS: Final = 1 << 32
# Odd, so that adding it visits all 32-bit numbers before it repeats one.
_STRIDE: Final = 0x9E3779B1


class Hooks:
    """The hooks of a session; one that raises is logged, and disturbs no caller."""

    def __init__(self, hooks: tuple[Hook, ...] = ()) -> None:
        self._hooks = hooks
        found = (getattr(hook, "caller", None) for hook in hooks)
        self._caller: Callable[[], Any] | None = next(filter(None, found), None)
        self._untold: collections.deque[Event] = collections.deque()
        self._is_telling = False

    def __bool__(self) -> bool:
        return bool(self._hooks)

    @property
    def is_listening(self) -> bool:
        """Whether a hook or a log of DEBUG takes events that are not about trouble."""
        return bool(self._hooks) or logger.isEnabledFor(logging.DEBUG)

    def caller(self) -> Any:
        """Return what the first hook that has a `caller` says of the running task."""
        if self._caller is not None:
            with _logged():
                return self._caller()
        return None

    def tell(self, event: Event) -> None:
        """Call every hook with the event, and log it: INFO for trouble, else DEBUG."""
        level = logging.INFO if isinstance(event, Paused | RetryPlanned) else logging.DEBUG
        if logger.isEnabledFor(level) and not isinstance(event, ChangesSettled):
            logger.log(level, "%s", event, extra={"chatmark_event": event})
        self._untold.append(event)
        if self._is_telling:
            # An action of a hook made this event: it is told next, not from inside the hook.
            return
        self._is_telling = True
        try:
            while self._untold:
                event = self._untold.popleft()
                for hook in self._hooks:
                    with _logged():
                        hook(event)
        finally:
            self._is_telling = False


@contextlib.contextmanager
def _logged() -> Generator[None]:
    try:
        yield
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
        # A task is cancelled only while it waits, so a CancelledError is the hook's own, too. The
        # text of an error may hold anything, so only the place is logged.
        *_, place = traceback.extract_tb(error.__traceback__)
        where = place.filename, place.lineno, place.name
        logger.error("a hook raised %s at %s:%s in %s", type(error).__name__, *where)


class ApiClient:
    """
    Makes the calls of a session, which share its signature, its budget and its connections.

    Args:
        server: The server that is called, as errors name it.
        timeout: Seconds that a call waits for its UserSig.
    """

    def __init__(
        self,
        credentials: Credentials,
        transport: Transport,
        budget: Budget,
        *,
        server: str,
        rng: random.Random,
        wall_clock: Callable[[], float],
        timeout: float,
        hooks: Hooks,
    ) -> None:
        self._credentials = credentials
        self._used = (
            f"SDKAppID {credentials.sdkappid}, identifier {credentials.identifier}, {server}; "
            "international SDKAppIDs have 8 digits"
        )
        self._gateway_faults = GatewayFaults()
        self._refused_for = ""
        self._transport = transport
        # Without the name of the region.
        self._server = server.partition(" ")[0]
        self._signer = Signer(credentials, wall_clock)
        self._random = rng.randrange(_RANDOMS)
        self._signature_number = 0
        self._timeout = timeout
        # Seconds that an attempt takes at most, with the wait for a UserSig.
        self.longest_attempt = 2 * timeout
        self._wall_clock = wall_clock
        self._hooks = hooks
        self._budget = budget
        self._budgets: dict[Command, Budget] = {}
        self.calls = 0
        self.pauses = 0
        self.paused = 0.0
        self._paused_until = -math.inf

    @property
    def renewals(self) -> int:
        return self._signer.renewals

    def budget_of(self, command: Command) -> Budget:
        if not isinstance(self._budget, BudgetOfCommands):
            return self._budget
        if command not in self._budgets:
            self._budgets[command] = self._budget.of(str(command))
        return self._budgets[command]

    async def call(
        self,
        request: Message,
        classify: Callable[[Reply], Verdict[E]],
        permit: Permit,
        callers: Callable[[], Iterable[Any]] | None = None,
    ) -> Verdict[E]:
        """
        Make one call with a permit of the budget, and say what came of it.

        *callers* returns what a hook said of the tasks for which it is made, by default of this.
        """
        loop = asyncio.get_running_loop()
        asked = loop.time()
        try:
            signature = self._signer.current() or await self._wait_for_signature()
        except BaseException:
            permit.done(CallOutcome.UNUSED)
            raise
        if isinstance(signature, NoAnswer):
            permit.done(CallOutcome.UNUSED)
            return classify(signature)
        if loop.time() > asked + _STALE:
            # The permit was for the moment when it was given.
            permit.done(CallOutcome.UNUSED)
            permit = await self.budget_of(request.command).acquire()
        if signature.number > self._signature_number:
            self._signature_number = signature.number
            self._hooks.tell(SignatureRenewed(signature.number, signature.forced))
        permit.sent()
        self.calls += 1
        number, started = self.calls, loop.time()
        try:
            reply = await self._post(request, signature)
            verdict = self._judge(_classified(classify, reply), signature)
        except BaseException:
            permit.done(CallOutcome.UNKNOWN)
            raise
        if self._hooks.is_listening:
            made_for = [self._hooks.caller()] if callers is None else callers()
            self._hooks.tell(
                RequestEnded(
                    request.command,
                    request.from_account,
                    request.size,
                    verdict.reason,
                    loop.time() - started,
                    verdict.request_id,
                    self._server,
                    reply.status if isinstance(reply, HttpAnswer) else None,
                    # Objects need be neither hashable nor equal.
                    tuple({id(each): each for each in made_for if each is not None}.values()),
                )
            )
        _report_unread(request, verdict.answer)
        verdict = self._end(request.command, permit, verdict)
        verdict = self._gateway_faults.weigh(verdict, number, self.calls)
        self._log_refusal(verdict)
        return verdict

    async def _post(self, request: Message, signature: Signature) -> Reply:
        self._random = (self._random + _STRIDE) % _RANDOMS
        try:
            return await self._transport.post(
                request.command.value,
                {
                    "sdkappid": str(self._credentials.sdkappid),
                    "identifier": self._credentials.identifier,
                    "usersig": signature.usersig.reveal(),
                    "random": str(self._random),
                    "contenttype": "json",
                },
                to_json(request),
            )
        except asyncio.CancelledError as error:
            # The frames of the transport hold the query with the UserSig.
            raise error.with_traceback(None) from None

    def _judge(self, verdict: Verdict[E], signature: Signature) -> Verdict[E]:
        """
        Return the verdict without texts that repeat the signature or the key it was made from.

        Where the login is the likely cause of a refusal its error says which was used. A refusal of
        the UserSig is final without a remedy.
        """
        answer, error, handling = verdict.answer, verdict.error, verdict.handling
        if answer is not None and handling is not Handling.RENEW_SIGNATURE:
            self._signer.accepted(signature)
        if answer is CONFIRMED:
            return verdict
        key = self._credentials.secret_key
        secrets = [signature.usersig.reveal(), *([] if key is None else [key.reveal()])]
        left = _MOST_TEXTS

        def clean(text: str) -> str:
            nonlocal left
            left -= len(text)
            if left < 0:
                return "left out: the answer has too many texts"
            return withhold(text, secrets) if text else text

        request_id = clean(verdict.request_id)
        if isinstance(error, RefusedError):
            kind, info = type(error), clean(error.info)
            if handling is Handling.RENEW_SIGNATURE and not self._signer.refused(signature):
                handling, kind = Handling.REFUSE_APPLICATION, ApplicationRefusedError
            used = self._login(error, signature)
            error = kind(error.code, info, request_id=request_id, used=used)
        elif isinstance(error, AnswerError) and clean(str(error)) != str(error):
            error = AnswerError(clean(str(error)), status=error.status)
        if answer is not None:
            answer = without_texts(answer, clean)
        verdict = attrs.evolve(verdict, handling=handling, answer=answer, error=error)
        return attrs.evolve(verdict, request_id=request_id)

    def _log_refusal(self, verdict: Verdict[E]) -> None:
        """Log a refusal of the application once, until the server serves it again."""
        if verdict.handling in (Handling.REFUSE_APPLICATION, Handling.REFUSE_STANDARD):
            if verdict.reason != self._refused_for:
                self._refused_for = verdict.reason
                logger.error("the server refuses this application: %s", verdict.error)
        elif verdict.handling is Handling.DONE:
            self._refused_for = ""

    def _login(self, error: RefusedError, signature: Signature) -> str:
        """Return the signature and the login that were used, where they are the likely cause."""
        said: list[str] = []
        if error.row.handling is Handling.RENEW_SIGNATURE:
            try:
                content = read_usersig(signature.usersig.reveal())
            except InputError:
                said.append("a UserSig that cannot be read")
            else:
                made, end, now = map(_utc, (content.time, content.expires_at, self._wall_clock()))
                said.append(f"a UserSig made at {made} that expires at {end}")
                said.append(f"the clock of this machine says {now}")
        if error.row.is_of_login:
            said.append(self._used)
        return "; ".join(said)

    def _end(self, command: Command, permit: Permit, verdict: Verdict[E]) -> Verdict[E]:
        """Tell the budget how the call ended; the verdict says if the budget slowed down."""
        if verdict.handling is not Handling.SLOW_DOWN:
            is_answered = verdict.answer is not None
            permit.done(CallOutcome.ADMITTED if is_answered else CallOutcome.UNKNOWN)
            return verdict
        seconds = permit.done(CallOutcome.REFUSED)
        if seconds is None or verdict.pause:
            # A server that says for how long is obeyed.
            return verdict
        if seconds:
            self._note_pause(command, seconds, verdict.reason)
        return attrs.evolve(verdict, is_paced=True)

    async def _wait_for_signature(self) -> Signature | NoAnswer:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._signer.get()
        except SignatureError as error:
            # Waiting cures an outage of the provider, not a mistake in it.
            final = isinstance(error.__cause__, TypeError)
            return NoAnswer(error, "signature", final=final, sent=False)
        except TimeoutError:
            # The provider is not asked again meanwhile: what it gives in the end will be used.
            late = SignatureError(f"the provider gave no UserSig within {self._timeout:g} s")
            return NoAnswer(late, "signature", sent=False)

    def pause(self, command: Command, seconds: float, reason: str) -> None:
        """Stop calls of this command for that time, in all sessions that share the budget."""
        self.budget_of(command).pause(seconds)
        self._note_pause(command, seconds, reason)

    def _note_pause(self, command: Command, seconds: float, reason: str) -> None:
        # Pauses may overlap; that time counts once.
        now = asyncio.get_running_loop().time()
        end = now + seconds
        self.pauses += 1
        self.paused += max(0.0, end - max(now, self._paused_until))
        self._paused_until = max(self._paused_until, end)
        self._hooks.tell(Paused(seconds, reason, command))

    async def aclose(self) -> None:
        try:
            await self._signer.aclose()
        finally:
            await self._transport.aclose()


def _utc(seconds: float) -> str:
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g} s since 1970"


def _classified(classify: Callable[[Reply], Verdict[E]], reply: Reply) -> Verdict[E]:
    """Return what a reply means; one that cannot be looked at is one that cannot be read."""
    try:
        return classify(reply)
    except (MemoryError, RecursionError) as error:
        message = f"the answer cannot be read: {type(error).__name__}"
    return classify(NoAnswer(AnswerError(message), "unreadable"))


def _report_unread(request: Message, answer: Envelope | None) -> None:
    unread = [] if answer is None else unread_of(answer)
    if answer is not None and unread:
        named = f" (RequestId {answer.request_id})" if answer.request_id else ""
        count = "1 element" if len(unread) == 1 else f"{len(unread)} elements"
        logger.warning(
            "%s of %s: left out %s of the answer that cannot be read, the first: %s%s",
            *(request.command, request.from_account, count, unread[0].reason, named),
        )
