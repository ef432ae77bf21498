"""
The report of a job, as JSON.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from chatmark.codes import code_of
from chatmark.jobs.readback import ReadBack
from chatmark.jobs.rows import row_of
from chatmark.models import MarkReport, MarkResult


@attrs.frozen(kw_only=True)
class JobReport:
    """
    What became of a file.

    Args:
        file: Its name.
        rows: Rows read.
        changes: Changes in them.
        marks: What became of the changes.
        failures: The first failures.
        retries_by_reason: Why changes were sent again, and how often.
        interrupted: Whether the job was stopped before its end.
        bad_row: The row that ended it, if one did.
        read_back: What reading back found, if that was asked for.
    """

    file: str
    rows: int
    changes: int
    marks: MarkReport
    failures: Sequence[MarkResult] = ()
    retries_by_reason: Mapping[str, int] = attrs.field(factory=dict[str, int])
    interrupted: bool = False
    bad_row: str | None = None
    read_back: ReadBack | None = None

    @property
    def complete(self) -> bool:
        """
        Whether every row was sent, whatever became of it.
        """
        return not (self.marks.withdrawn or self.bad_row or self.interrupted)

    @property
    def ok(self) -> bool:
        """
        Whether everything in the file took effect.
        """
        marks = self.marks
        differs = self.read_back is not None and not self.read_back.ok
        return not (marks.failed or marks.withdrawn or differs or self.bad_row or self.interrupted)

    def document(self) -> dict[str, Any]:
        """
        Return the report for `json.dumps`; the keys are always the same, in the same order.
        """
        marks = self.marks
        return {
            "file": self.file,
            "ok": self.ok,
            "interrupted": self.interrupted,
            "bad_row": self.bad_row,
            "rows": self.rows,
            "changes": self.changes,
            "succeeded": marks.succeeded,
            "failed": marks.failed,
            "withdrawn": marks.withdrawn,
            "calls": marks.calls,
            "retries": marks.retries,
            "retries_by_reason": dict(by_count(self.retries_by_reason)),
            "elapsed_seconds": round(marks.elapsed, 3),
            "failures_by_code": [
                _code_row(code, count) for code, count in by_count(marks.failures_by_code)
            ],
            "failures": [_failure_row(result) for result in self.failures],
            "read_back": None if self.read_back is None else self.read_back.document(),
        }


def by_count(counts: Mapping[Any, int]) -> list[tuple[Any, int]]:
    """
    Return the items of *counts*, the most frequent first.
    """
    return sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))


def meaning_of(code: int | None) -> str:
    """
    Return the code of a failure in words.
    """
    return "the server gave no code" if code is None else code_of(code).meaning


def _code_row(code: int | None, count: int) -> dict[str, Any]:
    return {
        "code": code,
        "count": count,
        "meaning": meaning_of(code),
        "advice": None if code is None else code_of(code).advice,
    }


def _failure_row(result: MarkResult) -> dict[str, Any]:
    return row_of(result.change) | {
        "code": result.code,
        "info": result.info,
        "attempts": result.attempts,
        "error": str(result.error),
    }
