"""
The report of a job as one page that needs nothing else: no script, no font, no picture from afar.

Whatever a file or a server says is escaped.
"""

import html
import string
from typing import Final

from chatmark.jobs import htmlparts
from chatmark.jobs.meter import duration
from chatmark.jobs.report import JobReport
from chatmark.jobs.timeline import Timeline
from chatmark.names import MarkNames

_PAGE: Final = string.Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<header>
<h1>$name</h1>
<p class="verdict $mood">$verdict</p>
<p>$when</p>
</header>
$body
</main>
</body>
</html>
""")
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2530; --faint: #d9dee5; --paper: #fff; --soft: #f4f6f9;
  --muted: #5a6675; --applied: #1a7f4b; --calls: #2563b0; --failed: #c0281c; --retried: #a96a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --faint: #3a4350; --paper: #14181e;
  --soft: #1d232b; --muted: #a3afbd; --applied: #4cc38a; --calls: #6ea8f0; --failed: #ff7b6e;
  --retried: #e3a64b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
header p { margin: .2rem 0; color: var(--muted); }
.verdict { display: inline-block; padding: .15rem .7rem; border-radius: 1rem; font-weight: 600;
  border: 1.5px solid currentColor; }
header .good { color: var(--applied); }
header .bad { color: var(--failed); }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .7rem;
  margin: 1.4rem 0 0; }
.figures div { background: var(--soft); border-radius: .5rem; padding: .7rem .9rem; }
.figures dt { color: var(--muted); font-size: .85rem; }
.figures dd { margin: 0; font-size: 1.3rem; font-weight: 600;
  overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.figures .good dd { color: var(--applied); }
.figures .bad dd { color: var(--failed); }
figure { margin: 0; }
figure svg { width: 100%; min-width: 36rem; height: auto; }
figcaption { color: var(--muted); font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
caption { text-align: left; color: var(--muted); font-size: .9rem; padding-bottom: .4rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .9rem .4rem 0;
  border-bottom: 1px solid var(--faint); overflow-wrap: break-word; max-width: 26rem; }
thead th { color: var(--muted); font-weight: 600; white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
@media print { main { max-width: none; padding: 0; }
  .figures div { border: 1px solid var(--faint); } }
"""


def page(
    report: JobReport, timeline: Timeline | None = None, names: MarkNames | None = None
) -> str:
    """
    Return the page.

    Args:
        report: What became of the job.
        timeline: How it went; the report's own by default.
        names: A team's own names for its extension bits.

    Raises:
        InputError: Matplotlib is not installed; see `plot.require_matplotlib`.
    """
    names = MarkNames() if names is None else names
    timeline = report.timeline if timeline is None else timeline
    mood, verdict = _verdict(report)
    sections = (
        htmlparts.figures(report),
        htmlparts.course(timeline),
        htmlparts.accounts(report),
        htmlparts.refusals(report),
        htmlparts.failures(report),
        htmlparts.read_back(report.read_back, names),
        htmlparts.hours(report, timeline),
        htmlparts.runs(report),
    )
    return _PAGE.substitute(
        title=html.escape(f"{report.file}: {verdict}"),
        name=html.escape(report.file),
        mood=mood,
        verdict=html.escape(verdict),
        when=_when(report),
        style=_STYLE,
        body="\n".join(filter(None, sections)),
    )


def _verdict(report: JobReport) -> tuple[str, str]:
    if report.ok:
        return "good", "everything took effect"
    if report.stopped is not None:
        return "bad", f"stopped: {report.stopped}"
    if report.bad_row is not None:
        return "bad", f"ended by a bad row: {report.bad_row}"
    if report.interrupted:
        return "bad", "interrupted before its end"
    if report.read_back is not None and report.accounts.ok:
        return "bad", "the server has something else now"
    return "bad", "not everything took effect"


def _when(report: JobReport) -> str:
    start = report.started_at
    return (
        f'Begun <time datetime="{start.isoformat(timespec="seconds")}">'
        f"{start:%Y-%m-%d %H:%M:%S} UTC</time>, took {duration(report.run.seconds)}"
    )
