"""Which module imports which: read from the source, and held against the rooms below."""

import ast
import enum
import graphlib
import importlib
import inspect
import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import pytest

import chatmark
import chatmark.jobs
from chatmark.errors import ChatmarkError

# The words of a user: one concept a file at the top of the package.
VOCABULARY = (
    *("lazy", "limits", "errors", "marks", "conversations", "changes", "codes"),
    *("failures", "results", "events", "regions", "usersig", "credentials"),
)
# From the bottom up: a room may import the rooms before it. Core and pacing do not know each other.
ROOMS = (
    *("vocabulary", "wire", "core", "pacing", "http", "session"),
    *("redis", "otel", "__init__", "jobs", "cattrs", "ray", "cli", "__main__"),
)
STRANGERS = {("core", "pacing"), ("pacing", "core"), ("http", "core")}
# These use what is public, the vocabulary, and nothing else of the rooms below but this.
USERS = {"jobs", "ray", "cli"}
KNOWN_TO_USERS = {
    "chatmark.core.concurrency",  # The bounds of requests in flight.
    "chatmark.pacing.window",  # The pace, for forecasts and the permits of a cluster.
    "chatmark.wire.converter",  # Rows in the vendor's own form.
}
# The other program, and the door to it.
BESIDE = ("emulator", "testing")
EMULATOR_KNOWS = {"marks"}
KNOW_EMULATOR = {"cli", "testing"}
# The rooms of a room, likewise from the bottom up.
INNER_ROOMS = {
    "pacing": ("window", "adaptive", "backoff", "budget", "shared", "__init__"),
    "jobs": (
        *("counting", "options", "databases", "sources", "output_files", "row_files"),
        *("grouping", "journal", "server", "sending", "reports"),
        *("forecast", "planning", "exporting", "running", "__init__"),
    ),
    "ray": (*("options", "input", "runtime", "checkpoint", "driver", "job", "__init__"),),
    "cli": (
        *("terminal", "endings", "options", "access", "reading", "summary", "sending"),
        *("commands", "app", "__init__"),
    ),
    "emulator": (
        *("settings", "wire", "state", "faults", "script", "calls"),
        *("commands", "handler", "web", "server", "__init__"),
    ),
}

# What decides holds no clock, no chance, no socket and no task.
PURE = ("vocabulary", "wire", "core", "pacing")
IMPURE = {"asyncio", "concurrent", "os", "random", "select", "socket", "ssl", "threading", "time"}
MAY = {
    ("chatmark.credentials", "os"),  # From the environment, and nothing else.
    ("chatmark.regions", "os"),
    ("chatmark.pacing.backoff", "random"),  # The type of what draws is injected.
    ("chatmark.pacing.budget", "asyncio"),
    ("chatmark.pacing.shared.store", "asyncio"),
}

# Whoever wants to swap a library has one place to look at; attrs is everywhere.
OWNERS = {
    "aiohttp": {"http", "emulator"},
    "attrs": {*ROOMS, *BESIDE},
    "backoff": {"pacing"},
    "backports": {"jobs"},
    "cattrs": {"wire", "cattrs"},
    "click": {"cli"},
    "compression": {"jobs"},
    "jinja2": {"jobs"},
    "msgspec": {"wire", "jobs", "emulator"},
    "opentelemetry": {"otel"},
    "pyarrow": {"jobs", "ray"},
    "pytest": {"testing"},
    "redis": {"pacing"},
    "ray": {"ray"},
    "rich": {"cli"},
    "yarl": {"http"},
}


class When(enum.Enum):
    """When an import takes place."""

    AT_ONCE = "when the module is loaded"
    LATER = "when a function runs"
    NEVER = "for annotations only"


@attrs.frozen
class Arrow:
    """One import."""

    source: str
    target: str
    when: When = When.AT_ONCE


def room(module: str) -> str:
    """
    Return the room of a module, or the library that it is of.

    >>> room("chatmark.cli.app"), room("chatmark.marks"), room("chatmark"), room("cattrs.gen")
    ('cli', 'vocabulary', '__init__', 'cattrs')
    """
    first, *rest = module.split(".")
    if first != "chatmark":
        return first
    name = rest[0] if rest else "__init__"
    return "vocabulary" if name in VOCABULARY else name


def inner_room(module: str) -> str:
    """
    Return the part of a room that a module of it is.

    >>> inner_room("chatmark.jobs.sources.csv_rows"), inner_room("chatmark.jobs")
    ('sources', '__init__')
    """
    return (*module.split("."), "__init__", "__init__")[2]


def is_own(module: str) -> bool:
    """Say whether a module is one of chatmark's."""
    return module.partition(".")[0] == "chatmark"


def read_arrows(module: str, source: str, modules: set[str]) -> Iterator[Arrow]:
    """Yield the imports of a module."""

    def visit(nodes: Iterable[ast.AST], when: When) -> Iterator[Arrow]:
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for target in _targets(node, modules):
                    yield Arrow(module, target, when)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                yield from visit(node.body, When.NEVER)
                yield from visit(node.orelse, when)
            else:
                later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                yield from visit(ast.iter_child_nodes(node), When.LATER if later else when)

    yield from visit([ast.parse(source)], When.AT_ONCE)


def _targets(node: ast.Import | ast.ImportFrom, modules: set[str]) -> Iterator[str]:
    for alias in node.names:
        if isinstance(node, ast.Import):
            yield alias.name
        else:
            assert node.level == 0, "a relative import hides where it goes"
            inner = f"{node.module}.{alias.name}"
            yield inner if inner in modules else _home(str(node.module), alias.name)


def _home(package: str, name: str) -> str:
    """Return the module that a name comes from, which a package may only pass on."""
    homes: dict[str, str] = getattr(sys.modules.get(package), "_HOMES", {})
    return homes.get(name, package)


def read_package() -> tuple[set[str], list[Arrow]]:
    """
    Return chatmark's modules and all their imports; the packages that pass names on have none.
    """
    root = pathlib.Path(inspect.getfile(chatmark)).parent
    files = {
        ".".join(("chatmark", *path.relative_to(root).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path
        for path in root.rglob("*.py")
    }
    modules = set(files)
    arrows = [
        arrow
        for module, path in sorted(files.items())
        for arrow in read_arrows(module, path.read_text("utf-8"), modules)
    ]
    return modules, arrows


def faults(arrows: Sequence[Arrow]) -> list[str]:
    """Return what is wrong with imports, a line each."""
    found = [
        f"{arrow.source} imports {arrow.target} {arrow.when.value}: {fault}"
        for arrow in arrows
        if (fault := _fault_inside(arrow) if is_own(arrow.target) else _fault_outside(arrow))
    ]
    return [*found, *_circles(arrows)]


def _fault_inside(arrow: Arrow) -> str | None:
    source, target = room(arrow.source), room(arrow.target)
    if source == target:
        return _fault_between(arrow, INNER_ROOMS.get(source, ()), inner_room)
    if source in BESIDE or target in BESIDE:
        return _fault_beside(arrow)
    if (source, target) in STRANGERS:
        return "the two do not know each other"
    if source in USERS and not (target in USERS or _is_public(arrow.target)):
        return "that is not public"
    return _fault_between(arrow, ROOMS, room)


def _is_public(module: str) -> bool:
    public = {"chatmark.redis", *chatmark._HOMES.values(), *KNOWN_TO_USERS}
    return room(module) in ("vocabulary", "__init__") or module in public


def _fault_between(arrow: Arrow, rooms: Sequence[str], name: Any) -> str | None:
    source, target = name(arrow.source), name(arrow.target)
    if not rooms or source == target:
        return None
    if source not in rooms or target not in rooms:
        return "it has no place in the rooms"
    return "upwards" if rooms.index(target) > rooms.index(source) else None


def _fault_beside(arrow: Arrow) -> str | None:
    source, target = room(arrow.source), room(arrow.target)
    if source == "emulator":
        is_known = arrow.target.removeprefix("chatmark.") in EMULATOR_KNOWS
        return None if is_known else "the emulator shares no code with the client"
    if target == "testing":
        return "that is for the tests of others"
    if target == "emulator" and source not in KNOW_EMULATOR:
        return "the emulator is another program"
    if source == "testing" and arrow.when is When.AT_ONCE:
        return "pytest loads the fixtures in every run"
    return None


def _fault_outside(arrow: Arrow) -> str | None:
    source, target = room(arrow.source), room(arrow.target)
    if target in sys.stdlib_module_names:
        if source in PURE and target in IMPURE and (arrow.source, target) not in MAY:
            return "what decides holds no socket, clock or task"
        return None
    if target not in OWNERS:
        return "no such library was chosen"
    if source not in OWNERS[target] and arrow.when is not When.NEVER:
        return "another room is the only one to import that"
    return None


def _circles(arrows: Sequence[Arrow]) -> list[str]:
    graph: dict[str, set[str]] = {}
    for arrow in arrows:
        if is_own(arrow.target):
            graph.setdefault(arrow.source, set()).add(arrow.target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [f"a circle: {' -> '.join(error.args[1])}"]
    return []


MODULES, ARROWS = read_package()


class TestLayers:
    """The arrows of import."""

    def test_arrows(self) -> None:
        """No import goes upwards, in a circle, or around the owner of a library."""
        assert [] == faults(ARROWS)

    def test_every_module_has_a_place(self) -> None:
        """Each module stands in one room, and each room's modules exist."""
        assert sorted([*ROOMS, *BESIDE]) == sorted(set(map(room, MODULES)))
        assert {f"chatmark.{each}" for each in VOCABULARY} <= MODULES

    def test_imports_were_read(self) -> None:
        """The reader sees what is known to be there."""
        assert Arrow("chatmark.wire.converter", "cattrs") in ARROWS
        assert Arrow("chatmark.session.session", "aiohttp", When.NEVER) in ARROWS
        assert Arrow("chatmark.testing", "chatmark.emulator", When.LATER) in ARROWS

    def test_owners_own(self) -> None:
        """A library that has an owner is used."""
        assert set(OWNERS) <= {room(arrow.target) for arrow in ARROWS}


class TestTheTest:
    """The test above can fail."""

    @pytest.mark.parametrize(
        ("source", "target", "when", "fault"),
        [
            ("chatmark.marks", "chatmark.wire.messages", When.NEVER, "upwards"),
            ("chatmark.session.session", "chatmark", When.AT_ONCE, "upwards"),
            ("chatmark.jobs.sources.a", "chatmark.jobs.grouping.b", When.NEVER, "upwards"),
            ("chatmark.jobs.new", "chatmark.jobs.sources.a", When.LATER, "no place"),
            ("chatmark.core.lane", "chatmark.pacing.window", When.NEVER, "do not know"),
            ("chatmark.cli.app", "chatmark.core.engine", When.AT_ONCE, "not public"),
            ("chatmark.emulator.state", "chatmark.codes", When.LATER, "shares no code"),
            ("chatmark.session.pump", "chatmark.emulator", When.LATER, "another program"),
            ("chatmark.jobs.sources.row", "chatmark.testing", When.LATER, "tests of others"),
            ("chatmark.testing", "chatmark", When.AT_ONCE, "in every run"),
            ("chatmark.changes", "cattrs.gen", When.AT_ONCE, "only one"),
            ("chatmark.session.session", "requests", When.AT_ONCE, "no such library"),
            ("chatmark.core.breaker", "time", When.LATER, "no socket, clock or task"),
        ],
    )
    def test_bad_arrow(self, source: str, target: str, when: When, fault: str) -> None:
        """An import that may not be is found."""
        (line,) = faults([Arrow(source, target, when)])

        assert f"{source} imports {target}" in line
        assert fault in line

    def test_circle(self) -> None:
        """A circle inside a room is found, even where an annotation closes it."""
        arrows = [
            Arrow("chatmark.jobs.sources.a", "chatmark.jobs.sources.b"),
            Arrow("chatmark.jobs.sources.b", "chatmark.jobs.sources.a", When.NEVER),
        ]
        (line,) = faults(arrows)

        assert line.startswith("a circle: chatmark.jobs.sources.")

    def test_reader(self) -> None:
        """Imports are read wherever they stand, with the time at which they take place."""
        source = textwrap.dedent(
            """
            import os.path, aiohttp as http
            from chatmark import marks, Region, new
            if TYPE_CHECKING:
                from chatmark.changes import MarkChange
            else:
                import json
            try:
                import click
            except ImportError:
                pass
            class A:
                import enum
                async def f(self):
                    from cattrs.gen import override
            """
        )

        assert [
            Arrow("chatmark.x", "os.path"),
            Arrow("chatmark.x", "aiohttp"),
            Arrow("chatmark.x", "chatmark.marks"),
            Arrow("chatmark.x", "chatmark.regions"),
            Arrow("chatmark.x", "chatmark"),
            Arrow("chatmark.x", "chatmark.changes", When.NEVER),
            Arrow("chatmark.x", "json"),
            Arrow("chatmark.x", "click"),
            Arrow("chatmark.x", "enum"),
            Arrow("chatmark.x", "cattrs.gen", When.LATER),
        ] == list(read_arrows("chatmark.x", source, {"chatmark.marks"}))


class TestPublicNames:
    """What `chatmark` offers."""

    def test_sorted(self) -> None:
        """`__all__` is sorted and has no name twice; `dir` lists each."""
        assert sorted(set(chatmark.__all__)) == chatmark.__all__
        assert set(chatmark.__all__) <= set(dir(chatmark))

    def test_documented(self) -> None:
        """Each class and function has a docstring of its own that begins with a sentence."""
        for name in chatmark.__all__:
            value: Any = getattr(chatmark, name)
            # Aliases have no docstring.
            if inspect.isroutine(value) or inspect.isclass(value):
                first = (vars(value).get("__doc__", value.__doc__) or "").strip()

                assert first.partition("\n\n")[0].endswith((".", ":")), name
                assert "chatmark" == value.__module__

    def test_complete(self) -> None:
        """Whatever public name the package has is listed."""
        for name in chatmark.__all__:
            getattr(chatmark, name)
        public = {
            name
            for name, value in vars(chatmark).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == "chatmark"
        }

        assert set() == public - set(chatmark.__all__)

    def test_all_errors(self) -> None:
        """Every error that can be raised can be imported."""
        names = {
            name
            for module in ("chatmark.errors", "chatmark.failures")
            for name, value in vars(importlib.import_module(module)).items()
            if inspect.isclass(value) and issubclass(value, ChatmarkError)
        }

        assert set() == names - set(chatmark.__all__)

    def test_unknown(self) -> None:
        """A name that is not there is an AttributeError."""
        with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
            chatmark.Nothing  # noqa: B018


class TestLoading:
    """What an import costs."""

    @pytest.mark.parametrize(
        ("statement", "heavy"),
        [
            ("import chatmark", "aiohttp asyncio backoff cattrs click pytest rich ssl yarl"),
            ("from chatmark import ConversationMark, MarkChange, RefusedError", "aiohttp cattrs"),
            (
                "import chatmark.testing",
                "aiohttp cattrs chatmark.emulator chatmark.session.session",
            ),
            ("import chatmark.emulator", "cattrs backoff click rich chatmark.wire"),
            (
                "import chatmark.session.session",
                "click rich pytest opentelemetry redis chatmark.emulator",
            ),
            ("import chatmark.__main__", "aiohttp asyncio cattrs rich"),
            ("import chatmark.jobs", "aiohttp asyncio cattrs rich sqlite3"),
            ("from chatmark.jobs import run", "aiohttp click jinja2 pyarrow rich"),
        ],
    )
    def test_light(self, statement: str, heavy: str) -> None:
        """An import loads nothing that it does not need."""
        script = f"import sys; {statement}; print(*set({heavy.split()!r}) & set(sys.modules))"
        loaded = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, check=True, text=True
        ).stdout

        assert [] == loaded.split()

    def test_when_needed(self) -> None:
        """The session is there as soon as somebody asks for it."""
        script = (
            "import sys, chatmark; chatmark.MarkSession; sys.exit('aiohttp' not in sys.modules)"
        )

        assert 0 == subprocess.run([sys.executable, "-c", script], check=False).returncode
