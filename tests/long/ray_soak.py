"""
A job on a cluster at full size, a worker of which is killed.

    python tests/long/ray_soak.py [ROWS [RATE]]

ROWS rows (1,000,000 unless told otherwise), scattered over a Parquet file, are applied from one
process, and then from a cluster of this machine with two workers, each time against a server in a
process of its own, with RATE calls a second (190; 0 is unpaced). When a third of the conversations
was sent, one worker is killed with SIGKILL. The server's state is that of the rows both times; the
reports are equal but for times; and no second of the cluster's holds more calls than it may. Exits
0 when all of that holds.
"""

import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any, Final

from cluster_rig import wait_for_workers, write_parquet
from job_rig import Server, scattered
from rig import State, model_state, windows

_ROWS_A_USER: Final = 500
# A server that has not enough of a core notes some calls late, together with others.
_MOST_LATE: Final = 1.05
_TIMES: Final = frozenset(("started_at", "elapsed_seconds", "by_hour"))


def soak(rows: int = 1_000_000, rate: int = 190) -> list[str]:
    """Return what went wrong."""
    users = max(1, rows // _ROWS_A_USER)
    changes = list(scattered(rows, users, random.Random(1), repeats=0.05))
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as directory:
        folder = pathlib.Path(directory)
        write_parquet(folder / "rows.parquet", changes, row_group_size=100_000)
        print(f"{rows:,} rows of {users:,} users, {_megabytes(folder):.1f} MB of Parquet")
        here, state, wrong = _apply(folder, rate, ())
        ray = ("--ray", "local", "--ray-workers", "2", "--failed", str(folder / "failed"))
        there, again, more = _apply(folder, rate, ray, kill_at=rows // 3)
    wrong += more
    if state != model_state(changes):
        wrong.append("the state after one process is not that of the rows")
    if again != state:
        wrong.append("the state after the cluster is not that after one process")
    return wrong + _differences(here, there)


def _apply(
    folder: pathlib.Path, rate: int, options: Sequence[str], kill_at: int | None = None
) -> tuple[dict[str, Any], State, list[str]]:
    report = folder / "report.json"
    with Server(keep_calls=None) as server:
        started = time.monotonic()
        process = server.start(
            *("apply", str(folder / "rows.parquet"), "--rate", str(rate)),
            *("--report", str(report), *options),
        )
        if kill_at is not None:
            _kill(server, kill_at)
        out, err = process.communicate()
        seconds = time.monotonic() - started
        print(out, err, f"{seconds:.1f} s from start to end", sep="\n")
        wrong = list(server.ask("violations"))
        if process.returncode:
            wrong.append(f"exit status {process.returncode}")
        most = windows(server.ask("times"))
        print(f"{server.ask('calls'):,} calls, {most} in the fullest second")
        if rate and kill_at is not None and most > _MOST_LATE * rate:
            wrong.append(f"{most} calls in one second, {rate} are allowed")
        document = json.loads(report.read_text("utf-8")) if report.exists() else {}
        return document, server.ask("state"), wrong


def _kill(server: Server, items: int) -> None:
    pids = wait_for_workers(2, 300.0)
    while server.ask("items") < items:
        time.sleep(0.5)
    os.kill(pids[0], signal.SIGKILL)
    print(f"worker {pids[0]} killed when {items:,} conversations were sent")


def _differences(here: dict[str, Any], there: dict[str, Any]) -> list[str]:
    return [
        f"{key}: {here.get(key)} from one process, {there.get(key)} from the cluster"
        for key in here.keys() | there.keys()
        if key not in _TIMES and here.get(key) != there.get(key)
    ]


def _megabytes(folder: pathlib.Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def main() -> int:
    """Run it."""
    wrong = soak(*map(int, sys.argv[1:]))
    print("\n".join(["WRONG", *wrong]) if wrong else "as it should be")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
