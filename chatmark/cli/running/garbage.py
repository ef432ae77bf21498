"""
The garbage collector of a process that does one thing: sends a file.
"""

import contextlib
import gc
from collections.abc import Generator
from typing import Final

# Objects that are made and not yet gone before it looks. What a job holds, some 40,000 objects, is
# no garbage, and what it is done with goes by itself.
_YOUNG: Final = 20_000


@contextlib.contextmanager
def rare_collections() -> Generator[None]:
    """
    Let the collector come seldom while the block runs, and leave alone what was there before it.

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
