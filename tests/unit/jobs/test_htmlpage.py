import datetime as dt
import html
import html.parser
import json
import pathlib
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from typing import Any

import attrs
import pytest

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.errors import InputError
from chatmark.failures import ApplicationRefusedError, ItemRefusedError
from chatmark.jobs.grouping import Unit
from chatmark.jobs.journal import Run
from chatmark.jobs.reports.page import chart, load_template, page
from chatmark.jobs.reports.progress import Counters, Timeline
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.sending.accounts import Accounts
from chatmark.jobs.server import Difference, ReadBack
from chatmark.marks import ConversationMark, MarkNames
from chatmark.results import MarkedConversation, MarkResult

EVIL = "</td><script>alert('&')</script>"
NOON = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)
VOID = {"meta", "input"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# Chooses each code, and puts what is seen into the title.
LOOK = """
<script>
const seen = () => [...document.querySelectorAll("tr[data-code]")]
  .filter(row => row.getClientRects().length).map(row => row.dataset.code).join();
const choices = [...document.querySelectorAll("input[name=code]")];
const found = choices.map(each => { each.click(); return seen(); });
const style = getComputedStyle(document.body);
const wide = document.documentElement.scrollWidth > innerWidth;
document.title = JSON.stringify([found, style.backgroundColor, style.color, wide]);
</script>
"""


def counters(applied: int, failed: int = 0, calls: int = 0, retries: int = 0) -> Counters:
    """Return the counters of a job at one moment."""
    reasons, codes = Counter({"502": retries}), Counter[int | None]({50001: failed})
    return Counters(applied + failed, calls, reasons, codes)


def timeline_of(seconds: int) -> Timeline:
    """Return the timeline of a job that applied ten changes a second."""
    timeline = Timeline()
    for second in range(1, seconds + 1):
        timeline.add(float(second), counters(10 * second, second // 5, second, second // 3))
    return timeline


def report_of(seconds: int = 20, **values: Any) -> JobReport:
    """Return the report of a job in which everything took effect, unless told otherwise."""
    fine = Accounts(total=200, taken=200, applied=200)
    made = JobReport(
        file="marks.jsonl",
        rows=200,
        accounts=fine,
        conversations=190,
        run=Run(20, 200, 0, float(seconds)),
        started_at=NOON,
        timeline=timeline_of(seconds),
    )
    return attrs.evolve(made, **values)


def sad_report() -> JobReport:
    """Return the report of a job in which much went wrong, in an enemy's words."""
    change = MarkChange("amy<b>", Conversation.group("<g>"), ConversationMark.extension(40))
    refused = MarkResult(change, 50001, EVIL, 2, ItemRefusedError(50001, EVIL))
    hidden = MarkChange("eve", Conversation.group("<g>"), ConversationMark.HIDDEN)
    differing = [
        Difference(attrs.evolve(change, custom_mark=EVIL), MarkedConversation(change.conversation)),
        Difference(hidden, MarkedConversation(hidden.conversation)),
    ]
    return report_of(
        file=EVIL,
        accounts=Accounts(
            total=200, set_aside=3, taken=190, applied=100, refused=Counter({50001: 80, None: 10})
        ),
        failures=[(Unit(0, change, 1, 1_234), refused)],
        retries_by_reason={EVIL: 3},
        pauses=2,
        paused=3.5,
        stopped=ApplicationRefusedError(60006, EVIL),
        earlier_runs=[Run(7, 8, 9, 10.0)],
        read_back=ReadBack(9, 2, 1, 0, differing),
    )


class Reader(html.parser.HTMLParser):
    """Reads a page: what is open is closed, in order, and every text is kept."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert [] == self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that is open."""
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.names[tag] += 1
        self.attributes.extend((tag, name, value or "") for name, value in attrs)

    def handle_endtag(self, tag: str) -> None:
        """Check that this is what was open."""
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.texts.append(data)


def failures(*codes: int | None) -> list[tuple[Unit, MarkResult]]:
    """Return a failure for each code."""
    change = MarkChange("amy", Conversation.one_to_one("bob"), ConversationMark.FAVORITE)
    return [
        (Unit(n, change, 1, n + 1), MarkResult(change, code, "no")) for n, code in enumerate(codes)
    ]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize(
    ("scheme", "paper"), [("1", "rgb(255, 255, 255)"), ("0", "rgb(20, 24, 30)")]
)
@pytest.mark.parametrize("width", [420, 1280])
def test_chromium(scheme: str, paper: str, width: int, tmp_path: pathlib.Path) -> None:
    """A chosen code hides the rows of the others; the page suits dark and narrow screens."""
    made = report_of(
        accounts=Accounts(total=5, taken=5, refused=Counter({50001: 2, 51008: 1}), unconfirmed=1),
        failures=failures(50001, 51008, 50001, None),
    )
    path = tmp_path / "page.html"
    # The page itself allows no script.
    path.write_text(page(made).replace("default-src 'none'; ", "") + LOOK, "utf-8")
    ended = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            f"--blink-settings=preferredColorScheme={scheme}",
            *(f"--window-size={width},900", f"--user-data-dir={tmp_path}", path.as_uri()),
        ],
        capture_output=True,
        check=True,
        timeout=120,
    )
    found = re.search(r"<title>(.*?)</title>", ended.stdout.decode(), re.DOTALL)
    assert found is not None
    seen, background, ink, is_wide = json.loads(html.unescape(found[1]))

    assert ["50001,51008,50001,unconfirmed", "50001,50001", "51008", "unconfirmed"] == seen
    assert (paper, False) == (background, is_wide)
    assert ink != background


class TestPage:
    @pytest.mark.parametrize("report", [report_of(), report_of(2), report_of(0), sad_report()])
    def test_whole(self, report: JobReport) -> None:
        """The page is well-formed, has names for all its parts, and loads nothing."""
        text = page(report)
        reader = Reader(text)
        ids = {value for _, name, value in reader.attributes if name == "id"}
        labels = [value for _, name, value in reader.attributes if name == "aria-labelledby"]

        assert not {"script", "img", "link", "iframe", "object", "image"} & set(reader.names)
        assert not {"src", "href", "xlink:href", "data"} & {
            name for _, name, _ in reader.attributes
        }
        assert [] == re.findall(r"@import|url\(", text)
        assert {("html", "lang", "en"), ("svg", "role", "img")} <= set(reader.attributes)
        assert {each for label in labels for each in label.split()} <= ids
        assert reader.names["table"] == reader.names["caption"] >= 3
        assert any("changes applied, " in text for text in reader.texts)

    def test_says(self) -> None:
        """
        It says where every change ended, what was refused and why, and what differs; all is text.
        """
        page_text = page(sad_report(), names=MarkNames(vip=40))
        texts = Reader(page_text).texts
        text = "\n".join(texts)

        assert {"applied", "refused", "set aside", "not sent", "50001", "80", "1,234"} <= set(texts)
        assert "the server refuses this application: 60006" in text
        assert "the user account is not imported" in text
        assert "Import the account, then send again." in text
        assert {"vip", "hidden", "run 1", "amy<b>", "group_<g>"} <= set(texts)
        assert "slow down 2 times, 4 s in all" in text
        assert "alert" in text
        assert "<script" not in page_text

    def test_several_limits(self) -> None:
        """Where reading and sending have a limit each, the rate of both stands beside neither."""
        one, two = (Reader(page(report_of(several_limits=each))).texts for each in (False, True))

        assert {"calls a second", "1.0"} == set(one) - set(two)
        assert ["calls a second, reading and sending, which have a limit each"] == (
            [text for text in two if text not in one]
        )

    def test_by_hour(self) -> None:
        """A long job is told by hour."""
        assert "By hour" not in page(report_of(3_500))
        assert "By hour" in page(report_of(9_000))

    def test_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without Jinja2 the error says at once how to get it."""
        monkeypatch.setitem(sys.modules, "jinja2", None)
        with pytest.raises(InputError, match=r"pip install 'chatmark\[html\]'"):
            load_template()


class TestChart:
    @pytest.mark.parametrize("seconds", [0, 1, 61, 4_000, 90_000])
    def test_svg(self, seconds: int) -> None:
        """The picture is XML; its colours are names of the page, and no coordinate leaves it."""
        timeline = Timeline() if not seconds else timeline_of(min(seconds, 5_000))
        if seconds:
            timeline.add(seconds + 0.25, counters(60_000, 20_000, 6_000, 30_000))
        text = page(report_of(timeline=timeline))
        svg = ET.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
        paths = svg.findall("path")
        drawn = chart(timeline)

        assert ["applied", "calls", "failed", "retries"][: len(paths)] == [
            path.attrib["fill"].removeprefix("var(--").removesuffix(")") for path in paths
        ]
        assert bool(seconds) == bool(paths)
        assert all(
            0 <= y <= drawn["height"] for curve in drawn["curves"] for y, _ in curve["scale"]
        )
        assert all(drawn["left"] <= x <= drawn["width"] for x, _ in drawn["times"])
        assert 1 <= len(drawn["times"]) <= 10

    def test_path(self) -> None:
        """A curve has a step for each span, as high as its rate; a short rest makes no peak."""
        timeline = Timeline()
        timeline.add(1.0, counters(40))
        timeline.add(2.0, counters(60))
        path = "M70 184V34.0H450.0V109.0H830.0V184Z"

        assert path == chart(timeline)["curves"][0]["path"]

        timeline.add(2.001, counters(61))

        assert (
            path.replace("109.0", "105.3").replace("450.0", "449.8")
            == (chart(timeline)["curves"][0]["path"])
        )

    @pytest.mark.parametrize(
        ("applied", "labels"),
        [
            (0, ["0", "0.25", "0.5", "0.75", "1"]),
            (7, ["0", "2", "4", "6", "8"]),
            (999, ["0", "250", "500", "750", "1,000"]),
            (25_000, ["0", "10,000", "20,000", "30,000"]),
        ],
    )
    def test_scale(self, applied: int, labels: list[str]) -> None:
        """A scale counts in round numbers, and holds the highest rate."""
        timeline = Timeline()
        timeline.add(1.0, counters(applied))

        assert labels == [label for _, label in chart(timeline)["curves"][0]["scale"]]
