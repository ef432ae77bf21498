"""
The benchmarks run; no test says how fast anything is.
"""

import json
import pathlib
import subprocess
import sys

import pytest

from benchmarks import profiling

ROOT = pathlib.Path(__file__).parents[1]

GROUPS = {
    "throughput",
    "peers",
    "calls",
    "ceiling",
    "latency",
    "memory",
    "growth",
    "start",
    "flags",
}


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the benchmarks in a process of their own: they keep to one core."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


class TestBenchmarks:
    """The benchmarks run; how fast anything is, no test says."""

    def test_quick(self, tmp_path: pathlib.Path) -> None:
        """
        All groups run and find figures; what counts and does not depend on time comes out right.
        """
        path = tmp_path / "figures.json"
        done = run("--quick", "--json", str(path))

        assert done.returncode == 0, done.stderr
        figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
        assert {figure["group"] for figure in figures} == GROUPS
        skipped = {figure["name"]: figure["note"] for figure in figures if figure["value"] is None}
        assert skipped.keys() <= {
            "chatmark apply over raw aiohttp, from Parquet",
            "session over timsdk in threads",
        }
        sorted_rows = next(figure for figure in figures if "sorted by user" in figure["name"])
        assert (sorted_rows["value"], sorted_rows["met"]) == (1.0, True)
        for figure in figures:
            assert figure["name"] in done.stdout

    def test_one_group(self) -> None:
        """A group runs by itself."""
        done = run("--quick", "flags")

        assert done.returncode == 0, done.stderr
        assert "| flags " in done.stdout
        assert "| start " not in done.stdout

    def test_unknown_group(self) -> None:
        """A group that is not there is named."""
        done = run("speed")

        assert done.returncode == 2
        assert "no such group: speed" in done.stderr

    def test_plot(self, tmp_path: pathlib.Path) -> None:
        """The goals are drawn where matplotlib is installed."""
        pytest.importorskip("matplotlib", exc_type=ImportError)
        path = tmp_path / "figures.png"
        done = run("--quick", "start", "--plot", str(path))

        assert done.returncode == 0, done.stderr
        assert path.read_bytes().startswith(b"\x89PNG")


def test_profiled_functions() -> None:
    """The functions that are profiled by line are there."""
    names = [function.__name__ for function in profiling.hot_functions()]

    assert "admit_many" in names
