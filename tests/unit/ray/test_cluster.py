"""Jobs on a cluster of several nodes of this machine, with a server and S3 in other processes."""

import asyncio
import importlib.util
import json
import logging
import os
import pathlib
import random
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_rig import LocalCluster, local_cluster, s3_server, told, wait_for_sender, write_parquet
from job_rig import Server, scattered, write_rows
from paths import ROOT
from redis_server import MISSING, RedisServer
from rig import model_state, windows

from chatmark import Credentials, InputError, MarkSession
from chatmark.jobs import BadRowsError, ChangeFiles, Control, JobOptions, JobReport, run

pytestmark = [
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("ray", "moto")),
        reason="Ray or moto is not installed: --group cluster",
    ),
    # Ray, boto3 and moto use what is deprecated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
CHANGES = list(scattered(6_000, 100, random.Random(1), repeats=0.05))


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Run an S3 server, and give the URL of a folder there, with a place for the name of a file."""
    with s3_server() as url:
        yield url


@pytest.fixture(scope="module", autouse=True)
def cluster(s3: str) -> Iterator[LocalCluster]:
    """Run one cluster for all tests, because its start takes seconds."""
    assert s3, "the nodes need its environment"
    with local_cluster() as cluster:
        yield cluster


async def apply(server: Server, *paths: object, **given: Any) -> JobReport:
    """Apply files on the cluster."""
    from chatmark.ray import RayOptions, apply_on_ray  # noqa: PLC0415 - needs Ray.

    more = {name: given.pop(name) for name in ("on_progress", "control") if name in given}
    given.setdefault("calls_per_second", None)
    credentials = given.pop("credentials", Credentials.from_env(server.environment))
    return await apply_on_ray(
        list(map(str, paths)),
        credentials,
        RayOptions(**{"interval": 0.05, "partitions": 20} | given),
        base_url=server.environment["CHATMARK_BASE_URL"],
        **more,
    )


def logs() -> list[pathlib.Path]:
    """Return all files of the cluster's session."""
    from chatmark.ray.runtime import ray  # noqa: PLC0415 - needs Ray.

    session = pathlib.Path(ray._private.worker._global_node.get_session_dir_path())
    return [each for each in session.rglob("*") if each.is_file()]


async def test_as_from_one_process(tmp_path: pathlib.Path, s3: str) -> None:
    """State, report and failures are those of the same files applied from one process."""
    half = len(CHANGES) // 2
    paths = [s3.format("a.parquet"), str(tmp_path / "b.jsonl")]
    write_parquet(paths[0], CHANGES[:half], row_group_size=1_000)
    write_rows(tmp_path / "b.jsonl", CHANGES[half:])
    with (tmp_path / "b.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"from_account": "a"}\nnonsense\n')
    unknown = {change.from_account for change in CHANGES[:2]}
    known = {each for c in CHANGES for each in (c.from_account, c.conversation.id)} - unknown
    failed = [tmp_path / "here.csv", tmp_path / "there.csv"]
    with Server(keep_calls=None, users=known) as server:
        url = server.environment["CHATMARK_BASE_URL"]
        credentials = Credentials.from_env(server.environment)
        async with MarkSession(credentials, base_url=url, calls_per_second=None) as session:
            options = JobOptions(failed=str(failed[0]), skip_unchanged=True, verify=True)
            here = await run(session, ChangeFiles.of(paths), options, max_errors=2)
        state = server.ask("state")
    done: list[int] = []
    with Server(keep_calls=None, users=known) as server:
        there = await apply(
            server,
            *paths,
            failed=str(failed[1]),
            skip_unchanged=True,
            verify=True,
            max_errors=2,
            target=here.target,
            calls_per_second=80.0,
            on_progress=lambda each: done.append(each.counters.done),
        )

        assert state == server.ask("state")
        assert [] == list(server.ask("violations"))
        # By the clock of the server, which may be late.
        assert windows(server.ask("times")) <= 2 * 100
    assert told(here) == told(there)
    assert failed[0].read_bytes() == failed[1].read_bytes()
    assert (6_002, 2) == (there.rows, there.accounts.set_aside)
    assert there.accounts.refused
    assert done == sorted(done)
    assert len(set(done)) > 10


async def test_a_node_that_is_lost(
    tmp_path: pathlib.Path,
    cluster: LocalCluster,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    The node that sends is lost: one partition is sent again, and nothing counts twice.

    More tasks are lost with it than the cluster has CPUs.
    """
    from chatmark.ray import job as of_ray  # noqa: PLC0415 - needs Ray.

    # Not beside this process.
    monkeypatch.setitem(of_ray.SETTINGS, "resources", {"far": 0.01})
    path = tmp_path / "rows.parquet"
    changes = list(scattered(120_000, 1_200, random.Random(2), repeats=0.05))
    write_parquet(path, changes, row_group_size=20_000)
    done: list[int] = []
    with Server(keep_calls=None, round_trip=0.02) as server:
        job = asyncio.create_task(
            apply(
                server,
                path,
                calls_per_second=200.0,
                on_progress=lambda each: done.append(each.counters.done),
            )
        )
        await asyncio.to_thread(server.wait_for, 40_000)
        node = cluster.node_of(wait_for_sender())
        await asyncio.to_thread(cluster.remove, node)
        cluster.add_node()
        report = await job

        assert model_state(changes) == server.ask("state")
        # There are 20 partitions.
        assert report.run.items <= server.ask("items") <= report.run.items * 1.08
    assert report.ok
    assert len(changes) == report.accounts.applied
    assert ["is sent again" in record.getMessage() for record in caplog.records] == [True]
    assert done == sorted(done)


def test_a_start_that_is_killed(tmp_path: pathlib.Path, cluster: LocalCluster, s3: str) -> None:
    """The process that started the job is killed: a new start goes on where it ended."""
    import boto3  # noqa: PLC0415 - needs moto.

    write_parquet(s3.format("rows.parquet"), CHANGES, row_group_size=1_000)
    checkpoint, report = s3.format("checkpoint"), tmp_path / "report.json"
    command = (
        *("apply", s3.format("rows.parquet"), "--ray", cluster.address, "--report", str(report)),
        *("--ray-partitions", "20", "--rate", "60", "--journal", checkpoint),
    )
    with Server(keep_calls=None) as server:
        killed = server.start(*command)
        server.wait_for(2_000)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        status, out, err = server.run(*command)

        assert (0, model_state(CHANGES)) == (status, server.ask("state")), err
        items = server.ask("items")
    document = json.loads(report.read_text("utf-8"))
    earlier = document["earlier_runs"]
    needed = document["items_sent"] + earlier["items_sent"]
    objects = boto3.client("s3").list_objects_v2(Bucket="bucket", Prefix="folder/checkpoint")

    assert (True, 6_000, None) == (document["ok"], document["applied"], document["journal"])
    assert document["conversations"] == needed
    assert needed <= items <= needed * 1.08
    assert earlier["settled"] >= 1_500
    assert "took effect" in out
    assert 0 == objects["KeyCount"]


async def test_a_refusal_of_the_application(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A refusal stops the whole job at once, and neither report nor logs show the key."""
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "rows.parquet"
    write_parquet(path, CHANGES)
    secret = "another-secret-not-real"
    with Server(keep_calls=None) as server:
        credentials = Credentials(
            sdkappid=1400000001, identifier="administrator", secret_key=secret
        )
        report = await apply(server, path, credentials=credentials)

        assert {} == server.ask("state")
        assert server.ask("calls") <= 2
    assert report.stopped is not None
    assert not report.interrupted
    assert report.accounts.is_balanced
    assert 0 == report.accounts.applied
    assert len(CHANGES) / 2 < report.accounts.not_sent
    assert secret not in f"{caplog.text}{report}{report.document()}"
    assert [] == [log.name for log in logs() if secret.encode() in log.read_bytes()]
    assert len(logs()) > 10


@pytest.mark.parametrize("how", ["stopped", "cancelled"])
async def test_stopping(tmp_path: pathlib.Path, how: str) -> None:
    """A stopped job sends nothing more, and its report accounts for all changes."""
    path = tmp_path / "rows.parquet"
    write_parquet(path, CHANGES)
    control = Control()
    with Server(keep_calls=None) as server:
        job = asyncio.create_task(apply(server, path, calls_per_second=20.0, control=control))
        await asyncio.to_thread(server.wait_for, 300)
        if how == "cancelled":
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job
            assert len(server.ask("state")) < len(CHANGES)
            return
        control.stop()
        report = await job

        assert report.run.items == server.ask("items")
    assert report.interrupted
    assert report.accounts.is_balanced
    assert 0 < report.accounts.applied < len(CHANGES)
    assert report.accounts.not_sent == len(CHANGES) - report.accounts.applied


async def test_what_cannot_be(tmp_path: pathlib.Path) -> None:
    """Wrong options, and more bad rows than may be set aside, are refused before a call."""
    write_rows(tmp_path / "a.jsonl", CHANGES[:50])
    (tmp_path / "b.jsonl").write_text('{"from_account": "a"}\nnonsense\n', "utf-8")
    os.mkfifo(tmp_path / "_pipe.jsonl")
    failed = str(tmp_path / "a.jsonl")
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("a.jsonl", {"partitions": 0}, "partitions"),
        ("a.jsonl", {"calls_per_second": 0.0}, "calls_per_second"),
        ("a.jsonl", {"undo": "u"}, "undo"),
        ("a.jsonl", {"max_errors": 1}, "max_errors"),
        ("a.jsonl", {"failed": failed}, "would replace the input"),
        ("_pipe.jsonl", {}, "every machine"),
        ("", {"max_errors": 1, "failed": f"{failed}.not"}, r"2 of 52 cannot .* as .*b\.jsonl:1"),
    ]
    with Server(keep_calls=None) as server:
        for name, given, message in wrong:
            with pytest.raises((InputError, BadRowsError), match=message):
                await apply(server, tmp_path / name, **given)

        assert 0 == server.ask("calls")


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_the_command(tmp_path: pathlib.Path, cluster: LocalCluster) -> None:
    """
    `chatmark apply --ray` joins the cluster, and answers as it does without.

    It shares a budget with other processes, whose password is nowhere to be read.
    """
    from redis import Redis  # noqa: PLC0415 - an extra.

    write_rows(tmp_path / "a.jsonl", CHANGES[:300])
    write_rows(tmp_path / "b.jsonl", CHANGES[300:600])
    paths = [str(tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    ray = ("--ray", cluster.address)
    with Server(keep_calls=None) as server, RedisServer("not-a-password") as redis:
        status, out, _ = server.run("apply", *ray, *paths, "--dry-run")

        assert (0, 0) == (status, server.ask("calls"))
        assert "600 changes in 600 rows, of 100 users" in out
        server.environment["CHATMARK_PACE"] = redis.url
        status, out, err = server.run("apply", *ray, *paths, "--report", str(tmp_path / "r.json"))

        assert model_state(CHANGES[:600]) == server.ask("state"), err
        client: Any = Redis(unix_socket_path=str(redis.path), password="not-a-password")
        assert any("evalsha" in each for each in client.info("commandstats"))
        client.close()
    assert [] == [log.name for log in logs() if b"not-a-password" in log.read_bytes()]
    document = json.loads((tmp_path / "r.json").read_text("utf-8"))

    # A machine that is busy may answer late, of which there is a warning.
    assert (0, False) == (status, "error" in err)
    assert "b.jsonl: 600 changes in 600 rows\n        600 took effect" in out
    assert (True, 600) == (document["ok"], document["applied"])


def test_the_program_of_the_page(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program of `docs/cluster.md` runs as it stands there, but for the table and the host."""
    page = (ROOT / "docs" / "cluster.md").read_text("utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    write_parquet(tmp_path / "rows.parquet", CHANGES[:100])
    monkeypatch.chdir(tmp_path)
    with Server(keep_calls=None) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        url = f"base_url={server.environment['CHATMARK_BASE_URL']!r}"
        program = program.replace("region=Region.SINGAPORE", url)
        program = program.replace("s3://warehouse/marks/*.parquet", "*.parquet")
        program = program.replace("s3://warehouse/marks.checkpoint", "checkpoint")
        exec(compile(program, "cluster.md", "exec"), {})

        assert model_state(CHANGES[:100]) == server.ask("state")
    assert "'applied': 100" in capsys.readouterr().out
