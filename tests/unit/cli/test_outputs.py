import gzip
import json
import os
import pathlib
import subprocess
import sys

import pytest
from cli_run import Run, write_lines

from chatmark.emulator import EmulatorThread

pytestmark = pytest.mark.usefixtures("emulator", "half")


@pytest.mark.parametrize("option", ["--failed", "--report", "--html"])
def test_dash(option: str, run: Run) -> None:
    """With - an output is alone on standard output, and the summary on standard error."""
    status, out, err = run(f"apply rows.jsonl {option} -")

    assert 1 == status
    assert "1 took effect" not in out
    assert "1 took effect" in err
    assert out.startswith({"--html": "<!DOCTYPE", "--report": "{"}.get(option, '{"from'))


def test_suffixes(run: Run) -> None:
    """--failed, --differing and export write what their names say."""
    run("apply rows.jsonl --failed failed.csv.gz")
    run("verify rows.jsonl --differing differing.tsv")
    pathlib.Path("users.txt").write_text("amy\n")
    first, again = run("export users.txt -o out.csv.gz"), run("export users.txt -o out.csv.gz")
    replaced = run("export users.txt -o out.csv.gz --overwrite --json")

    assert gzip.decompress(pathlib.Path("failed.csv.gz").read_bytes()).startswith(b"from_acc")
    assert gzip.decompress(pathlib.Path("out.csv.gz").read_bytes()).count(b"\n") == 2
    assert (0, 2, 0) == (first.status, again.status, replaced.status)
    assert "or replace it with --overwrite" in again.err
    assert (1, 1) == (json.loads(replaced.out)["schema"], json.loads(replaced.out)["users"])


def test_pipe(run: Run) -> None:
    """An export into a pipe is written as it is read."""
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    run("apply rows.jsonl")
    pathlib.Path("users.txt").write_text("amy\n")
    status, _, _ = run("export users.txt -o pipe")
    written = os.read(reader, 1_000)
    os.close(reader)

    assert (0, True) == (status, written.startswith(b'{"from_account":"amy"'))


@pytest.mark.parametrize("option", ["--report", "--undo"])
def test_full_disk(option: str) -> None:
    """Without room the old file stays, its name is told, and the status is 3."""
    more = {"from_account": "amy", "custom_mark": "x"}
    write_lines("rows.jsonl", *({"to_account": f"peer_{n:04}", **more} for n in range(300)))
    old = pathlib.Path("out.jsonl")
    if option != "--undo":
        old.write_text("old")
    command = f"{sys.executable} -m chatmark apply rows.jsonl {option} out.jsonl"
    ended = subprocess.run(
        ["sh", "-c", f"ulimit -f 4; exec {command}"], capture_output=True, check=False
    )

    assert 3 == ended.returncode
    assert b"out.jsonl: File too large" in ended.stderr
    assert b"Traceback" not in ended.stderr
    assert option == "--undo" or "old" == old.read_text()


class TestPage:
    def test_page(self, run: Run) -> None:
        """A job writes a page with a plot, also if some changes failed."""
        status, _, _ = run("apply rows.jsonl -q --html out.html")
        text = pathlib.Path("out.html").read_text("utf-8")

        assert 1 == status
        assert text.startswith("<!DOCTYPE html>")
        assert "<svg" in text
        assert "not everything took effect" in text
        assert "zoe" in text

    def test_not_installed(
        self, emulator: EmulatorThread, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """Without Jinja2 nothing is sent, and the error says how to install it."""
        monkeypatch.setitem(sys.modules, "jinja2", None)
        status, _, err = run("apply rows.jsonl --html out.html")

        assert (2, True) == (status, "pip install 'chatmark[html]'" in err)
        assert not emulator.counts

    def test_no_picture(self, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        """A page that cannot be made does not affect the other results."""

        def broken(_: object) -> str:
            raise RuntimeError("no fonts")

        monkeypatch.setattr("chatmark.jobs.reports.page.chart", broken)
        status, out, err = run("apply rows.jsonl --html out.html --report report.json")

        assert 1 == status
        assert "the page of --html could not be made: no fonts" in err
        assert "1 took effect" in out
        assert pathlib.Path("report.json").exists()
        assert not pathlib.Path("out.html").exists()
