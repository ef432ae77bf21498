import re
from typing import Final

from paths import ROOT

PACKAGE: Final = ROOT / "chatmark"
PAGE: Final = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PATHS: Final = sorted(set(re.findall(r"`([a-z_/]+(?:\.py|\.lua|/))`", PAGE)))


class TestPage:
    def test_names_what_exists(self) -> None:
        """Each file and folder that the page names is there."""
        for path in PATHS:
            assert (PACKAGE / path).exists() or (ROOT / path).exists(), path

    def test_names_every_room(self) -> None:
        """No module or room at the top of the package is left out."""
        there = {
            f"{each.name}/" if each.is_dir() else each.name
            for each in PACKAGE.iterdir()
            if each.name.strip("_") == each.name and each.suffix in ("", ".py")
        }

        assert set() == {each for each in there if not each.startswith("__")} - set(PATHS)

    def test_names_identifiers(self) -> None:
        """The names that a contributor is sent to are in the files that the page says."""
        for name, path in {
            "MarkedItem": "wire/messages.py",
            "wire_name": "wire/messages.py",
            "read_marked": "wire/converter.py",
            "_READERS": "jobs/sources/files.py",
            "ROW_FORMATS": "jobs/sources/formats.py",
        }.items():
            assert f"`{name}`" in PAGE
            assert name in (PACKAGE / path).read_text(encoding="utf-8")
