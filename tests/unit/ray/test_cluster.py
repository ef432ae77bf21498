"""Jobs on a cluster of this machine, against a server in another process."""

import asyncio
import importlib.util
import json
import logging
import os
import pathlib
import random
import re
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_rig import local_cluster, wait_for_workers, write_parquet
from job_rig import Server, scattered, write_rows
from paths import ROOT
from pyarrow import parquet
from redis_server import MISSING, RedisServer
from rig import model_state, windows

from chatmark import Credentials, InputError, MarkSession
from chatmark.jobs import BadRowsError, ChangeFile, Control, JobOptions, JobReport, run

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="Ray is not installed: --group cluster"
    ),
    # Ray uses what it deprecates.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
CHANGES = list(scattered(6_000, 100, random.Random(1), repeats=0.05))
# The fields that depend on the time, the speed and the files of a job.
# The times, the server, and what a table on a cluster has not.
_APART = {
    *("input", "file", "started_at", "ended_at", "elapsed_seconds", "paused_seconds", "by_hour"),
    *("failures", "phases", "target", "job"),
}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Run one cluster for all tests, because its start takes seconds."""
    with local_cluster():
        yield


async def apply(server: Server, *paths: pathlib.Path, **given: Any) -> JobReport:
    """Apply files on the cluster."""
    from chatmark.ray import RayOptions, apply_on_ray  # noqa: PLC0415 - needs Ray.

    more = {name: given.pop(name) for name in ("on_progress", "control") if name in given}
    given.setdefault("workers", 2)
    given.setdefault("calls_per_second", None)
    credentials = given.pop("credentials", Credentials.from_env(server.environment))
    return await apply_on_ray(
        list(map(str, paths)),
        credentials,
        RayOptions(interval=0.1, **given),
        base_url=server.environment["CHATMARK_BASE_URL"],
        **more,
    )


async def apply_here(server: Server, path: pathlib.Path, failed: pathlib.Path) -> JobReport:
    """Apply a file from this process."""
    url = server.environment["CHATMARK_BASE_URL"]
    credentials = Credentials.from_env(server.environment)
    async with MarkSession(credentials, base_url=url, calls_per_second=None) as session:
        return await run(session, ChangeFile.of(str(path)), JobOptions(failed=str(failed)))


def told(report: JobReport) -> dict[str, Any]:
    """Return the document of a report without what differs from run to run."""
    document = report.document()
    for row in document["refused_by_code"]:
        del row["example"]
    return {key: value for key, value in document.items() if key not in _APART}


def logs() -> list[pathlib.Path]:
    """Return all files of the cluster's session."""
    from chatmark.ray.runtime import ray  # noqa: PLC0415 - needs Ray.

    session = pathlib.Path(ray._private.worker._global_node.get_session_dir_path())
    return [each for each in session.rglob("*") if each.is_file()]


def kill_one(server: Server, items: int) -> threading.Thread:
    """Kill a worker when the server has received so many items."""

    def kill() -> None:
        pids = wait_for_workers(2)
        server.wait_for(items)
        os.kill(pids[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


async def test_as_from_one_process(tmp_path: pathlib.Path) -> None:
    """State, report and failures are those of the same file applied from one process."""
    path = tmp_path / "rows.parquet"
    write_parquet(path, CHANGES, row_group_size=1_000)
    unknown = {change.from_account for change in CHANGES[:5]}
    users = {change.from_account for change in CHANGES} - unknown
    with Server(keep_calls=None, users=users) as server:
        here = await apply_here(server, path, tmp_path / "failed.jsonl")
        state = server.ask("state")
    with Server(keep_calls=None, users=users) as server:
        there = await apply(server, path, failed=str(tmp_path / "failed"))

        assert state == server.ask("state")
        assert [] == list(server.ask("violations"))
    rows = parquet.read_table(tmp_path / "failed").to_pylist()
    lines = (tmp_path / "failed.jsonl").read_text("utf-8").splitlines()
    failed = [json.loads(line) for line in lines]
    notes = ("_line", "_code", "_info", "_attempts", "_rows", "from_account", "to_account")

    assert told(here) == told(there)
    assert here.accounts.refused
    assert {str(path)} == {row["_file"] for row in rows}
    assert sorted([each[note] for note in notes] for each in failed) == sorted(
        [each[note] for note in notes] for each in rows
    )


async def test_many_files_are_one_input(tmp_path: pathlib.Path) -> None:
    """Files of several formats take effect in their order."""
    half = len(CHANGES) // 2
    write_rows(tmp_path / "a.jsonl", CHANGES[:half])
    write_parquet(tmp_path / "b.parquet", CHANGES[half:], row_group_size=500)
    lines: list[str] = []
    with Server(keep_calls=None) as server:
        report = await apply(
            server,
            tmp_path,
            on_progress=lambda progress: lines.append(progress.line),
            calls_per_second=80.0,
            verify=True,
        )

        assert model_state(CHANGES) == server.ask("state")
        # By the clock of the server, which may be late; with a budget each it would be 160.
        assert windows(server.ask("times")) <= 100
    assert report.ok
    assert (len(CHANGES), len(CHANGES)) == (report.rows, report.accounts.applied)
    assert report.read_back is not None
    assert report.conversations == report.read_back.as_wanted
    assert any(" of 6,000 changes" in line and " of 80/s" in line for line in lines)


async def test_a_worker_that_is_killed(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Killed half way, a worker's users are done again: the state is exact, and nothing counts twice.
    """
    path = tmp_path / "rows.parquet"
    write_parquet(path, CHANGES)
    with Server(keep_calls=None, round_trip=0.02) as server:
        killing = kill_one(server, 2_000)
        report = await apply(server, path, calls_per_second=80.0)
        killing.join()

        assert model_state(CHANGES) == server.ask("state")
        assert server.ask("calls") > report.run.calls
    assert report.ok
    assert report.accounts.is_balanced
    assert len(CHANGES) == report.accounts.applied
    assert ["was lost" in record.getMessage() for record in caplog.records] == [True]


async def test_a_refusal_of_the_application(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A refusal stops the whole job at once, and neither report nor logs show the key."""
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "rows.parquet"
    write_parquet(path, CHANGES)
    with Server(keep_calls=None) as server:
        credentials = Credentials(
            sdkappid=1400000001, identifier="administrator", secret_key="another-secret-not-real"
        )
        report = await apply(server, path, credentials=credentials)

        assert {} == server.ask("state")
        assert server.ask("calls") <= 2 * 2
    assert report.stopped is not None
    assert not report.interrupted
    assert report.accounts.is_balanced
    assert 0 == report.accounts.applied
    assert len(CHANGES) / 2 < report.accounts.not_sent

    secret = "another-secret-not-real"
    assert secret not in f"{caplog.text}{report}{report.document()}"
    assert [] == [log.name for log in logs() if secret.encode() in log.read_bytes()]
    assert len(logs()) > 10


async def test_bad_rows(tmp_path: pathlib.Path) -> None:
    """Bad rows are found before anything is sent; up to `max_errors` are set aside."""
    write_rows(tmp_path / "a.jsonl", CHANGES[:50])
    with (tmp_path / "b.jsonl").open("w", encoding="utf-8") as file:
        file.write('{"from_account": "a"}\nnonsense\n')
    with Server(keep_calls=None) as server:
        with pytest.raises(BadRowsError, match=r"2 of 52 cannot be applied, such as .*b\.jsonl:1"):
            await apply(server, tmp_path, failed=str(tmp_path / "none"), max_errors=1)

        assert 0 == server.ask("calls")
        failed = tmp_path / "failed"
        report = await apply(server, tmp_path, failed=str(failed), max_errors=2)
    rows = parquet.read_table(failed / "set-aside.parquet").to_pylist()

    assert (52, 50, 2) == (report.rows, report.accounts.applied, report.accounts.set_aside)
    assert report.complete
    assert not report.ok
    assert [(1, '{"from_account": "a"}'), (2, "nonsense")] == [
        (row["_line"], row["_raw"]) for row in rows
    ]


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
    """Wrong options are refused before anything is read."""
    write_rows(tmp_path / "a.jsonl", CHANGES[:5])
    with Server() as server:
        for given in ({"workers": 0}, {"workers": 1_000}, {"calls_per_second": 0.0}):
            with pytest.raises(InputError):
                await apply(server, tmp_path, **given)
        with pytest.raises(InputError, match="max_errors"):
            await apply(server, tmp_path, max_errors=1)

        assert 0 == server.ask("calls")


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_the_command(tmp_path: pathlib.Path) -> None:
    """
    `chatmark apply --ray` joins the cluster, and answers as it does without.

    Its workers share a budget with other processes, whose password is nowhere to be read.
    """
    from redis import Redis  # noqa: PLC0415 - an extra.

    from chatmark.ray.runtime import ray  # noqa: PLC0415 - needs Ray.

    write_rows(tmp_path / "a.jsonl", CHANGES[:300])
    write_rows(tmp_path / "b.jsonl", CHANGES[300:600])
    address = ray.get_runtime_context().gcs_address
    with Server(keep_calls=None) as server, RedisServer("not-a-password") as redis:
        server.environment["CHATMARK_PACE"] = redis.url
        status, out, err = server.run(
            *(
                "apply",
                "--ray",
                address,
                "--ray-workers",
                "1",
                "--report",
                str(tmp_path / "r.json"),
            ),
            *(str(tmp_path / name) for name in ("a.jsonl", "b.jsonl")),
        )

        assert model_state(CHANGES[:600]) == server.ask("state")
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
        exec(compile(program, "cluster.md", "exec"), {})

        assert model_state(CHANGES[:100]) == server.ask("state")
    assert "'applied': 100" in capsys.readouterr().out
