"""Where the project is."""

import pathlib
from typing import Final

ROOT: Final = pathlib.Path(__file__).parents[2]
