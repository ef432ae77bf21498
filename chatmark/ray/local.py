"""Settings of a local cluster, which Ray reads when it is loaded."""

import os
import sys
from typing import Final

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
