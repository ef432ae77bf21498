"""
Options that name a server and the credentials for it.
"""

import os
import pathlib

import attrs
import click

from chatmark.cli.options.groups import option_group, options_of
from chatmark.cli.options.target import Target
from chatmark.credentials import Credentials
from chatmark.errors import InputError
from chatmark.regions import Region, check_base_url

_REGIONS = {region.name.lower(): region for region in Region}
_TARGETS = ("region", "base_url", "local")


@attrs.frozen(kw_only=True)
class Access:
    """The options of a server and of its credentials, as they were given."""

    region: str | None = None
    base_url: str | None = None
    local: bool = False
    pace: str | None = attrs.field(default=None, repr=False)
    sdkappid: str | None = None
    identifier: str | None = None
    secret_key_file: str | None = None
    usersig_file: str | None = None

    def target(self) -> Target:
        """Return the server; the command line goes before the environment."""
        name = self._chosen()
        # Other users of the machine see command lines; text before @ or behind ? may be secret.
        if self.pace and _is_typed("pace") and set(self.pace) & {*"@?"}:
            context = click.get_current_context()
            raise click.UsageError("a URL with a password is given as CHATMARK_PACE", context)
        pace = self.pace or None
        if name == "local":
            return Target(pace=pace)
        credentials = self.credentials()
        if self.region and name == "region":
            return Target(_REGIONS[self.region.lower()], None, credentials, pace)
        return Target(None, check_base_url(self.base_url or ""), credentials, pace)

    def _chosen(self) -> str:
        context = click.get_current_context()
        given = [name for name in _TARGETS if getattr(self, name)]
        typed = [name for name in given if _is_typed(name)]
        if len(typed or given) != 1:
            known = {option.name for option in context.command.params}
            options = ", ".join(f"--{each.replace('_', '-')}" for each in _TARGETS if each in known)
            raise click.UsageError(f"exactly one of {options} is needed", context)
        return (typed or given)[0]

    def credentials(self) -> Credentials:
        """Return the credentials; a file that is named goes before a secret in the environment."""
        if self.secret_key_file and self.usersig_file:
            context = click.get_current_context()
            raise click.UsageError("give one of --secret-key-file and --usersig-file", context)
        environment = {
            "CHATMARK_SDKAPPID": self.sdkappid or "",
            "CHATMARK_IDENTIFIER": self.identifier or "",
        }
        if self.usersig_file:
            environment["CHATMARK_USERSIG"] = _read_secret(self.usersig_file)
        else:
            environment["CHATMARK_SECRET_KEY"] = self.secret_key() or ""
            if not self.secret_key_file:
                environment["CHATMARK_USERSIG"] = os.environ.get("CHATMARK_USERSIG", "")
        if not (environment.get("CHATMARK_SECRET_KEY") or environment.get("CHATMARK_USERSIG")):
            raise InputError(
                "credentials",
                "set CHATMARK_SECRET_KEY or CHATMARK_USERSIG, or name a file with one",
            )
        return Credentials.from_env(environment)

    def secret_key(self) -> str | None:
        """
        Return the secret key of the file that is named or else of the environment, None without.
        """
        path = self.secret_key_file
        return _read_secret(path) if path else os.environ.get("CHATMARK_SECRET_KEY") or None


def _is_typed(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def _read_secret(path: str) -> str:
    try:
        secret = pathlib.Path(path).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        secret = ""
    except OSError as error:
        # The name is not repeated: some give the secret itself.
        reason = f"the file with the secret cannot be read: {error.strerror}"
        raise InputError("credentials", reason) from None
    if not secret:
        raise InputError("credentials", "there is no secret in the file")
    return secret


_SIGNER_OPTIONS = options_of(
    Access,
    "Credentials",
    {
        "sdkappid": "The application.",
        "identifier": "An administrator of the application.  [default: administrator]",
        # A secret is no option: other users of the machine see command lines.
        "secret_key_file": "Where the secret key is, unless CHATMARK_SECRET_KEY holds it.",
        "usersig_file": "Where the UserSig is, unless CHATMARK_USERSIG holds it.",
    },
    secret_key_file={"metavar": "FILE"},
    usersig_file={"metavar": "FILE"},
)
_SERVER_OPTIONS = options_of(
    Access,
    "Server",
    {
        "region": f"The application's data centre: {', '.join(_REGIONS)}.",
        "base_url": "Another server than a region's.",
        "pace": "A Redis or Valkey whose count of calls all processes share, such as "
        "redis://127.0.0.1:6379, or rediss:// for TLS. One with a password or with options is "
        "given as CHATMARK_PACE.",
        "local": "The emulator, in this process; it forgets all after.",
    },
    region={"type": click.Choice(list(_REGIONS), case_sensitive=False), "metavar": "REGION"},
    base_url={"metavar": "URL"},
    pace={"metavar": "URL"},
)
signer_options = option_group("access", Access, *_SIGNER_OPTIONS)
server_options = option_group("access", Access, *_SERVER_OPTIONS[:-1], *_SIGNER_OPTIONS)
server_or_local_options = option_group("access", Access, *_SERVER_OPTIONS, *_SIGNER_OPTIONS)
