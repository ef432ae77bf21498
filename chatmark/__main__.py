"""
`chatmark` and `python -m chatmark`.
"""

import sys
from collections.abc import Sequence
from typing import Final

_NEEDED: Final = ("click", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line and return its exit status.
    """
    try:
        from chatmark.cli.app import run  # noqa: PLC0415 - it needs the extra.
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        print("error: the command line needs more: pip install 'chatmark[cli]'", file=sys.stderr)  # noqa: T201
        return 2
    return run(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
