"""
The report of a job as one HTML page that loads nothing. Needs the extra `html`.

The template has the texts and the tables, and escapes what a file or a server says. Here are the
curves over time, as coordinates of an SVG picture.
"""

import importlib.resources
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from chatmark import InputError, MarkNames, __version__
from chatmark.jobs.counting import agree, by_count, counted, duration, listed, precise
from chatmark.jobs.reports.progress import Span, Timeline
from chatmark.jobs.reports.report import JobReport, advice_of, meaning_of
from chatmark.jobs.sending.accounts import subject_of

if TYPE_CHECKING:
    import jinja2

# The counters that are drawn, and the height of each curve in pixels.
_CURVES: Final = (
    ("applied", "changes applied a second", 150),
    ("calls", "calls a second", 80),
    ("failed", "changes failed a second", 80),
    ("retries", "changes sent again a second", 80),
)
_WIDTH: Final = 860
_LEFT: Final = 70
_RIGHT: Final = 30
_GAP: Final = 34
_FOOT: Final = 48
_MINUTE: Final = 60
_HOUR: Final = 3600
_MOST_TICKS: Final = 8
# Round distances between ticks of time, in seconds.
_STEPS: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 6, 12, 24, 48, 96, 192)),
)


def load_template() -> "jinja2.Template":
    """Return the template; a job calls it before it sends anything."""
    try:
        import jinja2  # noqa: PLC0415 - an extra.
    except ImportError:
        raise InputError("html", "the page needs Jinja2: pip install 'chatmark[html]'") from None
    template = importlib.resources.files("chatmark.jobs.reports") / "page.html.jinja"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    words = (advice_of, agree, by_count, counted, duration, listed, meaning_of, precise, repr)
    known = {word.__name__: word for word in (*words, subject_of)}
    return environment.from_string(template.read_text("utf-8"), globals=known)


def page(
    report: JobReport, timeline: Timeline | None = None, names: MarkNames | None = None
) -> str:
    """
    Return the page.

    Args:
        report: The report of the job.
        timeline: How it went; the report's own by default.
        names: A team's own names for its extension bits.

    Raises:
        InputError: Jinja2 is not installed.
    """
    timeline = report.timeline if timeline is None else timeline
    return load_template().render(
        report=report,
        timeline=timeline,
        chart=chart(timeline),
        labels=(MarkNames() if names is None else names).labels,
        codes=by_count(Counter(result.code for _, result in report.failures)),
        version=__version__,
    )


def chart(timeline: Timeline) -> dict[str, Any]:
    """Return the curves, each with a scale of y coordinates and texts, and the ticks of time."""
    spans = _without_sliver(timeline.spans())
    end = max(timeline.latest[0], 1e-3)
    x_of_second = (_WIDTH - _LEFT - _RIGHT) / end
    curves: list[dict[str, Any]] = []
    top = _GAP
    for name, label, height in _CURVES:
        scale, path = _curve(name, top + height, height, spans, x_of_second)
        curves.append({"name": name, "label": label, "top": top, "scale": scale, "path": path})
        top += height + _GAP
    step = next((each for each in _STEPS if end / each <= _MOST_TICKS), _STEPS[-1])
    ticks = range(0, int(end) + 1, step)
    times = [(round(_LEFT + tick * x_of_second, 1), duration(tick)) for tick in ticks]
    height = top - _GAP + _FOOT
    return {"curves": curves, "times": times, "height": height, "width": _WIDTH, "left": _LEFT}


def _without_sliver(spans: list[Span]) -> list[Span]:
    """Join a short last span with the one before: the rate of a moment would be an outlier."""
    if len(spans) > 1:
        before, last = spans[-2:]
        if last.end - last.start < (before.end - before.start) / 2:
            return [*spans[:-2], Span(before.start, last.end, before.counts + last.counts)]
    return spans


def _curve(
    name: str, bottom: int, height: int, spans: Sequence[Span], x_of_second: float
) -> tuple[list[tuple[float, str]], str]:
    """Return the scale and the path of a counter over time."""
    rates = [getattr(span.counts, name) / max(span.end - span.start, 1e-9) for span in spans]
    step, most = _scale(max(rates, default=0.0))

    def y_of(rate: float) -> float:
        return round(bottom - height * rate / most, 1)

    values = [step * number for number in range(round(most / step) + 1)]
    steps = "".join(
        f"V{y_of(rate)}H{round(_LEFT + span.end * x_of_second, 1)}"
        for span, rate in zip(spans, rates, strict=True)
    )
    path = f"M{_LEFT} {bottom}{steps}V{bottom}Z" if spans else ""
    return [(y_of(value), f"{value:,.5g}") for value in values], path


def _scale(most: float) -> tuple[float, float]:
    """Return the step and the end of a scale of two to four steps that holds a value."""
    most = max(most, 1.0)
    size = 10.0 ** math.floor(math.log10(most / 4))
    step = next(size * each for each in (1, 2, 2.5, 5, 10) if size * each * 4 >= most)
    return step, step * math.ceil(most / step)
