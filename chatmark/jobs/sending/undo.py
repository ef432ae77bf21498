"""
The rows that bring back what a job replaces: they are on the disk before the job replaces it.

A row restores those bits that the change inverts, and the custom mark that it replaces. A job that
continues appends to the rows of its earlier runs: of two rows for one conversation the later one
was written because the change of the earlier one had not taken effect.
"""

import contextlib
import json
import os
import pathlib
from typing import final

from chatmark import InputError, MarkChange, MarkedConversation
from chatmark.jobs.output_files import open_owned, sync_directory
from chatmark.jobs.sources.files import naming
from chatmark.jobs.sources.formats import MAX_LINE_BYTES, FileFormat, compression_of, format_of
from chatmark.jobs.sources.row import row_of


def undo_of(change: MarkChange, found: MarkedConversation) -> MarkChange | None:
    """Return the change that brings back what *change* replaces, None if it replaces nothing."""
    set_mark = change.clear_mark & found.mark
    clear_mark = change.set_mark & ~found.mark
    is_custom_kept = change.custom_mark in (None, found.custom_mark)
    if is_custom_kept and not (set_mark or clear_mark):
        return None
    return MarkChange(
        change.from_account,
        change.conversation,
        set_mark,
        clear_mark,
        None if is_custom_kept else found.custom_mark,
        allow_reserved=change.allow_reserved,
    )


@final
class UndoFile(contextlib.AbstractContextManager["UndoFile"]):
    """
    The file of these rows, which earlier runs may have begun, or need because they sent something.

    Raises:
        InputError: It holds the rows of another job, is missing, or is no file of JSON Lines.
        OSError: It cannot be written.
    """

    def __init__(self, path: str, *, is_begun: bool = False, is_needed: bool = False) -> None:
        format_of(path, (FileFormat.JSON_LINES,), is_output=True)
        if compression_of(path) is not None:
            raise InputError("undo", "must be a file of JSON Lines, not compressed", path)
        exists = os.path.lexists(path)
        if exists and not is_begun:
            reason = "is there, and may have what an earlier job replaced: give another name"
            raise InputError("undo", reason, path)
        if is_needed and not exists:
            raise InputError("undo", "is missing, and had what earlier runs replaced", path)
        self.path = path
        self._file = open_owned(pathlib.Path(path))
        # A killed process may have left half a row, whose change was not sent.
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, size - MAX_LINE_BYTES))
        cut = self._file.read().rpartition(b"\n")[2]
        self._file.seek(size - len(cut))
        self._file.truncate()
        sync_directory(pathlib.Path(path))

    def __exit__(self, *_: object) -> None:
        # What is not written yet belongs to changes that were not sent.
        with contextlib.suppress(OSError):
            self._file.close()

    def kept(self, *, is_needed: bool) -> str | None:
        """Return the path; None if the file is empty and not needed, and was removed."""
        # Rows that are not flushed yet count.
        if is_needed or self._file.tell():
            return self.path
        # The same command would be refused for a file that brings nothing back.
        self._file.close()
        with contextlib.suppress(OSError):
            pathlib.Path(self.path).unlink()
        return None

    def add(self, change: MarkChange, found: MarkedConversation) -> None:
        undo = undo_of(change, found)
        if undo is not None:
            with naming(self.path):
                self._file.write(json.dumps(row_of(undo)).encode() + b"\n")

    def sync(self) -> None:
        with naming(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
