"""Names that a package offers and loads when they are first used (PEP 562)."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import FunctionType
from typing import Any, Final

# The public names of each module, with the package that offers them.
_PUBLIC: Final[dict[str, list[tuple[str, str]]]] = {}


def publish(module: str) -> None:
    """
    Let the public classes and functions of a module say the package that offers them.

    Tracebacks, pickles and documentation then show a name that can be imported.
    """
    for package, name in _PUBLIC.get(module, ()):
        value = getattr(sys.modules[module], name)
        if isinstance(value, type | FunctionType):
            value.__module__ = package


def lazily(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package that offers names of these modules."""
    names = vars(sys.modules[package])
    for name, home in homes.items():
        _PUBLIC.setdefault(home, []).append((package, name))

    def get(name: str) -> Any:
        if name == "__all__":
            return sorted(homes)
        if name in homes:
            value = names[name] = getattr(import_module(homes[name]), name)
            return value
        message = f"module {package!r} has no attribute {name!r}"
        raise AttributeError(message)

    return get, lambda: sorted({*names, *homes})
