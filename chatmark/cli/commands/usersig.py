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
from chatmark.cli.options.groups import GroupedCommand, file_option, option, takes_options
from chatmark.cli.render.console import clean, print_json
from chatmark.credentials import verify_usersig

_DAY = 86_400


@attrs.frozen
class _Options:
    access: Access = SIGNER
    expire: int = option(
        "The lifetime of the new UserSig.", _DAY, type=click.IntRange(min=1), metavar="SECONDS"
    )
    source: str | None = file_option(
        "Describe the UserSig in FILE (- for standard input) instead.", names=["--read"]
    )
    as_json: bool = option(
        "Print the description, or the UserSig, as JSON.", False, names=["--json"]
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
        return _tell(_text(options.source), options.access.secret_key(), as_json=options.as_json)
    credentials = options.access.credentials()
    if credentials.secret_key is None:
        raise InputError("credentials", "a UserSig needs CHATMARK_SECRET_KEY or --secret-key-file")
    key = credentials.secret_key.reveal()
    made = make_usersig(
        credentials.sdkappid, credentials.identifier, key, now=time.time(), expire=options.expire
    )
    if options.as_json:
        print_json({"usersig": made})
    else:
        click.echo(made)
    return 0


def _text(source: str) -> str:
    data = sys.stdin.buffer.read() if source == "-" else pathlib.Path(source).read_bytes()
    return data.decode("ascii", "replace")


def _tell(text: str, secret_key: str | None, *, as_json: bool) -> int:
    content = read_usersig(text)
    left = content.expires_at - time.time()
    genuine = None if secret_key is None else verify_usersig(text, secret_key.strip())
    if as_json:
        print_json(
            {
                "application": content.sdkappid,
                "identifier": content.identifier,
                "made": content.time,
                "expires": content.expires_at,
                "seconds_left": round(left),
                "made_with_this_key": genuine,
            }
        )
    else:
        click.echo(f"application  {content.sdkappid}")
        click.echo(f"identifier   {clean(content.identifier)}")
        click.echo(f"made         {_moment(content.time)}")
        click.echo(f"expires      {_moment(content.expires_at)}, {_ago(left)}")
        key = "this" if genuine else "ANOTHER"
        unknown = "not checked: no secret key is given"
        click.echo(f"signature    {unknown if genuine is None else f'made with {key} secret key'}")
    return FAILED if genuine is False or left < 0 else 0


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
