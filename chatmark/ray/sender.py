"""The actor that sends: one session, and one partition after another."""

import asyncio
import contextlib
from typing import Any, Final, final

import attrs

from chatmark import CallBudget, MarkResult, MarkSession, UnsentError
from chatmark.jobs.grouping.loading import Loaded
from chatmark.jobs.grouping.units import Unit
from chatmark.jobs.options import Control
from chatmark.jobs.reports.progress import Counters, Progress
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.running import run_loaded
from chatmark.jobs.sending.accounts import UnitOutcome, outcome_of
from chatmark.ray.driver import SenderLostError
from chatmark.ray.input import Partition
from chatmark.ray.options import RayOptions, SealedCredentials
from chatmark.ray.runtime import raising_causes, ray

# It needs no CPU of its own: the tasks that bring lost rows back may need the last one.
SETTINGS: Final[dict[str, Any]] = {"num_cpus": 0, "max_restarts": -1}
_INTERVAL: Final = 0.25
# Seconds for which a successor sends nothing: calls of the lost sender may count that long.
_AFTER_LOSS: Final = 1.1


class SendingActor:
    """The actor. Ray starts it anew, on another node if its own is lost."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._session: MarkSession | None = None
        self._sending: dict[int, asyncio.Task[JobReport]] = {}
        self._counters = Counters()
        self._control = Control()

    async def ready(self) -> None:
        """Wait until the actor runs."""

    async def send(
        self, sealed: SealedCredentials, options: RayOptions, partition: Partition, data: bytes
    ) -> JobReport:
        """
        Send a partition.

        A call that is repeated, because the actor could not be reached, sends nothing again.
        """
        if partition.index not in self._sending:
            self._counters, self._control = Counters(), Control()
            sending = self._send(sealed, options, partition, data)
            self._sending = {partition.index: asyncio.create_task(sending, name="chatmark-send")}
        return await asyncio.shield(self._sending[partition.index])

    async def counters(self, partition: int) -> Counters:
        """Return the counters of a partition that is sent."""
        return self._counters if partition in self._sending else Counters()

    async def stop(self) -> None:
        """Send nothing more; requests in flight end."""
        self._control.stop()
        if self._session is not None:
            # The report accounts for unsent changes.
            with contextlib.suppress(UnsentError):
                await self._session.close(send_waiting=False)

    async def close(self) -> None:
        await self._stack.aclose()

    async def _send(
        self, sealed: SealedCredentials, options: RayOptions, partition: Partition, data: bytes
    ) -> JobReport:
        failures: list[tuple[Unit, MarkResult]] = []

        def keep(unit: Unit, result: MarkResult) -> None:
            if result.error is not None and outcome_of(result) is not UnitOutcome.NOT_SENT:
                failures.append((unit, result))

        def show(progress: Progress) -> None:
            self._counters = progress.counters

        session = self._session or await self._open(sealed, options)
        here = attrs.evolve(options, failed=None, journal=None, interval=_INTERVAL)
        spool = partition.spool(data)
        with Loaded("", spool, spool.changes, 0) as loaded:
            report = await run_loaded(
                session, loaded, here, on_progress=show, on_result=keep, control=self._control
            )
        return attrs.evolve(report, failures=failures)

    async def _open(self, sealed: SealedCredentials, options: RayOptions) -> MarkSession:
        if options.budget is not None:
            budget = await self._stack.enter_async_context(options.budget())
        else:
            budget = CallBudget(options.calls_per_second)
            if ray.get_runtime_context().was_current_actor_reconstructed:
                budget.pause(_AFTER_LOSS)
        session = MarkSession(sealed.open(), budget=budget, **options.session)
        self._session = await self._stack.enter_async_context(session)
        return self._session


@final
class RemoteSender:
    """The actor, for the process that started the job."""

    def __init__(self, credentials: SealedCredentials, options: RayOptions) -> None:
        self._arguments = (credentials, options)
        self._actor: Any = ray.remote(SendingActor).options(**SETTINGS).remote()

    async def send(self, partition: Partition) -> JobReport:
        """
        Send a partition.

        Raises:
            SenderLostError: The actor was lost; its successor is ready.
        """
        alone = attrs.evolve(partition, data=None)
        try:
            with raising_causes():
                send = self._actor.send.remote
                report: JobReport = await send(*self._arguments, alone, partition.data)
        except ray.exceptions.RayActorError as error:
            with contextlib.suppress(ray.exceptions.RayError):
                await self._actor.ready.options(max_task_retries=-1).remote()
            raise SenderLostError(f"the sender was lost ({type(error).__name__})") from None
        return report

    async def counters(self, partition: Partition) -> Counters:
        """Return the counters of a partition that is sent, none if the actor is lost."""
        with contextlib.suppress(ray.exceptions.RayError):
            counters: Counters = await self._actor.counters.remote(partition.index)
            return counters
        return Counters()

    def stop(self) -> None:
        """Send nothing more; requests in flight end."""
        self._actor.stop.remote()

    async def close(self) -> None:
        with contextlib.suppress(ray.exceptions.RayError):
            await self._actor.close.remote()

    def kill(self) -> None:
        ray.kill(self._actor)
