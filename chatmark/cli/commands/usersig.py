"""`chatmark usersig`: make a UserSig, or describe one."""

import datetime as dt
import pathlib
import sys
import time

import attrs
import click

from chatmark import InputError, make_usersig, read_usersig
from chatmark.cli.exit_status import FAILED
from chatmark.cli.options.access import SIGNER, Access
from chatmark.cli.options.groups import GroupedCommand, option, takes_options
from chatmark.cli.render.console import clean
from chatmark.usersig import verify_usersig

_DAY = 86_400


@attrs.frozen
class _Options:
    access: Access = SIGNER
    expire: int = option(
        "The lifetime of the new UserSig.",
        _DAY,
        type=click.IntRange(min=1),
        metavar="SECONDS",
    )
    source: str | None = option(
        "Describe the UserSig in FILE (- for standard input) instead.",
        names=["--read"],
        metavar="FILE",
    )


@click.command(
    cls=GroupedCommand,
    help="""
    Make a UserSig from the secret key, or describe one.

    --read does not print the UserSig itself. The exit status is 1 if it has expired or was made
    with another key.
    """,
)
@takes_options(_Options)
def usersig(options: _Options) -> int:
    if options.source is not None:
        return _tell(_text(options.source), options.access.secret_key())
    credentials = options.access.credentials()
    if credentials.secret_key is None:
        raise InputError("credentials", "a UserSig needs CHATMARK_SECRET_KEY or --secret-key-file")
    key = credentials.secret_key.reveal()
    made = make_usersig(
        credentials.sdkappid, credentials.identifier, key, now=time.time(), expire=options.expire
    )
    click.echo(made)
    return 0


def _text(source: str) -> str:
    data = sys.stdin.buffer.read() if source == "-" else pathlib.Path(source).read_bytes()
    return data.decode("ascii", "replace")


def _tell(text: str, secret_key: str | None) -> int:
    content = read_usersig(text)
    left = content.expires_at - time.time()
    click.echo(f"application  {content.sdkappid}")
    click.echo(f"identifier   {clean(content.identifier)}")
    click.echo(f"made         {_moment(content.time)}")
    click.echo(f"expires      {_moment(content.expires_at)}, {_ago(left)}")
    genuine = True
    if secret_key is None:
        click.echo("signature    not checked: no secret key is given")
    else:
        genuine = verify_usersig(text, secret_key.strip())
        click.echo(f"signature    made with {'this' if genuine else 'ANOTHER'} secret key")
    return 0 if genuine and left >= 0 else FAILED


def _moment(seconds: int) -> str:
    try:
        return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s since 1970"


def _ago(left: float) -> str:
    for unit, size in (("days", _DAY), ("hours", 3600), ("minutes", 60)):
        if abs(left) >= 2 * size:
            span = f"{abs(left) / size:.0f} {unit}"
            break
    else:
        span = f"{abs(left):.0f} seconds"
    return f"in {span}" if left >= 0 else f"EXPIRED {span} ago"
