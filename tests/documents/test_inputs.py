import gzip
import pathlib
import re

import pytest
from paths import ROOT

from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.row import FIELDS, Row
from chatmark.marks import MarkNames

PAGE = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))


class TestPage:
    @pytest.mark.parametrize(("language", "ending"), [("json", "jsonl"), ("csv", "csv")])
    def test_rows(self, tmp_path: pathlib.Path, language: str, ending: str) -> None:
        """The rows that the page shows are rows."""
        path = tmp_path / f"f.{ending}"
        path.write_text(BLOCKS[language], encoding="utf-8")
        rows = list(ChangeFile.of(str(path)).rows())

        assert len(rows) >= 2
        assert all(isinstance(row, Row) for row in rows)

    def test_set_aside(self, tmp_path: pathlib.Path) -> None:
        """The notes that the page shows are refused with what it says."""
        path = tmp_path / "f.jsonl"
        path.write_text(BLOCKS["text"], encoding="utf-8")
        [row] = ChangeFile.of(str(path)).rows()

        assert "was set aside before: marks.csv:17: set_mark: a bit is a number" in str(row)

    def test_names(self) -> None:
        """The file of names is one."""
        assert MarkNames(vip=32, escalated=33) == MarkNames.from_toml(BLOCKS["toml"])

    def test_program(
        self,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The program runs as it stands there."""
        monkeypatch.chdir(tmp_path)
        rows = b"from_account,peer_id,set_mark\na,b,vip\na,c,64\n"
        pathlib.Path("marks.csv.gz").write_bytes(gzip.compress(rows))
        exec(compile(BLOCKS["python"], "inputs.md", "exec"), {})

        assert capsys.readouterr().out.startswith("2 1 ['marks.csv.gz:3: set_mark: ")

    def test_all_fields(self) -> None:
        """Each field and note is on the page."""
        assert [] == [field for field in FIELDS if f"`{field}`" not in PAGE]
