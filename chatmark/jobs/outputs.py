"""
Files that a job writes: whole or not at all.
"""

import json
import pathlib
from types import TracebackType
from typing import Any, Self, TextIO, final


@final
class OutputFile:
    """
    A text file that takes its name only when it is complete.

    A job may so read the very file that it replaces. Until then it is called `<name>.part`.
    A device or a pipe is written to as it is.

    Args:
        path: Where it is to be.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._path = pathlib.Path(path)
        in_place = self._path.exists() and not self._path.is_file()
        self._part = self._path if in_place else self._path.with_name(f"{self._path.name}.part")
        if self._path.is_dir():
            raise IsADirectoryError(21, "Is a directory", path)
        self._file: TextIO = self._part.open("w", encoding="utf-8")
        self._is_partial = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        if exc_type is None and self._part != self._path and not self._is_partial:
            self._part.replace(self._path)

    def is_file(self, path: str) -> bool:
        """
        Whether this is going to replace that file.
        """
        return self._path.exists() and self._path.resolve() == pathlib.Path(path).resolve()

    def keep_apart(self) -> str:
        """
        Replace nothing when it is closed, since it does not hold everything; return its name.
        """
        self._is_partial = True
        return str(self._part)

    def write(self, document: Any, *, indent: int | None = None) -> None:
        """
        Write a JSON document and end the line.
        """
        self.write_text(json.dumps(document, ensure_ascii=False, indent=indent) + "\n")

    def write_text(self, text: str) -> None:
        """
        Write text as it is.
        """
        # A server's text may name half a character, which UTF-8 has no bytes for.
        self._file.write(text.encode("utf-8", "replace").decode())
