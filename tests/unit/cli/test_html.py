import pathlib
import sys

import pytest
from cli_run import Run

from chatmark.__main__ import main
from chatmark.emulator import EmulatorOptions, EmulatorThread

pytestmark = pytest.mark.usefixtures("emulator_environment")


@pytest.fixture
def chatmark_emulator_options() -> EmulatorOptions:
    """Import some users."""
    return {"calls_per_second": None, "users": ["amy", "bob"]}


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a file of two changes; the server refuses one of them."""
    path = tmp_path / "marks.csv"
    path.write_text("from_account,to_account,set_mark\namy,bob,0\namy,nobody,0\n")
    return path


class TestHtml:
    def test_page(self, file: pathlib.Path) -> None:
        """A job writes a page with a plot, also if some changes failed."""
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
        run: Run,
    ) -> None:
        """Without Jinja2 nothing is sent, and the error says how to install it."""
        monkeypatch.setitem(sys.modules, "jinja2", None)
        status, _, err = run(["apply", str(file), "--html", str(file.with_name("out.html"))])

        assert 2 == status
        assert "pip install 'chatmark[html]'" in err
        assert not chatmark_emulator.counts

    def test_no_picture(
        self, file: pathlib.Path, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """A page that cannot be made does not affect the other results."""

        def broken(_: object) -> str:
            raise RuntimeError("no fonts")

        monkeypatch.setattr("chatmark.jobs.reports.page.chart", broken)
        html, report = file.with_name("out.html"), file.with_name("report.json")
        status, out, err = run(["apply", str(file), "--html", str(html), "--report", str(report)])

        assert 1 == status
        assert "the page of --html could not be made: no fonts" in err
        assert "1 took effect" in out
        assert report.exists()
        assert not html.exists()
