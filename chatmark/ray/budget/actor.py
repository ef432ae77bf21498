"""The permit server as an actor of Ray, and the way of a worker to it."""

from collections.abc import Sequence
from typing import Any

from chatmark.commands import MARKING
from chatmark.ray.budget.server import PermitReport, PermitServer, PermitServerLostError
from chatmark.ray.runtime import ray


class _PermitServerActor(PermitServer):
    def __init__(self, calls_per_second: float) -> None:
        context = ray.get_runtime_context()
        super().__init__(calls_per_second, is_successor=context.was_current_actor_reconstructed)


def start_permit_server(calls_per_second: float) -> Any:
    """Start the actor on this node: it ends with the process that started the job."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=True
    )
    options = {"num_cpus": 0, "max_restarts": -1, "scheduling_strategy": here}
    return ray.remote(_PermitServerActor).options(**options).remote(calls_per_second)


class RemotePermits:
    """
    The `PermitSource` of a worker.

    Args:
        worker: The name of the worker.
        actor: The actor of the permit server.
        command: The command whose calls are counted.
    """

    def __init__(self, worker: str, actor: Any, command: str = MARKING) -> None:
        self._worker = worker
        self._actor = actor
        self._command = command

    def of(self, command: str) -> "RemotePermits":
        """Return the source of the permits of another command."""
        return RemotePermits(self._worker, self._actor, command)

    async def take(self, wanted: int, report: PermitReport, *, after_loss: bool) -> Sequence[int]:
        """Wait until some of the permits are free, and return their numbers."""
        try:
            numbers: list[int] = await self._actor.take.remote(
                self._command, self._worker, wanted, report, after_loss=after_loss
            )
        except ray.exceptions.RayActorError as error:
            raise PermitServerLostError(type(error).__name__) from None
        return numbers

    def note(self, report: PermitReport) -> None:
        """Send a report without waiting."""
        self._actor.note.remote(self._command, report)

    def pause(self, seconds: float) -> None:
        """Stop the calls of all workers for that time."""
        self._actor.pause.remote(self._command, seconds)
