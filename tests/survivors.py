"""
The second stage of the mutation test: what the unit tests did not notice meets whole sessions.

    python tests/survivors.py [MUTANT ...]

Takes the mutants that `mutmut run` left alive, or those named, and gives each to the state machine
of the lanes and to the sessions under faults, two at a time. Prints what noticed each one, and
exits 1 when there is one that nothing notices; docs/reliability.md says why nobody can.
"""

import os
import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

# Where mutmut has put the mutants, and the tests beside them.
MUTANTS: Final = pathlib.Path("mutants")
ALIVE: Final = (": survived", ": no tests")
# The fast ones first. A mutant that makes one of them hang is noticed, too.
SUITES: Final = (
    "test_fault_order.py",
    "test_fault_strangers.py",
    "test_fault_bulk.py",
    "test_fault_worker.py",
    "test_fault_close.py",
    "test_reviewed.py",
    "test_lanes_machine.py",
)
LIMIT: Final = 180.0
AT_ONCE: Final = 2


def alive() -> list[str]:
    """
    Return the mutants that no unit test noticed.
    """
    mutmut = pathlib.Path(sys.executable).with_name("mutmut")
    told = subprocess.run([mutmut, "results"], check=True, capture_output=True, text=True)
    lines = [line.strip() for line in told.stdout.splitlines()]
    return [line.rsplit(":", 1)[0] for line in lines if line.endswith(ALIVE)]


def noticed_by(mutant: str) -> str:
    """
    Return the test that fails with a mutant, nothing when all pass.
    """
    tests = [f"tests/{suite}" for suite in SUITES]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-qx",
        "-p",
        "no:cacheprovider",
        "--hypothesis-seed=0",
    ]
    try:
        done = subprocess.run(
            [*command, *tests],
            check=False,
            capture_output=True,
            text=True,
            cwd=MUTANTS,
            env={**os.environ, "MUTANT_UNDER_TEST": mutant},
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired:
        return "a timeout"
    if done.returncode == 0:
        return ""
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].split(" - ")[0] if failed else f"exit status {done.returncode}"


def main(mutants: list[str]) -> int:
    """
    Give each mutant to the tests; return how many nothing notices, 1 at most.
    """
    if noticed_by("none"):
        print("the tests fail without a mutant")
        return 1
    left = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for mutant, test in zip(mutants, pool.map(noticed_by, mutants), strict=True):
            print(mutant, test or "IS NOT NOTICED", flush=True)
            left += not test
    print(f"{len(mutants)} mutants: {len(mutants) - left} noticed, {left} not")
    return min(left, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or alive()))
