"""A server that speaks Redis's protocol and answers with what a test says."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping

HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


@contextlib.asynccontextmanager
async def scripted_redis(
    replies: Mapping[str, bytes], tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """
    Run a server that answers a command (in capitals) as told, and others with OK; give its address.
    """
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                command = await _read_command(reader)
                # redis-py asks for the protocol first.
                known = b"%1\r\n+proto\r\n:3\r\n" if command == "HELLO" else b"+OK\r\n"
                writer.write(replies.get(command, known))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def _read_command(reader: asyncio.StreamReader) -> str:
    count = int((await reader.readuntil(b"\n"))[1:])
    parts = []
    for _ in range(count):
        size = int((await reader.readuntil(b"\n"))[1:])
        parts.append((await reader.readexactly(size + 2))[:size])
    return parts[0].decode().upper()
