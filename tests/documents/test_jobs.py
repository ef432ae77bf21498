import gzip
import pathlib
import re
import shlex

import pytest
from paths import ROOT

from chatmark import jobs
from chatmark.__main__ import main
from chatmark.emulator import EmulatorThread

GUIDE = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
COMMANDS = [
    line
    for block in re.findall(r"^```shell\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]
ROW = b'{"from_account": "amy", "to_account": "bob", "set_mark": ["favorite"]}\n'


@pytest.fixture(autouse=True)
def place(
    tmp_path: pathlib.Path, chatmark_emulator: EmulatorThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have the guide's files at hand, and the emulator for a server."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "marks.jsonl.gz").write_bytes(gzip.compress(ROW))
    (tmp_path / "users.txt").write_text("amy\nbob\n")
    for name, value in chatmark_emulator.credentials_environment().items():
        monkeypatch.setenv(name, value)


class TestGuide:
    def test_commands_run(
        self, chatmark_emulator: EmulatorThread, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The commands of the guide run one after another as they stand there, but for the host."""
        statuses = [
            main(shlex.split(line.replace(" --region singapore", ""))[1:]) for line in COMMANDS
        ]

        assert [0] * 6 == statuses, capsys.readouterr().err
        assert {
            ("amy", 1, "bob"): (1, ""),
            ("user_0001", 1, "user_0002"): (1, ""),
            ("amy", 1, "support"): (1 | 1 << 33, "vip"),
            ("bob", 1, "support"): (1 | 1 << 33, "vip"),
        } == chatmark_emulator.state.snapshot()
        made = {path.name for path in pathlib.Path().iterdir()}
        assert {"night.json", "night.html", "again.jsonl", "undo.jsonl", "marks.parquet"} <= made

    def test_program_runs(
        self, chatmark_emulator: EmulatorThread, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """So does its program."""
        (program,) = PROGRAMS
        url = f"base_url={chatmark_emulator.url!r}"
        exec(compile(program.replace("region=Region.SINGAPORE", url), "jobs.md", "exec"), {})

        assert {("amy", 1, "bob"): (1, "")} == chatmark_emulator.state.snapshot()
        assert "'applied': 1" in capsys.readouterr().out

    def test_names_exist(self) -> None:
        """Every name of `chatmark.jobs` that the guide tells of is there."""
        table = GUIDE[GUIDE.index("| for | in") :].partition("\n")[2]

        for name in re.findall(r"`(\w+)`", table):
            assert name in jobs.__all__
            assert getattr(jobs, name)
