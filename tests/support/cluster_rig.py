"""What tests on a cluster share: one of this machine, its workers, and rows as Parquet."""

import contextlib
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
from pyarrow import parquet

from chatmark import MarkChange

# Small enough for a machine that others work on, too.
SMALL: Final = {"num_cpus": 2, "object_store_memory": 200_000_000}


@contextlib.contextmanager
def local_cluster() -> Iterator[None]:
    """Run a cluster of this machine while the block runs."""
    from chatmark.ray.local import LOCAL, stay_on_loopback  # noqa: PLC0415 - before Ray itself.

    stay_on_loopback()
    from chatmark.ray import joined  # noqa: PLC0415 - needs Ray.

    # Ray's sockets have their names in it, of which a system takes a hundred characters.
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder,
        joined(LOCAL, _temp_dir=folder, **SMALL),
    ):
        yield


def worker_pids() -> list[int]:
    """
    Return the processes of this machine's workers that belong to this test run or its children.
    """
    return [pid for pid in _pids() if _name(pid).startswith("ray::Worker") and _is_mine(pid)]


def wait_for_workers(count: int, seconds: float = 60.0) -> list[int]:
    """Wait until there are so many workers, and return their processes."""
    end = time.monotonic() + seconds
    while len(pids := worker_pids()) < count:
        assert time.monotonic() < end, "there are no workers"
        time.sleep(0.02)
    return pids


def write_parquet(path: pathlib.Path, changes: Sequence[MarkChange], **settings: Any) -> None:
    """Write changes as Parquet."""
    bits = pa.list_(pa.int64())
    table = pa.table(
        {
            "from_account": pa.array([each.from_account for each in changes]),
            "to_account": pa.array([each.conversation.id for each in changes]),
            "set_mark": pa.array([list(each.set_mark.bits) for each in changes], bits),
            "clear_mark": pa.array([list(each.clear_mark.bits) for each in changes], bits),
            "custom_mark": pa.array([each.custom_mark for each in changes], pa.string()),
        }
    )
    parquet.write_table(table, path, **settings)


def _pids() -> list[int]:
    return [int(each.name) for each in pathlib.Path("/proc").iterdir() if each.name.isdigit()]


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    return ""


def _is_mine(pid: int) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            status = pathlib.Path(f"/proc/{pid}/stat").read_text("utf-8")
        except OSError:
            return False
        pid = int(status.rpartition(")")[2].split()[1])
    return False
