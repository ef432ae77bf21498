"""
Options for a team's own names of its extension bits.
"""

import pathlib
from collections.abc import Sequence

import attrs

from chatmark.cli.options.groups import option_group, options_of, refuse
from chatmark.errors import InputError
from chatmark.names import MarkNames


def read_pairs(option: str, form: str, values: Sequence[str]) -> dict[str, str]:
    """Return the pairs of a repeatable option."""
    pairs: dict[str, str] = {}
    for value in values:
        first, sign, second = value.partition("=")
        if not (first and sign and second):
            refuse(option, f"{value!r} is not {form}")
        if first in pairs:
            refuse(option, f"{first!r} is given twice")
        pairs[first] = second
    return pairs


def read_names(names_file: str | None, names: Sequence[str]) -> MarkNames:
    """Return the names of a file and of the command line, which wins."""
    of_file = MarkNames()
    if names_file is not None:
        try:
            of_file = MarkNames.from_toml(pathlib.Path(names_file).read_text("utf-8-sig"))
        except UnicodeDecodeError:
            refuse("--names-file", f"{names_file} is not UTF-8")
        except InputError as error:
            refuse("--names-file", f"{names_file}: {error.reason}")
    pairs = read_pairs("--names", "NAME=BIT", names)
    for name, bit in pairs.items():
        if not (bit.isascii() and bit.isdigit()):
            refuse("--names", f"'{name}={bit}' is not NAME=BIT")
    try:
        return MarkNames(**of_file.own | {name: int(bit) for name, bit in pairs.items()})
    except InputError as error:
        refuse("--names", error.reason)


@attrs.frozen
class _Given:
    names: Sequence[str]
    names_file: str | None


NAMES = options_of(
    _Given,
    "Names of marks",
    {
        "names": "Your name for an extension bit (32 to 63), such as vip=32. Repeatable.",
        "names_file": "A TOML file whose table [marks] has such names, a line each: vip = 32.",
    },
    names={"multiple": True, "metavar": "NAME=BIT"},
    names_file={"metavar": "FILE"},
)
names_options = option_group("names", read_names, *NAMES)
