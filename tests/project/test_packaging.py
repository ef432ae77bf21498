import importlib.metadata
import importlib.resources
import re
import tomllib
from typing import Final

from paths import ROOT

import chatmark

LOCK: Final = ROOT / ".ci" / "locked.txt"


def name_of(requirement: str) -> str:
    """Return the normal form of the name of a package."""
    return re.split(r"[^\w.-]", requirement)[0].replace("_", "-").replace(".", "-").lower()


class TestPackaging:
    """What is installed."""

    def test_version(self) -> None:
        """The package's version is that of its metadata."""
        assert importlib.metadata.version("chatmark") == chatmark.__version__

    def test_version_number(self) -> None:
        """The version is three numbers."""
        assert re.fullmatch(r"\d+\.\d+\.\d+", chatmark.__version__)

    def test_changelog(self) -> None:
        """The changelog begins with this version and the day of its release."""
        first = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)

        assert first is not None
        assert re.fullmatch(rf"{re.escape(chatmark.__version__)} \(20\d\d-\d\d-\d\d\)", first[1])

    def test_typed(self) -> None:
        """The package says that it has types."""
        assert importlib.resources.files(chatmark).joinpath("py.typed").is_file()

    def test_base(self) -> None:
        """The base needs the four named libraries, the URLs of one, the fast JSON, and no other."""
        needed = importlib.metadata.requires("chatmark") or []
        names = {re.split(r"[^\w.-]", each)[0] for each in needed if "extra ==" not in each}

        assert {"aiohttp", "attrs", "backoff", "cattrs", "msgspec", "yarl"} == names

    def test_entry_points(self) -> None:
        """The command and the fixtures are found by their entry points."""
        points = importlib.metadata.distribution("chatmark").entry_points
        found = {(point.group, point.value) for point in points}

        assert {
            ("console_scripts", "chatmark.__main__:main"),
            ("pytest11", "chatmark.testing"),
        } == (found)

    def test_entry_points_lead_somewhere(self) -> None:
        """What the entry points name can be loaded."""
        for point in importlib.metadata.distribution("chatmark").entry_points:
            assert point.load() is not None


class TestLock:
    """The versions that are known to work together."""

    def test_pins(self) -> None:
        """Each line is a version of a package, and no host of a registry."""
        lines = LOCK.read_text("utf-8").splitlines()
        pin = re.compile(r"[a-z0-9-]+==[\w.!]+( ; [\w.'<>= ()!*-]+)?")

        assert [] == [line for line in lines if not pin.fullmatch(line)]

    def test_is_whole(self) -> None:
        """Every package that the project declares for development is there."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
        groups = project["dependency-groups"]
        wanted = [
            *project["project"]["dependencies"],
            *project["project"]["optional-dependencies"]["cli"],
            *groups["package"],
        ]
        for entry in groups["dev"]:
            wanted += [each for each in groups[entry["include-group"]] if isinstance(each, str)]
        pinned = {name_of(line) for line in LOCK.read_text("utf-8").splitlines()}

        assert set(map(name_of, wanted)) <= pinned
