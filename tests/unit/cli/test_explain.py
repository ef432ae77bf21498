import pytest
from cli_run import Run

from chatmark.__main__ import main


def explain(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what `chatmark explain` prints."""
    assert main(["explain", *arguments]) == 0
    return capsys.readouterr().out


class TestExplain:
    def test_code(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A code has a meaning, an advice, a handling and a page."""
        out = explain(capsys, "50001")

        assert "code 50001: the user account is not imported" in out
        assert "Import the account" in out
        assert "not sent again" in out
        assert "https://www.tencentcloud.com/document/product/1047/53438" in out

    def test_code_with_a_pause(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The pause of a code is printed."""
        assert "60 s at least" in explain(capsys, "70050")

    def test_unknown_code(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A code that no page lists is unknown."""
        assert "code 99999: a code that no vendor page lists" in explain(capsys, "99999")

    @pytest.mark.parametrize("word", ["111001", "0b111001", "0x39", "000111001"])
    def test_bits(self, word: str, capsys: pytest.CaptureFixture[str]) -> None:
        """A bit string or a value is printed bit by bit."""
        out = explain(capsys, word)

        assert ": favorite, hidden, reserved_4, reserved_5\n" in out
        assert "code" not in out
        assert "[0, 3, 4, 5]" in out

    def test_mark(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A mark has bits, owners and both forms of the wire."""
        out = explain(capsys, "favorite|vip", "--names", "vip=33")

        assert "bit 0   favorite        one of Chat's four" in out
        assert "bit 33  vip             an extension bit: yours" in out
        assert "[0, 33]" in out
        assert f'"1{"0" * 32}1" (0x200000001)' in out

    def test_every_reading(self, capsys: pytest.CaptureFixture[str]) -> None:
        """All meanings of a word are printed."""
        out = explain(capsys, "10")
        titles = [line for line in out.splitlines() if line and not line.startswith(" ")]

        assert ["bit string 10: unread", "bit number 10: reserved_10"] == titles

    def test_zero(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Zero is a code, a bit string and a bit."""
        out = explain(capsys, "0")

        assert "code 0: success" in out
        assert "bit string 0: no mark" in out
        assert "bit number 0: favorite" in out

    @pytest.mark.parametrize(
        ("word", "message"),
        [
            ("favorit", "did you mean 'favorite'?"),
            ("", "give one of CODE|BITS|MARK and --all"),
            ("1" * 65, "must have 64 characters at most, not 65"),
            ("0x1ffffffffffffffff", "no code, bit string or mark"),
        ],
    )
    def test_nonsense(self, word: str, message: str, run: Run) -> None:
        """A word without a meaning is wrong input."""
        status, _, err = run(["explain", word])

        assert 2 == status
        assert message in err


def test_a_name_that_is_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    """The vendor's pages name two limits for the names of conversation groups."""
    assert "32 or 64 bytes" in explain(capsys, "51011")
