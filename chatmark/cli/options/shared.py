"""
Options that several commands share; they are kept in the context, for `access` to read.
"""

import pathlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from chatmark.errors import InputError
from chatmark.names import MarkNames
from chatmark.regions import Region

F = TypeVar("F", bound=Callable[..., Any])

REGIONS: Final = {region.name.lower(): region for region in Region}
_PREFIX: Final = "chatmark.option."
_NAMES_FILE: Final = "names_file"


def _keep(ctx: click.Context, option: click.Parameter, value: object) -> object:
    ctx.meta[f"{_PREFIX}{option.name}"] = value
    return value


def kept(ctx: click.Context, name: str) -> Any:
    """
    Return the value of a shared option, None where the command has no such option.
    """
    return ctx.meta.get(f"{_PREFIX}{name}")


def shared_option(name: str, **settings: Any) -> Callable[[F], F]:
    """
    Make an option whose value is kept, and is read from the environment as well.
    """
    variable = f"CHATMARK_{name.upper().replace('-', '_')}"
    return click.option(
        f"--{name}", envvar=variable, callback=_keep, expose_value=False, **settings
    )


def signer_options(command: F) -> F:
    """
    Add the options that say who calls. A secret is no option: other users of the machine see those.
    """
    for option in (
        shared_option(
            "usersig-file",
            metavar="FILE",
            help="Where the UserSig is, unless CHATMARK_USERSIG holds it.",
        ),
        shared_option(
            "secret-key-file",
            metavar="FILE",
            help="Where the secret key is, unless CHATMARK_SECRET_KEY holds it.",
        ),
        shared_option(
            "identifier", help="An administrator of the application.  [default: administrator]"
        ),
        shared_option("sdkappid", help="The application."),
    ):
        command = option(command)
    return command


def target_options(command: F) -> F:
    """
    Add the options that say which server to call.
    """
    for option in (
        shared_option(
            "pace",
            metavar="URL",
            help="A Redis or Valkey whose count of calls all processes share, such as "
            "redis://127.0.0.1:6379, or rediss:// for TLS. One with a password or with options "
            "is given as CHATMARK_PACE.",
        ),
        shared_option("base-url", metavar="URL", help="Another server than a region's."),
        shared_option(
            "region",
            type=click.Choice(list(REGIONS), case_sensitive=False),
            metavar="REGION",
            help=f"The application's data centre: {', '.join(REGIONS)}.",
        ),
    ):
        command = option(command)
    return command


def read_pairs(
    ctx: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """
    Return the pairs of a repeatable option, such as NAME=BIT.

    Raises:
        click.BadParameter: One is no pair, or a first half is given twice.
    """
    pairs: dict[str, str] = {}
    for value in values:
        first, sign, second = value.partition("=")
        if not (first and sign and second):
            raise click.BadParameter(f"{value!r} is not {option.make_metavar(ctx)}", ctx, option)
        if first in pairs:
            raise click.BadParameter(f"{first!r} is given twice", ctx, option)
        pairs[first] = second
    return pairs


def _read_names_file(ctx: click.Context, option: click.Parameter, path: str | None) -> None:
    names = MarkNames()
    if path is not None:
        try:
            names = MarkNames.from_toml(pathlib.Path(path).read_text("utf-8-sig"))
        except UnicodeDecodeError:
            raise click.BadParameter(f"{path} is not UTF-8", ctx, option) from None
        except InputError as error:
            raise click.BadParameter(f"{path}: {error.reason}", ctx, option) from None
    _keep(ctx, option, names)


def _read_names(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> MarkNames:
    pairs = read_pairs(ctx, option, values)
    for name, bit in pairs.items():
        if not (bit.isascii() and bit.isdigit()):
            raise click.BadParameter(f"'{name}={bit}' is not NAME=BIT", ctx, option)
    of_file: MarkNames = kept(ctx, _NAMES_FILE)
    try:
        # The command line goes before the file.
        return MarkNames(**of_file.own | {name: int(bit) for name, bit in pairs.items()})
    except InputError as error:
        raise click.BadParameter(error.reason, ctx, option) from None


def names_option(command: F) -> F:
    """
    Add `--names`, repeatable, and `--names-file`: a team's own names for its extension bits.
    """
    for option in (
        click.option(
            "--names-file",
            envvar="CHATMARK_NAMES_FILE",
            metavar="FILE",
            callback=_read_names_file,
            expose_value=False,
            # Read before --names, which adds to it.
            is_eager=True,
            help="A TOML file whose table [marks] has such names, a line each: vip = 32.",
        ),
        click.option(
            "--names",
            multiple=True,
            envvar="CHATMARK_NAMES",
            metavar="NAME=BIT",
            callback=_read_names,
            help="Your name for an extension bit (32 to 63), such as vip=32. Repeatable.",
        ),
    ):
        command = option(command)
    return command
