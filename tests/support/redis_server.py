"""
A Redis or Valkey of a test's own: on a socket in a folder of its own, started and ended at will.
"""

import contextlib
import importlib.util
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

PROGRAM: Final = (
    os.environ.get("REDIS_SERVER") or shutil.which("redis-server") or shutil.which("valkey-server")
)

# Why tests that need one are skipped, None if they need not be.
MISSING: Final = (
    "the extra redis is not installed"
    if importlib.util.find_spec("redis") is None
    else "there is no redis-server and no valkey-server"
    if PROGRAM is None
    else None
)


class RedisServer:
    """
    A server without persistence; what it knows is gone when it ends.

    Args:
        password: Its password, if it has one.
        *arguments: Further arguments of the program.
    """

    def __init__(self, password: str | None = None, *arguments: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chatmark-")
        self._password = password
        self._arguments = arguments
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
                *(PROGRAM, "--port", "0", *self._arguments, "--unixsocket", str(self.path)),
                *("--save", "", "--dir", self._folder.name, *secret),
            ],
            stdout=subprocess.DEVNULL,
        )
        while not self._listens():
            assert self._process.poll() is None, "the server ended"
            time.sleep(0.01)

    def _listens(self) -> bool:
        # The file is there a moment before connections are taken.
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.path)) == 0

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


class SentinelTrio:
    """Three Sentinels that watch a primary, which is named "chat", and its replica."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.addresses = [("127.0.0.1", free_port()) for _ in range(3)]

    def __enter__(self) -> Self:
        folder = pathlib.Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        ports = free_port(), free_port()
        replica = ("--replicaof", f"127.0.0.1 {ports[0]}", "--repl-diskless-sync-delay", "0")
        self.primary, self.replica = (
            self._stack.enter_context(RedisServer(None, "--port", str(port), *options))
            for port, options in zip(ports, ((), replica), strict=True)
        )
        # They need not find one another first.
        known = [
            f"sentinel known-sentinel chat {host} {port} {port:040x}"
            for host, port in self.addresses
        ]
        for number, (_, port) in enumerate(self.addresses):
            file = folder / f"{port}.conf"
            lines = [
                *(f"port {port}", "bind 127.0.0.1", f"dir {folder}", f"sentinel myid {port:040x}"),
                f"sentinel monitor chat 127.0.0.1 {ports[0]} 2",
                "sentinel down-after-milliseconds chat 500",
                "sentinel failover-timeout chat 3000",
                f"sentinel known-replica chat 127.0.0.1 {ports[1]}",
                *(line for each, line in enumerate(known) if each != number),
            ]
            file.write_text("\n".join(lines) + "\n")
            self._stack.enter_context(_running(PROGRAM or "", str(file), "--sentinel"))
        for address in self.addresses:
            while not _is_listening(address):
                time.sleep(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()


@contextlib.contextmanager
def _running(*command: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _is_listening(address: tuple[str, int]) -> bool:
    with socket.socket() as client:
        return client.connect_ex(address) == 0


def free_port() -> int:
    """Return a port of the loopback that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
