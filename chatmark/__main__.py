"""`chatmark` and `python -m chatmark`."""

import sys
from collections.abc import Sequence
from typing import Final

from chatmark import __version__

_NEEDED: Final = ("click", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if list(given) == ["--version"]:
        # click alone takes longer than the answer.
        print(f"chatmark {__version__}")  # noqa: T201
        return 0
    try:
        from chatmark.cli.app import run  # noqa: PLC0415 - it needs the extra.
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        print("error: the command line needs more: pip install 'chatmark[cli]'", file=sys.stderr)  # noqa: T201
        return 2
    return run(given)


if __name__ == "__main__":
    sys.exit(main())
