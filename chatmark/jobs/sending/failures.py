"""Changes of a job that failed: the first are kept, all are written to a file."""

from types import TracebackType
from typing import Any, Final, Self, final

from chatmark import MarkResult
from chatmark.jobs.grouping.units import Unit
from chatmark.jobs.output_files import OutputFile
from chatmark.jobs.sources.row import failed_row

_MOST_KEPT: Final = 100


@final
class FailureLog:
    """
    Collects failures; `first` has the first of them, each with its unit.
    """

    def __init__(self, path: str | None = None) -> None:
        self._file = None if path is None else OutputFile(path)
        self.first: list[tuple[Unit, MarkResult]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        if self._file is not None:
            self._file.__exit__(exc_type, error, traceback)

    def add(self, unit: Unit, result: MarkResult) -> None:
        """Add a failure."""
        if len(self.first) < _MOST_KEPT:
            self.first.append((unit, result))
        self.add_row(failed_row(result) | {"_line": unit.line, "_rows": unit.rows})

    def add_row(self, row: dict[str, Any]) -> None:
        """Write a row to the file, such as the notes on a row that cannot be read."""
        if self._file is not None:
            self._file.write(row)

    def close(self) -> None:
        """Give the file its name."""
        self.__exit__()
