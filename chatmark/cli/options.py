"""
Options that several commands share; they are kept in the context, for `access` to read.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from chatmark.errors import InputError
from chatmark.names import MarkNames
from chatmark.regions import Region

F = TypeVar("F", bound=Callable[..., Any])

REGIONS: Final = {region.name.lower(): region for region in Region}
_PREFIX: Final = "chatmark.option."


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
            "redis://127.0.0.1:6379. One with a password is given as CHATMARK_PACE.",
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


def _read_names(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> MarkNames:
    names: dict[str, int] = {}
    for value in values:
        name, _, bit = value.partition("=")
        if not (bit.isascii() and bit.isdigit()):
            raise click.BadParameter(f"{value!r} is not NAME=BIT", ctx, option)
        if name in names:
            raise click.BadParameter(f"{name!r} is given twice", ctx, option)
        names[name] = int(bit)
    try:
        return MarkNames(**names)
    except InputError as error:
        raise click.BadParameter(error.reason, ctx, option) from None


def names_option(command: F) -> F:
    """
    Add `--names`, repeatable: a team's own names for its extension bits.
    """
    return click.option(
        "--names",
        multiple=True,
        envvar="CHATMARK_NAMES",
        metavar="NAME=BIT",
        callback=_read_names,
        help="Your name for an extension bit (32 to 63), such as vip=32. Repeatable.",
    )(command)
