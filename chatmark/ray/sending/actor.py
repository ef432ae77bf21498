"""The actor that sends: one session, and one partition after another."""

import asyncio
import contextlib
import pathlib
import tempfile
from typing import Any, Final, final

import attrs

from chatmark import CallBudget, MarkSession, UnsentError
from chatmark.jobs.grouping import Loaded, Spool
from chatmark.jobs.options import Control
from chatmark.jobs.reports.progress import Counters, Progress
from chatmark.jobs.running import run_loaded
from chatmark.ray.input.partitions import Partition
from chatmark.ray.options import RayOptions
from chatmark.ray.runtime import raising_causes, ray
from chatmark.ray.sending.checkpoint import Sent
from chatmark.ray.sending.driver import SenderLostError
from chatmark.ray.sending.sealed import SealedCredentials

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
        self._sending: dict[int, asyncio.Task[Sent]] = {}
        self._counters = Counters()
        self._control = Control()

    async def ready(self) -> None:
        """Wait until the actor runs."""

    async def send(
        self, sealed: SealedCredentials, options: RayOptions, partition: Partition, block: Any
    ) -> Sent:
        """
        Send a partition.

        A call that is repeated, because the actor could not be reached, sends nothing again.
        """
        if partition.index not in self._sending:
            self._counters = Counters()
            sending = self._send(sealed, options, partition, block)
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
        """Close the session."""
        await self._stack.aclose()

    async def _send(
        self, sealed: SealedCredentials, options: RayOptions, partition: Partition, block: Any
    ) -> Sent:
        session = await self._open(sealed, options)
        is_stopped, self._control = self._control.is_stopped, Control()
        if is_stopped:
            self._control.stop()
        spool = partition.spool(block)
        with (
            tempfile.TemporaryDirectory(prefix="chatmark-") as folder,
            Loaded("", spool, spool.changes, 0) as loaded,
        ):
            failed = pathlib.Path(folder, "failed.jsonl")
            here = attrs.evolve(options, failed=str(failed), journal=None, interval=_INTERVAL)
            report = await run_loaded(
                session, loaded, here, on_progress=self._show, control=self._control
            )
            return Sent(report, await asyncio.to_thread(failed.read_bytes))

    def _show(self, progress: Progress) -> None:
        self._counters = progress.counters

    async def _open(self, sealed: SealedCredentials, options: RayOptions) -> MarkSession:
        if self._session is None:
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
    """The actor, for the process that started the job; a `PartitionSender`."""

    def __init__(self, credentials: SealedCredentials, options: RayOptions) -> None:
        self._arguments = (credentials, options)
        self._actor: Any = ray.remote(SendingActor).options(**SETTINGS).remote()

    async def send(self, partition: Partition) -> Sent:
        """Send a partition."""
        alone = attrs.evolve(partition, block=None)
        try:
            with raising_causes():
                sent: Sent = await self._actor.send.remote(*self._arguments, alone, partition.block)
        except ray.exceptions.RayActorError as error:
            with contextlib.suppress(ray.exceptions.RayError):
                await self._actor.ready.options(max_task_retries=-1).remote()
            raise SenderLostError(f"the sender was lost ({type(error).__name__})") from None
        return sent

    async def counters(self, partition: Partition) -> Counters:
        """Return the counters of a partition that is sent, none if the actor is lost."""
        counters = Counters()
        with contextlib.suppress(ray.exceptions.RayError):
            counters = await self._actor.counters.remote(partition.index)
        return counters

    async def spool(self, partition: Partition) -> Spool:
        """Return the changes of a partition."""
        return partition.spool(await partition.block)

    def stop(self) -> None:
        """Send nothing more; requests in flight end."""
        self._actor.stop.remote()

    async def close(self) -> None:
        """Close the session of the actor."""
        with contextlib.suppress(ray.exceptions.RayError):
            await self._actor.close.remote()

    def kill(self) -> None:
        """End the actor at once."""
        ray.kill(self._actor)
