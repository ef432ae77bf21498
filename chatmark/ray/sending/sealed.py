"""
Credentials for the actor that sends.

`Credentials` refuse to be pickled, so that no code sends them to another process by accident. A job
on a cluster has to send them. `SealedCredentials` do, and show nothing of their content. They
travel only as an argument of a method call, which Ray writes to no log and no table. Ray keeps the
environment of an actor in several places, and its head keeps the arguments of the constructor.
"""

from typing import Any, Final, final

from chatmark import Credentials, InputError
from chatmark.credentials import Secret

_KINDS: Final = ("secret_key", "usersig")


@final
class SealedCredentials:
    """Credentials for another process to open."""

    __slots__ = ("_credentials",)

    def __init__(self, credentials: Credentials) -> None:
        if not isinstance(credentials, Credentials):
            raise InputError("credentials", "must be an object of the class Credentials")
        if credentials.provider is not None:
            raise InputError("credentials", "must hold a key or a UserSig: a provider stays here")
        self._credentials = credentials

    def open(self) -> Credentials:
        """Return the credentials."""
        return self._credentials

    def __repr__(self) -> str:
        return "SealedCredentials('***')"

    def __reduce__(self) -> tuple[Any, ...]:
        kind = next(each for each in _KINDS if getattr(self._credentials, each) is not None)
        secret: Secret = getattr(self._credentials, kind)
        owner = (self._credentials.sdkappid, self._credentials.identifier)
        return _unpickle, (*owner, kind, secret.reveal())


def _unpickle(sdkappid: int, identifier: str, kind: str, secret: str) -> SealedCredentials:
    secrets: dict[str, Any] = {kind: secret}
    return SealedCredentials(Credentials(sdkappid=sdkappid, identifier=identifier, **secrets))
