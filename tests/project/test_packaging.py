import importlib.metadata
import importlib.resources
import re

import chatmark


class TestPackaging:
    """What is installed."""

    def test_version(self) -> None:
        """The package's version is that of its metadata."""
        assert importlib.metadata.version("chatmark") == chatmark.__version__

    def test_version_number(self) -> None:
        """The version is three numbers."""
        assert re.fullmatch(r"\d+\.\d+\.\d+", chatmark.__version__)

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
