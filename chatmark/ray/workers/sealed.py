"""
Secrets for the workers of a job.

`Credentials` refuse to be pickled, so that nothing takes them anywhere by accident. A job on a
cluster has to: this class is made for that, and shows nothing of its content. It
is an argument of a call from process to process, and of nothing else: arguments of a call are in no
log and no table of Ray's. The environment of an actor would be in several, and the arguments with
which an actor is made are kept by the head of the cluster.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, final

from chatmark.credentials import Credentials, Secret
from chatmark.errors import InputError
from chatmark.pacing.budget import Budget

BudgetMaker = Callable[[], AbstractAsyncContextManager[Budget]]
_KINDS: Final = ("secret_key", "usersig")


@final
class Sealed:
    """
    Credentials, and a maker of a budget, to be opened by a worker.
    """

    __slots__ = ("_budget", "_credentials")

    def __init__(self, credentials: Credentials, budget: BudgetMaker | None = None) -> None:
        if not isinstance(credentials, Credentials):
            raise InputError("credentials", "must be Credentials")
        if credentials.provider is not None:
            raise InputError("credentials", "a provider cannot go to workers: give a secret key")
        self._credentials = credentials
        self._budget = budget

    def open(self) -> tuple[Credentials, BudgetMaker | None]:
        """
        Return its content.
        """
        return self._credentials, self._budget

    def __repr__(self) -> str:
        return "Sealed('***')"

    def __reduce__(self) -> tuple[Any, ...]:
        kind = next(each for each in _KINDS if getattr(self._credentials, each) is not None)
        secret: Secret = getattr(self._credentials, kind)
        who = (self._credentials.sdkappid, self._credentials.identifier)
        return _sealed, (*who, kind, secret.reveal(), self._budget)


def _sealed(
    sdkappid: int, identifier: str, kind: str, secret: str, budget: BudgetMaker | None
) -> Sealed:
    secrets: dict[str, Any] = {kind: secret}
    return Sealed(Credentials(sdkappid=sdkappid, identifier=identifier, **secrets), budget)
