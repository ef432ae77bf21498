"""
A job on a cluster at full size, which loses a node, and whose process is killed.

    python tests/long/ray_soak.py [ROWS [RATE]]

ROWS rows (1,000,000 unless told otherwise), scattered over a Parquet file, are applied from one
process, and then from a cluster of two nodes of this machine with a checkpoint on an S3 server,
each time against a server in a process of its own, with RATE calls a second (190; 0 is unpaced).
When a third of the conversations was sent, the node that sends is killed; when two thirds were, the
process that started the job, which is started again. The server's state is that of the rows both
times; the reports are equal but for times and runs; each of the two cost one partition at most; and
no second of the cluster's holds more calls than it may. Exits 0 when all of that holds.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Final

from cluster_rig import LocalCluster, local_cluster, s3_server, wait_for_sender, write_parquet
from job_rig import Server, scattered
from rig import model_state, windows

# The command, whose sender is not beside the head, which cannot be killed.
_PROGRAM: Final = """
import sys
from chatmark.ray.options import stay_on_loopback
stay_on_loopback()
from chatmark.ray import job
job.SETTINGS["resources"] = {"far": 0.01}
from chatmark.__main__ import main
sys.exit(main())
"""
_ROWS_A_USER: Final = 500
_PARTITIONS: Final = 256
# A server that has not enough of a core notes some calls late, together with others.
_MOST_LATE: Final = 1.05
_TIMES: Final = frozenset(
    (
        "started_at",
        "ended_at",
        "elapsed_seconds",
        "read_back_seconds",
        "by_hour",
        "phases",
        "target",
    )
)
_RUNS: Final = frozenset(("calls", "items_sent", "retries", "earlier_runs", "command"))


def soak(rows: int = 1_000_000, rate: int = 190) -> list[str]:
    """Return what went wrong."""
    users = max(1, rows // _ROWS_A_USER)
    changes = list(scattered(rows, users, random.Random(1), repeats=0.05))
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as directory,
        s3_server() as url,
        local_cluster() as cluster,
    ):
        path, report = url.format("rows.parquet"), pathlib.Path(directory, "report.json")
        write_parquet(path, changes, row_group_size=100_000)
        command = ["apply", path, "--rate", str(rate), "--report", str(report)]
        with Server(keep_calls=None) as server:
            _, here = _finish(server.start(*command), report, time.monotonic())
            state = server.ask("state")
        wrong = [] if state == model_state(changes) else ["one process: another state"]
        with Server(keep_calls=None) as server:
            command += ["--ray", cluster.address, "--journal", url.format("checkpoint")]
            started = time.monotonic()
            process = _start(server, command)
            _kill_node(cluster, server, rows // 3)
            server_items = _kill(server, process, 2 * rows // 3)
            status, there = _finish(_start(server, command), report, started)
            wrong += [*map(str, server.ask("violations"))]
            wrong += [] if status == 0 else [f"exit status {status}"]
            wrong += [] if state == server.ask("state") else ["the cluster: another state"]
            again = server.ask("items") - here["items_sent"]
            most = windows(server.ask("times"))
    print(f"killed with {server_items:,} sent; {again:,} conversations were sent again")
    print(f"{most} calls in the fullest second; earlier: {there['earlier_runs']}")
    if again > 2 * 1.2 * rows / _PARTITIONS:
        wrong.append(f"{again:,} were sent again, more than two partitions")
    if rate and most > _MOST_LATE * rate:
        wrong.append(f"{most} calls in one second, {rate} are allowed")
    for each in ("calls", "items_sent"):
        total = there[each] + there["earlier_runs"][each]
        if total != here[each]:
            wrong.append(f"{each}: {here[each]} from one process, {total} from the cluster")
    return wrong + [
        f"{key}: {here.get(key)} from one process, {there.get(key)} from the cluster"
        for key in (here.keys() | there.keys()) - _TIMES - _RUNS
        if here.get(key) != there.get(key)
    ]


def _start(server: Server, command: list[str]) -> Any:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CHATMARK_")}
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *command],
        env=environment | server.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process: Any, report: pathlib.Path, started: float) -> tuple[int, dict[str, Any]]:
    out, err = process.communicate()
    print(out, err[-2_000:], f"{time.monotonic() - started:.1f} s from start to end", sep="\n")
    return process.returncode, json.loads(report.read_text("utf-8")) if report.exists() else {}


def _kill_node(cluster: LocalCluster, server: Server, items: int) -> None:
    while server.ask("items") < items:
        time.sleep(0.2)
    node = cluster.node_of(wait_for_sender())
    cluster.remove(node)
    cluster.add_node()
    print(f"the node that sends was killed when {items:,} conversations were sent")


def _kill(server: Server, process: Any, items: int) -> int:
    while (sent := server.ask("items")) < items:
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return int(sent)


def main() -> int:
    """Run it."""
    wrong = soak(*map(int, sys.argv[1:]))
    print("\n".join(["WRONG", *wrong]) if wrong else "as it should be")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
