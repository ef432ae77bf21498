"""
Changes of a job that failed: the first are kept, all are written to a file.
"""

from typing import Any, Final, final

from chatmark.jobs.grouping.units import Unit
from chatmark.jobs.output_files import OutputFile
from chatmark.jobs.sources.row import failed_row
from chatmark.results import MarkResult

_MOST_KEPT: Final = 100


@final
class FailureLog:
    """
    Collects failures.

    Attributes:
        first: The first failures, each with its unit.
    """

    def __init__(self, file: OutputFile | None = None) -> None:
        self._file = file
        self.first: list[tuple[Unit, MarkResult]] = []

    def add(self, unit: Unit, result: MarkResult) -> None:
        """
        Note a failure.
        """
        if len(self.first) < _MOST_KEPT:
            self.first.append((unit, result))
        self.add_row(failed_row(result) | {"_line": unit.line, "_rows": unit.rows})

    def add_row(self, row: dict[str, Any]) -> None:
        """
        Write a row to the file; also used for notes on rows that could not be read.
        """
        if self._file is not None:
            self._file.write(row)
