"""What tests on a cluster share: nodes of this machine, a sender without Ray, rows as Parquet."""

import contextlib
import logging
import os
import pathlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from typing import Any, Final
from unittest import mock

import attrs
import pyarrow as pa
from pyarrow import parquet

from chatmark import MarkChange, MarkSession
from chatmark.jobs.grouping import Spool
from chatmark.jobs.options import JobOptions
from chatmark.jobs.reports.progress import Counters
from chatmark.jobs.reports.report import JobReport
from chatmark.ray.driver import SenderLostError, send_partition
from chatmark.ray.input import Input, Partition, divide

# The fields of a report that depend on the time and the speed of a job.
_TIMES: Final = frozenset(
    ("started_at", "ended_at", "elapsed_seconds", "read_back_seconds", "by_hour", "phases")
)
# Small enough for a machine that others work on, too.
_STORE: Final = 100_000_000


class LocalCluster:
    """A head without CPUs, where this process is, and nodes with one each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster  # noqa: PLC0415 - needs Ray.

        head = {"num_cpus": 0, "object_store_memory": _STORE, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address: str = self._cluster.address

    def add_node(self, cpus: int = 1) -> Any:
        """Add a node, which the sender may run on."""
        resources = {"far": 1.0}
        return self._cluster.add_node(
            num_cpus=cpus, object_store_memory=_STORE, resources=resources
        )

    def remove(self, node: Any) -> None:
        """End all processes of a node at once."""
        self._cluster.remove_node(node, allow_graceful=False)

    def node_of(self, pid: int) -> Any:
        """Return the node that has a process."""
        for node in self._cluster.worker_nodes:
            (raylet,) = node.all_processes["raylet"]
            if _parent(pid) == raylet.process.pid:
                return node
        raise LookupError(pid)

    def close(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def local_cluster(nodes: int = 2) -> Iterator[LocalCluster]:
    """Run a cluster of this machine while the block runs, which this process is a part of."""
    from chatmark.ray.options import stay_on_loopback  # noqa: PLC0415 - before Ray itself.

    stay_on_loopback()
    from chatmark.ray import joined  # noqa: PLC0415 - needs Ray.

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    cluster = LocalCluster()
    try:
        for _ in range(nodes):
            cluster.add_node()
        with joined(cluster.address):
            yield cluster
    finally:
        cluster.close()


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """
    Run an S3 server on loopback while the block runs; its credentials are in the environment.

    Gives the URL of an object, with a place for its name.
    """
    import boto3  # noqa: PLC0415 - needs moto.
    from moto.server import ThreadedMotoServer  # noqa: PLC0415

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "example-secret-not-real",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    try:
        with mock.patch.dict(os.environ, settings):
            boto3.client("s3").create_bucket(Bucket="bucket")
            yield f"s3://bucket/folder/{{}}?scheme=http&endpoint_override={host}:{port}"
    finally:
        server.stop()


def told(report: JobReport) -> dict[str, Any]:
    """Return the document of a report without times and the order of answers."""
    document = {key: value for key, value in report.document().items() if key not in _TIMES}
    # The example of a code is the first that was refused.
    codes = [{**each, "example": None} for each in document["refused_by_code"]]
    failures = sorted(document["failures"], key=lambda each: each["line"])
    return document | {"refused_by_code": codes, "failures": failures}


def wait_for_sender(seconds: float = 60.0) -> int:
    """Wait until the actor that sends runs, and return its process."""
    end = time.monotonic() + seconds
    while not (pids := [pid for pid in _pids() if _name(pid).startswith("ray::SendingActor")]):
        assert time.monotonic() < end, "nothing sends"
        time.sleep(0.02)
    return pids[0]


def partitioned(
    changes: Sequence[MarkChange], partitions: int, first: Sequence[str] | None = None
) -> Input:
    """Return changes as the input of a job, in partitions that begin with these users."""
    if first is None:
        first = divide([(change.from_account, 1) for change in changes], partitions)
    made: list[Partition] = []
    for number, (low, high) in enumerate(zip(["", *first], [*first, "\U0010ffff"], strict=True)):
        with Spool() as spool:
            for line, change in enumerate(changes, 1):
                if low <= change.from_account < high:
                    spool.add(change, line)
            spool.group()
            users = b"".join(user.digest for user in spool.by_user())
            data = Data(spool.dump())
            made.append(Partition(number, spool.size, spool.digest, users, data))
    return Input("changes", len(changes), (), made, first)


@attrs.frozen
class Data:
    """A partition's dumped spool, which is awaited as a reference of Ray's is."""

    content: bytes

    def __await__(self) -> Generator[None, None, bytes]:
        """Return the content."""
        yield from ()
        return self.content


class LocalSender:
    """
    Sends through a session of this process; a `PartitionSender`.

    Args:
        session: The session.
        options: The options of the job.
        losses: How often it is lost with a partition, after it has sent it.
    """

    def __init__(
        self,
        session: MarkSession,
        options: JobOptions,
        losses: Mapping[int, int] | None = None,
    ) -> None:
        self._session = session
        self._options = options
        self._losses = Counter(losses or {})
        self.sent: list[int] = []
        self.is_stopped = False

    async def send(self, partition: Partition) -> AsyncGenerator[Counters | JobReport]:
        """Send a partition, or send it and be lost."""
        self.sent.append(partition.index)
        data = await partition.data
        report = await send_partition(self._session, self._options, partition, data)
        if self._losses[partition.index]:
            self._losses[partition.index] -= 1
            raise SenderLostError("the sender was lost")
        yield report

    def stop(self) -> None:
        """Note that the job is to stop."""
        self.is_stopped = True


def write_parquet(path: object, changes: Sequence[MarkChange], **settings: Any) -> None:
    """Write changes as Parquet, to a path or a URL."""
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
    parquet.write_table(table, str(path), **settings)


def _pids() -> list[int]:
    return [
        pid
        for each in pathlib.Path("/proc").iterdir()
        if each.name.isdigit() and _is_mine(pid := int(each.name))
    ]


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    return ""


def _parent(pid: int) -> int:
    status = pathlib.Path(f"/proc/{pid}/stat").read_text("utf-8")
    return int(status.rpartition(")")[2].split()[1])


def _is_mine(pid: int) -> bool:
    """Say whether a process belongs to this test run or its children."""
    with contextlib.suppress(OSError):
        while pid > 1:
            if pid == os.getpid():
                return True
            pid = _parent(pid)
    return False
