"""A far end that never answers: what is pending stays so."""

import asyncio
from collections.abc import Mapping

from chatmark.wire.messages import Reply


class Silent:
    """A transport without an answer."""

    async def post(self, path: str, query: Mapping[str, str], body: bytes) -> Reply:
        """Wait for ever."""
        await asyncio.Event().wait()
        raise RuntimeError(path)

    async def aclose(self) -> None:
        """Do nothing."""
