"""The options of a job on a cluster, and credentials that travel to its sender."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Self, final

import attrs

from chatmark import Budget, CallBudget, Credentials, InputError
from chatmark.jobs.options import JobOptions

LOCAL: Final = "local"
# Ray uses this variable on other systems; on Linux it listens on every interface by default.
_MANY_MACHINES: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def stay_on_loopback() -> None:
    """
    Let a cluster that this process starts listen on loopback only.

    The call has no effect once Ray is loaded. A process that joins a cluster of other machines must
    not make it.
    """
    if "ray" not in sys.modules:
        os.environ.setdefault(_MANY_MACHINES, "0")


@attrs.frozen(kw_only=True)
class RayOptions(JobOptions):
    """
    The options of a job on a cluster: those of `JobOptions`, and these.

    Args:
        journal: A folder on storage that every machine reaches: a path or a URL such as
            `s3://bucket/folder`. It notes what is settled, for a new start.
        partitions: Into how many partitions the changes are divided by user. A loss costs one.
        calls_per_second: The most calls in any second, None without a limit.
        budget: Makes the budget of the sender instead of `calls_per_second`: a function that can be
            pickled and returns an async context manager.
        max_errors: The most bad rows to set aside in the file of failures.
        session: Further options of the session, such as `timeout`, that can be pickled.

    Raises:
        InputError: One of them is wrong.
    """

    partitions: int = 256
    calls_per_second: float | None = 190.0
    budget: Callable[[], AbstractAsyncContextManager[Budget]] | None = attrs.field(
        default=None, repr=False
    )
    max_errors: int = 0
    session: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False)

    @classmethod
    def of(cls, job: JobOptions, **more: Any) -> Self:
        """Return the options of a job, with more for the cluster."""
        given = {each.name: getattr(job, each.name) for each in attrs.fields(JobOptions)}
        return cls(**given | more)

    def __attrs_post_init__(self) -> None:
        if self.budget is None:
            CallBudget(self.calls_per_second)
        if self.partitions < 1:
            raise InputError("partitions", "must be 1 or more", self.partitions)
        if self.undo is not None:
            raise InputError("undo", "is not possible on a cluster: its disk may be lost")


@final
class SealedCredentials:
    """
    Credentials for another process to open.

    `Credentials` refuse to be pickled, so that no code sends them to another process by accident. A
    job on a cluster has to send them. These do, and show nothing of their content. They travel only
    as an argument of a method call, which Ray writes to no log and no table. Ray keeps the
    environment of an actor in several places, and its head keeps the arguments of the constructor.
    """

    __slots__ = ("_credentials",)

    def __init__(self, credentials: Credentials) -> None:
        if not isinstance(credentials, Credentials):
            raise InputError("credentials", "must be an object of the class Credentials")
        if credentials.provider is not None:
            raise InputError("credentials", "must hold a key or a UserSig: a provider stays here")
        self._credentials = credentials

    def open(self) -> Credentials:
        return self._credentials

    def __repr__(self) -> str:
        return "SealedCredentials('***')"

    def __reduce__(self) -> tuple[Any, ...]:
        given = self._credentials
        secrets = {"secret_key": given.secret_key, "usersig": given.usersig}
        revealed = {name: secret.reveal() for name, secret in secrets.items() if secret is not None}
        return _unpickle, (given.sdkappid, given.identifier, revealed)


def _unpickle(sdkappid: int, identifier: str, secret: dict[str, Any]) -> SealedCredentials:
    return SealedCredentials(Credentials(sdkappid=sdkappid, identifier=identifier, **secret))
