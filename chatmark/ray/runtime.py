"""
Ray: joining or starting a cluster, and the tasks that read and group an input there.

Tasks that are lost with a node run again on other nodes, so no partition is lost. A task begins
when what it needs is there, so no task holds a CPU while it waits for one that is made again.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final

import attrs
import ray as _ray

from chatmark import ChatmarkError, InputError
from chatmark.jobs.counting import Phase
from chatmark.jobs.grouping import BadRowsError
from chatmark.jobs.sources.files import ChangeFiles
from chatmark.jobs.sources.row import FileError
from chatmark.ray.input import (
    Input,
    Partition,
    Summary,
    cut_slices,
    divide,
    group,
    read_slice,
    split,
)
from chatmark.ray.options import LOCAL, RayOptions

OnCount = Callable[[int], object]

# Its types are incomplete.
ray: Any = _ray
# Ray Client, a proxy, knows nothing of files and tables.
_CLIENT: Final = "ray://"
# `apply` shows as many errors of a file.
_MOST_SHOWN: Final = 20
# The most tasks that split lists: each makes an object for each partition.
_MOST_SPLITS: Final = 1_000


class ReadingError(ChatmarkError):
    """The cluster did not return every row exactly once: a bug of chatmark or of Ray."""


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
    settings: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        # Another cluster has its own setting.
        settings["include_dashboard"] = False
    ray.init(address=address, **settings | options)
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def raising_causes() -> Generator[None]:
    """Raise the errors of tasks and actors without Ray's report on them."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None


@raising_causes()
def read_input(
    files: ChangeFiles,
    options: RayOptions,
    first_users: Sequence[str] | None = None,
    on_rows: OnCount | None = None,
    on_group: OnCount | None = None,
) -> Input:
    """
    Read files to their end, and group their changes, in the partitions of an earlier start if any.

    *on_rows* is called with the number of changes read so far, *on_group* with that of all.

    Raises:
        BadRowsError: More than `max_errors` rows cannot be applied, or a file cannot be read.
        OSError: A file cannot be opened.
    """
    started = time.monotonic()
    most_errors = max(_MOST_SHOWN, options.max_errors)
    reader = _task(read_slice, "streaming")
    lists: list[Any] = []
    found = Summary()
    for reading in [reader.remote(part, most_errors) for part in cut_slices(files)]:
        *some, end = reading
        lists += some
        summary, notes = ray.get(end)
        found += summary
        files.notes.ignore(notes.columns)
        files.notes.headers += notes.headers
        files.notes.others += notes.others
        if on_rows is not None:
            on_rows(found.changes)
    of_files = [each for each in found.errors[_MOST_SHOWN:] if isinstance(each, FileError)]
    shown = (*found.errors[:_MOST_SHOWN], *of_files)
    # A file that cannot be read may hold more rows, so it cannot be set aside.
    if found.bad > options.max_errors or any(isinstance(each, FileError) for each in shown):
        raise BadRowsError(shown, found.bad, found.rows)
    checked = time.monotonic()
    if on_group is not None:
        on_group(found.changes)
    if first_users is None:
        first_users = divide(found.users, options.partitions)
    partitions = _group_lists(lists, first_users)
    came = sum(partition.size.changes for partition in partitions)
    if came != found.changes:
        raise ReadingError(f"{came} of {found.changes} changes came; report this as a bug")
    phases = (
        Phase("check", "rows", found.rows, checked - started),
        Phase("group", "changes", came, time.monotonic() - checked),
    )
    return Input(files.name, found.rows, found.errors, partitions, first_users, phases)


def _task(function: Callable[..., object], returns: int | str) -> Any:
    name = f"chatmark.{function.__name__}"
    return ray.remote(function).options(num_returns=returns, max_retries=-1, name=name)


def _group_lists(lists: Sequence[Any], first_users: Sequence[str]) -> list[Partition]:
    # Ray would take a list of one for the value itself, so there is one more.
    splitter, grouper = _task(split, len(first_users) + 2), _task(group, 2)
    some = -(-len(lists) // _MOST_SPLITS)
    parts = [splitter.remote(first_users, *lists[n : n + some]) for n in range(0, len(lists), some)]
    made = [grouper.remote(index, *of_one) for index, of_one in enumerate(zip(*parts, strict=True))]
    found = zip(ray.get([partition for partition, _ in made]), made, strict=True)
    return [attrs.evolve(each, data=data) for each, (_, data) in found if each.size.changes]
