"""Ray without its incomplete types, and the ways to join or start a cluster."""

import contextlib
import logging
import os
from collections.abc import Generator
from typing import Any, Final

import ray as _ray
import ray.data as _ray_data

from chatmark import InputError
from chatmark.ray.local import LOCAL

ray: Any = _ray
ray_data: Any = _ray_data

# Ray Client, a proxy, knows nothing of files and tables.
_CLIENT: Final = "ray://"


@contextlib.contextmanager
def joined(address: str | None = None, **options: Any) -> Generator[None]:
    """
    Join a cluster while the block runs, unless this process is part of one already.

    Ray logs less than usual, because there is a display of progress, and sends no usage statistics.

    Args:
        address: "local" starts a cluster on this machine, "auto" joins the cluster that runs here,
            HOST:PORT joins the cluster with that head; None leaves the choice to Ray's environment.
        **options: Options of `ray.init`.

    Raises:
        InputError: The address is one of Ray Client.
        ConnectionError: There is no cluster at the address.
    """
    if address is not None and address.startswith(_CLIENT):
        raise InputError("ray", "start the job on a machine of the cluster, without Ray Client")
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settings = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False}
    if address != LOCAL:
        # The cluster has its own settings.
        del settings["include_dashboard"]
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.init(address=address, **settings | options)
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def data_settings() -> Generator[None]:
    """
    Let Ray Data draw no progress bars while the block runs, and survive the loss of a node.

    The tasks of its newer shuffles hold a CPU while they wait for rows. When a node is lost, those
    that are made again hold all CPUs of a small cluster, and the rows for which they wait are never
    made again. A sorting shuffle begins a task when its rows are there.
    """
    context = ray_data.DataContext.get_current()
    settings = {
        "enable_progress_bars": False,
        "shuffle_strategy": ray_data.context.ShuffleStrategy.SORT_SHUFFLE_PULL_BASED,
    }
    before = {name: getattr(context, name) for name in settings}
    for name, value in settings.items():
        setattr(context, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)


def cause_of(error: Exception) -> Exception:
    """Return the error of a task or an actor, without Ray's report on it."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error


@contextlib.contextmanager
def raising_causes() -> Generator[None]:
    """Raise the errors of tasks and actors without Ray's report on them."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise cause_of(error) from None
