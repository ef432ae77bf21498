"""
Secrets for the workers of a job.

`Credentials` refuse to be pickled, so that no code sends them to another process by accident. A job
on a cluster has to send them. `SealedSecrets` does, and shows nothing of its content. It travels
only as an argument of a method call, which Ray writes to no log and no table. Ray keeps the
environment of an actor in several places, and its head keeps the arguments of the constructor.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, final

from chatmark import Budget, Credentials, InputError
from chatmark.credentials import Secret

BudgetMaker = Callable[[], AbstractAsyncContextManager[Budget]]
_KINDS: Final = ("secret_key", "usersig")


@final
class SealedSecrets:
    """Credentials and the maker of a budget, for a worker to open."""

    __slots__ = ("_budget", "_credentials")

    def __init__(self, credentials: Credentials, budget: BudgetMaker | None = None) -> None:
        if not isinstance(credentials, Credentials):
            raise InputError("credentials", "must be an object of the class Credentials")
        if credentials.provider is not None:
            raise InputError("credentials", "must hold a key or a UserSig: a provider stays here")
        self._credentials = credentials
        self._budget = budget

    def open(self) -> tuple[Credentials, BudgetMaker | None]:
        """Return the credentials and the maker of the budget."""
        return self._credentials, self._budget

    def __repr__(self) -> str:
        return "SealedSecrets('***')"

    def __reduce__(self) -> tuple[Any, ...]:
        kind = next(each for each in _KINDS if getattr(self._credentials, each) is not None)
        secret: Secret = getattr(self._credentials, kind)
        owner = (self._credentials.sdkappid, self._credentials.identifier)
        return _unpickle, (*owner, kind, secret.reveal(), self._budget)


def _unpickle(
    sdkappid: int, identifier: str, kind: str, secret: str, budget: BudgetMaker | None
) -> SealedSecrets:
    secrets: dict[str, Any] = {kind: secret}
    return SealedSecrets(Credentials(sdkappid=sdkappid, identifier=identifier, **secrets), budget)
