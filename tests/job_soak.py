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
import pathlib
import random
import sys
import tempfile
import time

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
        for _number in range(1, kills + 1):
            sent = server.ask("items")
            process = server.start(*command)
            moment = _moment(rng, rows, kills)
            while process.poll() is None and not moment(server.ask("items") - sent):
                time.sleep(0.002)
            process.kill()
            process.communicate()
            sum(path.stat().st_size for path in folder.glob("journal*"))
            server.ask("items")
        status, _out, _err = server.run(*command[:-1])
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
    if status:
        wrong.append(f"exit status {status}")
    if state != wanted_state(changes):
        wrong.append("the server's state is not that of the rows")
    if items > 1.25 * len(changes):
        wrong.append(f"{items / len(changes) - 1:.0%} more items were sent than there are rows")
    return wrong


def size(*sizes: int) -> list[str]:
    """
    Return what went wrong when jobs of these sizes were run and measured.
    """
    wrong: list[str] = []
    peaks: list[float] = []
    for rows in sizes:
        with tempfile.TemporaryDirectory() as directory, Server(keep_calls=10) as server:
            folder = pathlib.Path(directory)
            users = _USERS_OF_SIZE
            write_rows(folder / "rows.jsonl", scattered(rows, users, random.Random(rows)))
            report = folder / "report.json"
            process = server.start(
                *("apply", str(folder / "rows.jsonl"), "--journal", str(folder / "journal")),
                *("--rate", "0", "--report", str(report), "-q"),
            )
            journal, peak = 0, 0.0
            while process.poll() is None:
                journal = max(journal, _size(folder))
                peak = max(peak, _peak(process.pid))
                time.sleep(0.05)
            peaks.append(peak)
            document = json.loads(report.read_text("utf-8"))
            calls, applied = server.ask("calls"), document["applied"]
            fewest = users * -(-(rows // users) // 100)
            if (process.returncode, applied, server.ask("size")) != (0, rows, rows):
                wrong.append(f"{rows:,} rows: {document}")
            if calls > 1.01 * fewest:
                wrong.append(f"{calls:,} calls, {fewest:,} would do")
            if peak > _MOST_MEMORY:
                wrong.append(f"{peak:.0f} MB for {rows:,} rows")
    if max(peaks) > 1.15 * peaks[0]:
        wrong.append(f"memory grew: {peaks}")
    return wrong


def _size(folder: pathlib.Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return sum(path.stat().st_size for path in folder.glob("journal*"))
    return 0


def _peak(pid: int) -> float:
    """
    Return the most memory that a process ever had, in MB, 0 when it is gone.
    """
    with contextlib.suppress(OSError, StopIteration):
        status = pathlib.Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
        line = next(line for line in status if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return 0.0


def main() -> int:
    """
    Run one of them.
    """
    what, *numbers = sys.argv[1:] or ["kill"]
    given = [int(number) for number in numbers]
    wrong = kill(*(given or [60000, 12])) if what == "kill" else size(*(given or [300000, 3000000]))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
