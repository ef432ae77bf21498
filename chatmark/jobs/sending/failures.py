"""Changes of a job that failed: the first are kept, all are written to a file."""

from collections import Counter
from typing import Any, Final, Self, final

from chatmark import MarkResult, RefusedError
from chatmark.jobs.grouping.units import Unit
from chatmark.jobs.row_files import FAILURES, RowFile
from chatmark.jobs.sources.row import failed_row

# Failures are kept for the report: some of each code, and one of a code however many there are.
_MOST_KEPT: Final = 300
_MOST_OF_CODE: Final = 100
# These codes are about an account: the user whose mark it is, or the other side.
_OF_ACCOUNTS: Final = frozenset((50001, 70107, 90008, 90048))


def subject_of(result: MarkResult) -> str:
    """Return the account that a refusal is about: "user", "peer", or "" if it is not known."""
    error = result.error
    if result.code not in _OF_ACCOUNTS or not isinstance(error, RefusedError):
        return ""
    return {True: "peer", False: "user", None: ""}[error.names_peer]


@final
class FailureLog:
    """
    Collects failures.

    Attributes:
        first: The first of each code, each with its unit.
        subjects: How many changes failed by code and subject, where that is known.
    """

    def __init__(self, path: str | None = None) -> None:
        self._file = None if path is None else RowFile(path, FAILURES)
        self.first: list[tuple[Unit, MarkResult]] = []
        self.subjects: Counter[tuple[int | None, str]] = Counter()
        self._kept: Counter[int | None] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *rest: object) -> None:
        if self._file is not None:
            self._file.__exit__(exc_type, *rest)

    def add(self, unit: Unit, result: MarkResult) -> None:
        """Add a failure."""
        subject = subject_of(result)
        if subject:
            self.subjects[result.code, subject] += unit.rows
        self.keep(unit, result)
        self.add_row(failed_row(result) | {"_line": unit.line, "_rows": unit.rows})

    def keep(self, unit: Unit, result: MarkResult) -> None:
        """Keep a failure for the report, unless there are enough."""
        if self._kept[result.code] < (_MOST_OF_CODE if len(self.first) < _MOST_KEPT else 1):
            self._kept[result.code] += 1
            self.first.append((unit, result))

    def add_row(self, row: dict[str, Any]) -> None:
        """Write a row to the file, such as the notes on a row that cannot be read."""
        if self._file is not None:
            self._file.write(row)

    def close(self) -> None:
        """Give the file its name."""
        self.__exit__(None)
