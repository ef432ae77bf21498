"""
How a job went over time, as a picture in SVG. Needs the extra `html`.

Colours are names of CSS, for the page that holds the picture to say what they are, in light and in
dark. Text stays text.
"""

import io
import re
from collections.abc import Sequence
from typing import Any, Final

from chatmark.errors import InputError
from chatmark.jobs.timeline import Counts, Span, Timeline

# Matplotlib takes colours only; these stand for names, and for nothing else in the picture.
_INK: Final = "#010101"
_FAINT: Final = "#020202"
_APPLIED: Final = "#030303"
_CALLS: Final = "#040404"
_FAILED: Final = "#050505"
_RETRIED: Final = "#060606"
_NAMES: Final = {
    _INK: "var(--ink)",
    _FAINT: "var(--faint)",
    _APPLIED: "var(--applied)",
    _CALLS: "var(--calls)",
    _FAILED: "var(--failed)",
    _RETRIED: "var(--retried)",
}
_CURVES: Final = (
    ("changes applied a second", "applied", _APPLIED),
    ("calls a second", "calls", _CALLS),
    ("changes failed a second", "failed", _FAILED),
    ("changes sent again a second", "retries", _RETRIED),
)
_SIZE: Final = (9.0, 7.0)
_MINUTE: Final = 60
_HOUR: Final = 3600
_MOST_TICKS: Final = 8
# The longest steps between ticks last: seconds that people count in.
_STEPS: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 6, 12, 24, 48, 96, 192)),
)


def require_matplotlib() -> tuple[Any, Any]:
    """
    Return matplotlib and its figures; called before a job, it fails before there is much to lose.

    Raises:
        InputError: It is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra.
        from matplotlib import figure  # noqa: PLC0415
    except ImportError:
        raise InputError(
            "html", "the page's plot needs matplotlib: pip install 'chatmark[html]'"
        ) from None
    return mpl, figure


def plot(timeline: Timeline) -> str:
    """
    Return changes, calls, failures and retries a second as an element `svg`.

    Raises:
        InputError: Matplotlib is not installed.
    """
    mpl, figures = require_matplotlib()
    spans = _whole(timeline.spans())
    # The same picture for the same job: no date, and no ids by chance.
    settings = {"svg.fonttype": "none", "svg.hashsalt": "chatmark"}
    with mpl.rc_context(settings | {"font.family": "sans-serif", "font.size": 10}):
        figure = figures.Figure(figsize=_SIZE, layout="constrained")
        rows = figure.subplots(len(_CURVES), 1, sharex=True, height_ratios=[2, 1, 1, 1])
        for axes, (label, name, colour) in zip(rows, _CURVES, strict=True):
            _draw(axes, spans, name, colour)
            axes.set_title(label, loc="left", color=_INK, fontsize="medium")
        _label_time(rows[-1], spans[-1].end if spans else 0.0)
        data = io.BytesIO()
        figure.savefig(data, format="svg", transparent=True, metadata={"Date": None})
    return _inline(data.getvalue().decode(), _described(spans))


def _whole(spans: Sequence[Span]) -> list[Span]:
    """
    Return spans of which the last is no sliver: a moment's rate would stand out for nothing.
    """
    found = list(spans)
    if len(found) > 1 and found[-1].end - found[-1].start < (found[-2].end - found[-2].start) / 2:
        last, before = found.pop(), found.pop()
        found.append(Span(before.start, last.end, _plus(before.counts, last.counts)))
    return found


def _plus(first: Counts, second: Counts) -> Counts:
    return Counts(
        first.applied + second.applied,
        first.failed + second.failed,
        first.calls + second.calls,
        first.retries + second.retries,
    )


def _draw(axes: Any, spans: Sequence[Span], name: str, colour: str) -> None:
    edges = [span.start for span in spans] + [span.end for span in spans[-1:]]
    rates = [getattr(span.counts, name) / max(span.end - span.start, 1e-9) for span in spans]
    if rates:
        axes.stairs(rates, edges, color=colour, fill=True, alpha=0.25)
        axes.stairs(rates, edges, color=colour, linewidth=1.6, baseline=None)
    axes.set_ylim(bottom=0)
    if axes.get_ylim()[1] <= 1:
        axes.set_ylim(top=1)
    axes.yaxis.set_major_formatter("{x:,.5g}")
    axes.yaxis.get_major_locator().set_params(nbins=4)
    axes.tick_params(colors=_INK, length=0, pad=6)
    axes.grid(axis="y", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_FAINT)


def _label_time(axes: Any, end: float) -> None:
    step = next((each for each in _STEPS if end / each <= _MOST_TICKS), _STEPS[-1])
    ticks = [number * step for number in range(int(end / step) + 1)]
    axes.set_xlim(0, max(end, 1e-3))
    axes.set_xticks(ticks, [_time_label(tick) for tick in ticks])
    axes.set_xlabel("since the start of this run", color=_INK)


def _time_label(seconds: int) -> str:
    if seconds < _MINUTE:
        return f"{seconds} s"
    size, unit, part = (_HOUR, "h", _MINUTE) if seconds >= _HOUR else (_MINUTE, "min", 1)
    rest = seconds % size // part
    return f"{seconds // size}{f':{rest:02}' if rest else ''} {unit}"


def _described(spans: Sequence[Span]) -> str:
    """
    Return in words what the picture shows, for those who do not see it.
    """
    seconds = spans[-1].end if spans else 0.0
    applied = sum(span.counts.applied for span in spans)
    failed = sum(span.counts.failed for span in spans)
    calls = sum(span.counts.calls for span in spans)
    retries = sum(span.counts.retries for span in spans)
    text = (
        f"Four curves over {seconds:,.0f} seconds: changes applied, {applied:,} in all; calls, "
        f"{calls:,} in all; changes failed, {failed:,} in all; changes sent again, {retries:,} in "
        "all."
    )
    title = "Throughput and failures over time"
    return f'<title id="plot-title">{title}</title><desc id="plot-text">{text}</desc>'


def _inline(svg: str, text: str) -> str:
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # The page says how wide it is.
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    label = 'role="img" aria-labelledby="plot-title plot-text" focusable="false"'
    svg = svg.replace("<svg", f"<svg {label}", 1)
    opening = svg.index(">") + 1
    svg = f"{svg[:opening]}\n{text}{svg[opening:]}"
    for colour, name in _NAMES.items():
        svg = svg.replace(colour, name)
    return svg
