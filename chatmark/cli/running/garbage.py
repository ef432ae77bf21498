"""
The garbage collector while a process sends a file.
"""

import contextlib
import gc
from collections.abc import Generator
from typing import Final

# New objects between two collections. A job holds some 40,000 objects,
# and frees them by reference counts.
_YOUNG: Final = 20_000


@contextlib.contextmanager
def rare_collections() -> Generator[None]:
    """
    Collect garbage rarely while the block runs, and never what existed before.

    Else it goes through all modules and everything pending once every few hundred changes, which
    takes a tenth of the time of a job. That is the process's to decide, which a library has not.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
