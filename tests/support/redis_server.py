"""
A Redis or Valkey of a test's own: on a socket in a folder of its own, started and ended at will.
"""

import importlib.util
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Final, Self

PROGRAM: Final = shutil.which("redis-server") or shutil.which("valkey-server")

# Why tests that need one are skipped, None if they need not be.
MISSING: Final = (
    "the extra redis is not installed"
    if importlib.util.find_spec("redis") is None
    else "there is no redis-server and no valkey-server"
    if PROGRAM is None
    else None
)


class RedisServer:
    """A server without persistence; what it knows is gone when it ends."""

    def __init__(self, password: str | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chatmark-")
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self.path = pathlib.Path(self._folder.name, "socket")

    @property
    def url(self) -> str:
        """Where it is, with its password."""
        user = "" if self._password is None else f":{self._password}@"
        return f"unix://{user}{self.path}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        assert PROGRAM is not None
        secret = [] if self._password is None else ["--requirepass", self._password]
        self._process = subprocess.Popen(
            [
                PROGRAM,
                *("--port", "0", "--unixsocket", str(self.path), "--save", ""),
                *("--dir", self._folder.name, *secret),
            ],
            stdout=subprocess.DEVNULL,
        )
        while not self.path.exists():
            assert self._process.poll() is None, "the server ended"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None
        self.path.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Let it take connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on where it was."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
