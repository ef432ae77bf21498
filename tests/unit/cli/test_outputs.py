import gzip
import json
import os
import pathlib
import subprocess
import sys

import pytest
from cli_run import Run, WithAnUnknownUser

from chatmark.emulator import EmulatorThread


@pytest.mark.usefixtures("emulator_environment")
class TestCommands(WithAnUnknownUser):
    @pytest.mark.parametrize("option", ["--failed", "--report", "--html"])
    def test_dash(self, option: str, run: Run) -> None:
        """With - an output is alone on standard output, and the summary on standard error."""
        status, out, err = run(["apply", "rows.jsonl", option, "-"])

        assert 1 == status
        assert "1 took effect" not in out
        assert "1 took effect" in err
        assert out.startswith({"--html": "<!DOCTYPE", "--report": "{"}.get(option, '{"from'))

    def test_suffixes(self, run: Run, chatmark_emulator: EmulatorThread) -> None:
        """--failed, --differing and export write what their names say."""
        run(["apply", "rows.jsonl", "--failed", "failed.csv.gz"])
        run(["verify", "rows.jsonl", "--differing", "differing.tsv"])
        pathlib.Path("users.txt").write_text("amy\n")
        first = run(["export", "users.txt", "-o", "out.csv.gz"])
        again = run(["export", "users.txt", "-o", "out.csv.gz"])
        replaced = run(["export", "users.txt", "-o", "out.csv.gz", "--overwrite", "--json"])

        assert gzip.decompress(pathlib.Path("failed.csv.gz").read_bytes()).startswith(b"from_acc")
        assert gzip.decompress(pathlib.Path("out.csv.gz").read_bytes()).count(b"\n") == 2
        assert (0, 2, 0) == (first.status, again.status, replaced.status)
        assert "or replace it with --overwrite" in again.err
        assert (1, 1) == (json.loads(replaced.out)["schema"], json.loads(replaced.out)["users"])

    def test_pipe(self, run: Run) -> None:
        """An export into a pipe is written as it is read."""
        os.mkfifo("pipe")
        reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
        run(["apply", "rows.jsonl"])
        pathlib.Path("users.txt").write_text("amy\n")
        status, _, _ = run(["export", "users.txt", "-o", "pipe"])
        written = os.read(reader, 1_000)
        os.close(reader)

        assert 0 == status
        assert written.startswith(b'{"from_account":"amy"')

    @pytest.mark.parametrize("option", ["--report", "--failed", "--undo", "--html"])
    def test_full_disk(self, option: str) -> None:
        """Without room the old file stays, its name is told, and the status is 3."""
        rows = pathlib.Path("rows.jsonl")
        row = '{{"from_account": "amy", "to_account": "{}", "custom_mark": "x"}}\n'
        rows.write_text("".join(row.format(f"peer_{n:04}") for n in range(300)))
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
