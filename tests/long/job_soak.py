"""
Jobs at full size: killed, on a full disk, and large.

    python tests/long/job_soak.py kill [ROWS [KILLS [OPTION ...]]]
    python tests/long/job_soak.py disk [ROWS [TIMES]]
    python tests/long/job_soak.py size [ROWS ...]

`kill`: a job is killed with SIGKILL at random moments and given again until it ends; the server's
state is that of applying the rows one by one, and no more than a quarter more items were sent than
there are rows. `disk`: the same, with its journal on a disk that is full at random moments (a tmpfs
is mounted for it: root is needed). `size`: rows scattered over 20,000 users take less than 150 MB,
no more than 1 % above the fewest calls, and no more memory for ten times the rows (within 15 %).
Exits 0 when all of that holds.
"""

import contextlib
import itertools
import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

import attrs
from job_rig import Server, scattered, write_rows
from rig import model_state

from chatmark import MarkChange

_USERS_OF_SIZE = 20_000
_MOST_MEMORY = 150.0


def kill(options: Sequence[str], rows: int = 60_000, kills: int = 12) -> list[str]:
    """Return what went wrong when a job was killed again and again."""
    rng = random.Random(1)
    with _desk(rows, rng) as desk:
        for number in range(1, kills + 1):
            before = desk.server.ask("items")
            process = desk.server.start(*desk.command, "-q", *options)
            is_time = _moment(rng, rows - before, kills - number)
            while process.poll() is None and not is_time(desk.server.ask("items") - before):
                time.sleep(0.002)
            process.kill()
            process.communicate()
            items = desk.server.ask("items")
            print(f"{number:>3} killed: {items:,} items sent, journal {_size(desk.folder):,} bytes")
            if process.returncode == 0:
                return [f"it ended before it was killed {kills} times"]
        return desk.finish()


def disk(rows: int = 60_000, times: int = 6) -> list[str]:
    """Return what went wrong when the disk of a job's journal was full again and again."""
    rng = random.Random(1)
    with _desk(rows, rng) as desk, _small_disk(desk.folder / "small") as small:
        desk.command = (*desk.command[:-1], str(small / "journal"))
        for number in range(1, times + 1):
            before = desk.server.ask("items")
            process = desk.server.start(*desk.command, "-q")
            is_time = _moment(rng, rows - before, times - number)
            while process.poll() is None and not is_time(desk.server.ask("items") - before):
                time.sleep(0.002)
            while process.poll() is None:
                _fill(small / "filler")
                time.sleep(0.005)
            _, err = process.communicate()
            (small / "filler").unlink(missing_ok=True)
            items = desk.server.ask("items")
            print(f"{number:>3} exit status {process.returncode}: {items:,} items sent")
            print("\n".join(f"      {line}" for line in err.splitlines()))
            if process.returncode == 0:
                # It was done before the disk was full; once more would be another job.
                return desk.judge(0)
        return desk.finish()


@attrs.define
class _Desk:
    """A job, where it is run, and what it is to lead to."""

    folder: pathlib.Path
    server: Server
    changes: list[MarkChange]
    command: tuple[str, ...]

    def finish(self) -> list[str]:
        """Run the job to its end, and return what is wrong then."""
        status, out, err = self.server.run(*self.command)
        print(out, err)
        return self.judge(status)

    def judge(self, status: int) -> list[str]:
        """Return what is wrong with the end of the job."""
        wrong: list[str] = list(self.server.ask("violations"))
        items, state = self.server.ask("items"), self.server.ask("state")
        print(
            f"{items:,} items sent for {len(self.changes):,} rows of {len(state):,} conversations"
        )
        if status:
            wrong.append(f"exit status {status}")
        if state != model_state(self.changes):
            wrong.append("the server's state is not that of the rows")
        if items > 1.25 * len(self.changes):
            wrong.append(f"{items / len(self.changes) - 1:.0%} more items than rows were sent")
        return wrong


@contextlib.contextmanager
def _desk(rows: int, rng: random.Random) -> Iterator[_Desk]:
    changes = list(scattered(rows, max(1, rows // 120), rng, repeats=0.05))
    with tempfile.TemporaryDirectory() as directory, Server(keep_calls=None) as server:
        folder = pathlib.Path(directory)
        write_rows(folder / "rows.jsonl", changes)
        command = ("apply", str(folder / "rows.jsonl"), "--journal", str(folder / "journal"))
        yield _Desk(folder, server, changes, command)


def _moment(rng: random.Random, left: int, times: int) -> Callable[[int], bool]:
    """
    Return what says when something is to happen: after some time, or when some items were sent.

    Args:
        rng: Chance.
        left: How many items are still to be sent.
        times: How often something is to happen after that, while there are any.
    """
    end = time.monotonic() + rng.uniform(0.0, 2.0) if rng.random() < 0.25 else math.inf
    most = rng.uniform(0.0, 2.0) * left / (times + 3)
    return lambda items: items >= most or time.monotonic() >= end


@contextlib.contextmanager
def _small_disk(place: pathlib.Path) -> Iterator[pathlib.Path]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _fill(path: pathlib.Path) -> None:
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def size(*sizes: int) -> list[str]:
    """Return what went wrong when jobs of these sizes were run and measured."""
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
            print(
                f"{rows:,} rows: {peak:.1f} MB at most, {calls:,} calls (fewest: {fewest:,}), "
                f"{document['elapsed_seconds']:.0f} s of sending, journal {journal:,} bytes"
            )
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
    """Return the most memory that a process ever had, in MB, 0 when it is gone."""
    with contextlib.suppress(OSError, StopIteration):
        status = pathlib.Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
        line = next(line for line in status if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return 0.0


def main() -> int:
    """Run one of them."""
    what, *given = sys.argv[1:] or ["kill"]
    numbers = [int(each) for each in itertools.takewhile(str.isdigit, given)]
    if what == "kill":
        wrong = kill(given[len(numbers) :], *numbers)
    elif what == "disk":
        wrong = disk(*numbers)
    else:
        wrong = size(*(numbers or [300_000, 3_000_000]))
    print("\n".join(["WRONG", *wrong]) if wrong else "as it should be")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
