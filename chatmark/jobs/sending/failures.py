"""
What is kept of the changes of a job that did not take effect.
"""

from typing import Any, Final, final

from chatmark.jobs.grouping.spool import Unit
from chatmark.jobs.output_files import OutputFile
from chatmark.jobs.sources.rows import failed_row
from chatmark.models import MarkResult

_MOST_KEPT: Final = 100


@final
class Outcome:
    """
    Keeps what a person wants to know of the changes that failed.

    Args:
        failed_file: Where they are written, as rows.

    Attributes:
        failures: The first failures, each with its unit.
    """

    def __init__(self, failed_file: OutputFile | None = None) -> None:
        self._failed_file = failed_file
        self.failures: list[tuple[Unit, MarkResult]] = []

    def add(self, unit: Unit, result: MarkResult) -> None:
        """
        Note a failure.

        Raises:
            OSError: It cannot be written.
        """
        if len(self.failures) < _MOST_KEPT:
            self.failures.append((unit, result))
        if self._failed_file is not None:
            notes = {"_line": unit.line, "_rows": unit.rows}
            self._failed_file.write(failed_row(result) | notes)

    def add_row(self, row: dict[str, Any]) -> None:
        """
        Write what stands in place of a row that could not be read.

        Raises:
            OSError: It cannot be written.
        """
        if self._failed_file is not None:
            self._failed_file.write(row)
