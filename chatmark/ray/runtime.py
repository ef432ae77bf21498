"""
Ray without its incomplete types, and joining or starting a cluster.
"""

import contextlib
import logging
import os
from collections.abc import Generator
from typing import Any, Final

import ray as _ray
import ray.data as _ray_data

from chatmark.errors import InputError
from chatmark.ray.local import LOCAL

ray: Any = _ray
ray_data: Any = _ray_data

# A connection through a proxy knows nothing of files and tables.
_CLIENT: Final = "ray://"


@contextlib.contextmanager
def joined(address: str | None = None, **options: Any) -> Generator[None]:
    """
    Be part of a cluster while the block runs; one that this process has joined already is used.

    Ray logs less than usual, because there is a display of progress, and sends no usage statistics.

    Args:
        address: "local" starts one on this machine, "auto" joins the one that runs on it, HOST:PORT
            joins that whose head is there; None leaves it to Ray's own environment.
        **options: Those of `ray.init`.

    Raises:
        InputError: The address cannot be used.
        ConnectionError: There is no such cluster.
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
def quiet_data() -> Generator[None]:
    """
    Keep Ray Data from drawing progress bars of its own while the block runs.
    """
    context = ray_data.DataContext.get_current()
    before = context.enable_progress_bars
    context.enable_progress_bars = False
    try:
        yield
    finally:
        context.enable_progress_bars = before


def plain(error: Exception) -> Exception:
    """
    Return the error of a task or an actor, without Ray's report on it.
    """
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error
