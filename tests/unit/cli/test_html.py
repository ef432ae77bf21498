import pathlib
import sys

import pytest

from chatmark.__main__ import main
from chatmark.emulator import EmulatorOptions, EmulatorThread

pytestmark = pytest.mark.usefixtures("emulator_environment")


@pytest.fixture
def chatmark_emulator_options() -> EmulatorOptions:
    """
    Know some users.
    """
    return {"calls_per_second": None, "users": ["amy", "bob"]}


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    """
    Give a file of two changes, of which the server refuses one.
    """
    path = tmp_path / "marks.csv"
    path.write_text("from_account,to_account,set_mark\namy,bob,0\namy,nobody,0\n")
    return path


class TestHtml:
    def test_page(self, file: pathlib.Path) -> None:
        """
        A job leaves a page with a plot, whether or not everything took effect.
        """
        out = file.with_name("out.html")
        status = main(["apply", str(file), "-q", "--html", str(out)])
        text = out.read_text("utf-8")

        assert 1 == status
        assert text.startswith("<!DOCTYPE html>")
        assert "<svg" in text
        assert "not everything took effect" in text
        assert "nobody" in text

    def test_not_installed(
        self,
        file: pathlib.Path,
        chatmark_emulator: EmulatorThread,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        Without Jinja2 nothing is sent, and it is said how to get it.
        """
        monkeypatch.setitem(sys.modules, "jinja2", None)
        status = main(["apply", str(file), "--html", str(file.with_name("out.html"))])

        assert 2 == status
        assert "pip install 'chatmark[html]'" in capsys.readouterr().err
        assert not chatmark_emulator.counts

    def test_no_picture(
        self,
        file: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        A page that cannot be made takes nothing else with it.
        """

        def broken(_: object) -> str:
            raise RuntimeError("no fonts")

        monkeypatch.setattr("chatmark.jobs.reports.page.chart", broken)
        out, report = file.with_name("out.html"), file.with_name("report.json")
        status = main(["apply", str(file), "--html", str(out), "--report", str(report)])
        captured = capsys.readouterr()

        assert 1 == status
        assert "the page could not be made: no fonts" in captured.err
        assert "1 took effect" in captured.out
        assert report.exists()
        assert not out.exists()
