"""
The public API as a file, so that a review sees each change of it.

    python tests/project/test_public_api.py      # writes tests/project/public_api.txt anew
"""

import enum
import importlib
import inspect
import pathlib
import re
import sys
import types
from collections.abc import Iterator
from typing import Any, Final

import pytest

FILE: Final = pathlib.Path(__file__).with_name("public_api.txt")
MODULES: Final = (
    "chatmark",
    *(f"chatmark.{name}" for name in ("cattrs", "emulator", "jobs", "otel", "ray", "redis")),
    "chatmark.testing",
)
EXTRAS: Final = {"chatmark.otel": "opentelemetry", "chatmark.ray": "ray"}
# A name that begins so belongs to a module of its own.
LATER: Final = "|".join(f"{home.removeprefix('chatmark.')}\\b" for home in MODULES[1:])
# The printed forms of annotations differ between versions of Python.
VERSION: Final = (3, 11)


def names_of(module: types.ModuleType) -> list[str]:
    """Return the public names of a module: those it lists, or those it defines."""
    defined = (
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    )
    return sorted(getattr(module, "__all__", None) or defined)


def signature(function: Any) -> str:
    """Return the parameters and the result of a function or class."""
    try:
        return str(inspect.signature(function))
    except ValueError:
        return "(...)"


def members(kind: type) -> Iterator[str]:
    """Yield the public members of a class, without those of bases that have lines of their own."""
    for name, value in inspect.getmembers_static(kind):
        home = next((each for each in kind.__mro__ if name in vars(each)), object)
        is_own = home is kind or home.__module__ not in MODULES
        if name.startswith("_") or not is_own or not home.__module__.startswith("chatmark"):
            continue
        if isinstance(value, property):
            yield f".{name}{signature(value.fget).removeprefix('(self)')} [property]"
        elif isinstance(value, classmethod | staticmethod):
            yield f".{name}{signature(value.__func__)} [{type(value).__name__}]"
        elif inspect.isfunction(value):
            is_async = inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value)
            yield f".{name}{signature(value)}{' [async]' if is_async else ''}"
        elif not isinstance(value, enum.Enum):
            yield f".{name}"


def describe(name: str, value: Any) -> Iterator[str]:
    """Yield the lines of a public name."""
    if not isinstance(value, type):
        yield f"{name}{signature(value)}" if inspect.isfunction(value) else f"{name} = {value!s}"
        return
    bases = ", ".join(base.__name__ for base in value.__bases__)
    if issubclass(value, enum.Enum):
        yield f"{name}({bases}): {', '.join(value.__members__)}"
    else:
        yield f"{name}({bases})"
        yield f"{name}{signature(value)}"
    yield from (name + line for line in members(value))


def lines_of(home: str) -> Iterator[str]:
    """Yield the lines of a module, without addresses."""
    module = importlib.import_module(home)
    for name in names_of(module):
        for line in describe(f"{home}.{name}", getattr(module, name)):
            yield re.sub(r" at 0x[0-9a-f]+", "", line)


@pytest.mark.skipif(sys.version_info[:2] != VERSION, reason="the file is of Python 3.11")
@pytest.mark.parametrize("home", MODULES)
def test_is_in_the_file(home: str) -> None:
    """Each public name stands in the file with its signature; write it anew with one command."""
    if home in EXTRAS:
        pytest.importorskip(EXTRAS[home])
    written = FILE.read_text("utf-8").splitlines()

    assert list(lines_of(home)) == [
        line for line in written if re.match(rf"{re.escape(home)}\.(?!{LATER})", line)
    ]


if __name__ == "__main__":
    FILE.write_text("".join(f"{line}\n" for home in MODULES for line in lines_of(home)), "utf-8")
