"""
The second stage of the mutation test: what no unit test noticed meets whole sessions.

    python tests/long/survivors.py [MUTANT ...]

Takes the mutants that `mutmut run` left alive, or those named, gives each to the state machine of
the lanes and to sessions under faults, and prints which test notices it. Exits 1 when there is one
that nothing notices; docs/reliability.md says why nobody can.
"""

import os
import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

ALIVE: Final = (": survived", ": no tests")
# The fast ones first.
SUITES: Final = (
    *(f"tests/faults/test_{name}.py" for name in ("order", "strangers", "bulk", "worker", "close")),
    *(f"tests/faults/test_{name}.py" for name in ("network", "limits", "neighbours")),
    "tests/models/test_engine_machine.py",
)
PYTEST: Final = (sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider")
# Seconds, several times what the tests take without a mutant. One that makes them hang is noticed,
# and so is one whose failure hypothesis is still making smaller.
LIMIT: Final = 180.0
AT_ONCE: Final = 2


def alive() -> list[str]:
    """Return the mutants that no unit test noticed."""
    mutmut = pathlib.Path(sys.executable).with_name("mutmut")
    told = subprocess.run([mutmut, "results"], check=True, capture_output=True, text=True)
    lines = map(str.strip, told.stdout.splitlines())
    return [line.rsplit(":", 1)[0] for line in lines if line.endswith(ALIVE)]


def noticed_by(mutant: str) -> str:
    """Return the test that fails with a mutant, nothing when all pass."""
    try:
        done = subprocess.run(
            [*PYTEST, "--hypothesis-seed=0", *SUITES],
            check=False,
            capture_output=True,
            text=True,
            cwd="mutants",
            env={**os.environ, "MUTANT_UNDER_TEST": mutant},
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired:
        return "a timeout"
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return "".join(failed[:1]) or (f"exit status {done.returncode}" if done.returncode else "")


if __name__ == "__main__":
    if noticed_by("none"):
        sys.exit("the tests fail without a mutant")
    mutants = sys.argv[1:] or alive()
    left = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, test in zip(mutants, pool.map(noticed_by, mutants), strict=True):
            print(name, test or "IS NOT NOTICED", flush=True)
            left += not test
    print(f"{len(mutants)} mutants: {len(mutants) - left} noticed, {left} not")
    sys.exit(left > 0)
