"""Options for a team's own names of its extension bits."""

import functools
import pathlib
from collections.abc import Sequence

import attrs

from chatmark import InputError, MarkNames
from chatmark.cli.options.groups import group, option, options_of, refuse

_name = functools.partial(option, title="Names of marks")


@attrs.frozen
class NamesGiven:
    """The options, as they were given."""

    names: Sequence[str] = _name(
        "Your name for an extension bit (32 to 63), such as vip=32. Repeatable.",
        multiple=True,
        metavar="NAME=BIT",
    )
    names_file: str | None = _name(
        "A TOML file whose table [marks] has such names, a line each: vip = 32.", metavar="FILE"
    )


def read_pairs(option: str, form: str, values: Sequence[str]) -> dict[str, str]:
    """Return the pairs of a repeatable option."""
    pairs: dict[str, str] = {}
    for value in values:
        first, sign, second = value.partition("=")
        if not (first and sign and second):
            refuse(option, f"{value!r} must be {form}")
        if first in pairs:
            refuse(option, f"give {first!r} once")
        pairs[first] = second
    return pairs


def read_names(names: Sequence[str], names_file: str | None) -> MarkNames:
    """Return the names of a file and of the command line, which overrides the file."""
    of_file = MarkNames()
    if names_file is not None:
        try:
            of_file = MarkNames.from_toml(pathlib.Path(names_file).read_text("utf-8-sig"))
        except UnicodeDecodeError:
            refuse("--names-file", f"{names_file} must be UTF-8 text")
        except InputError as error:
            refuse("--names-file", f"{names_file}: {error.reason}")
    pairs = read_pairs("--names", "NAME=BIT", names)
    for name, bit in pairs.items():
        if not (bit.isascii() and bit.isdigit()):
            refuse("--names", f"'{name}={bit}' must be NAME=BIT")
    try:
        return MarkNames(**of_file.own | {name: int(bit) for name, bit in pairs.items()})
    except InputError as error:
        refuse("--names", error.reason)


NAMES = group(read_names, *options_of(NamesGiven))
