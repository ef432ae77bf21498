"""Where the microseconds of one request of a hundred marks go in the core."""

import time
from collections.abc import Callable
from typing import Any

from benchmarks import loads
from benchmarks.core import Core, answer_to
from benchmarks.measure import Spread


def measure(*, rounds: int) -> dict[str, Spread]:
    """Return the microseconds of each stage."""
    rows = list(loads.rows(1, loads.ITEMS))
    core = Core()
    found: dict[str, list[float]] = {}

    def timed(name: str, stage: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        value = stage(*arguments)
        found.setdefault(name, []).append((time.perf_counter() - started) * 1e6)
        return value

    for _ in range(rounds):
        changes = timed("build and check the changes", lambda: list(loads.changes(rows)))
        timed("admit them", core.admit, changes)
        batch = timed("take the request", core.take)
        body = timed("encode it", core.encode, batch)
        answer = answer_to(body)
        timed("decode the answer", core.decode, batch, answer)
        timed("decode, match and settle", core.settle, batch, answer)
    return {name: Spread.of(values) for name, values in found.items()}
