"""
What became of the changes of a job, as they are settled.
"""

from typing import Final, final

from chatmark.errors import ApplicationRefusedError, WithdrawnError
from chatmark.jobs.outputs import OutputFile
from chatmark.jobs.rows import failed_row
from chatmark.models import MarkResult

_MOST_KEPT: Final = 100


@final
class Outcome:
    """
    Keeps what a person wants to know of the changes that failed.

    Args:
        failed_file: Where the changes that failed are written, as rows.

    Attributes:
        failures: The first failures.
        refused: What the server has against the whole application, if it does.
    """

    def __init__(self, failed_file: OutputFile | None = None) -> None:
        self._failed_file = failed_file
        self.failures: list[MarkResult] = []
        self.refused: ApplicationRefusedError | None = None

    def add(self, result: MarkResult) -> None:
        """
        Note the fate of a change.
        """
        if result.error is None or isinstance(result.error, WithdrawnError):
            return
        if isinstance(result.error, ApplicationRefusedError):
            self.refused = result.error
        if len(self.failures) < _MOST_KEPT:
            self.failures.append(result)
        if self._failed_file is not None:
            self._failed_file.write(failed_row(result))
