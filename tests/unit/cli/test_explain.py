import json

import pytest
from cli_run import Run


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "50001",
            [
                *("code 50001: the user account is not imported", "Import the account"),
                *("not sent again", "https://www.tencentcloud.com/document/product/1047/53438"),
            ],
        ),
        ("70050", ["60 s at least"]),
        ("99999", ["code 99999: a code that no vendor page lists"]),
        ("51011", ["32 or 64 bytes"]),
        *(
            (word, [": favorite, hidden, reserved_4, reserved_5\n", "[0, 3, 4, 5]"])
            for word in ("111001", "0b111001", "0x39", "000111001")
        ),
        (
            "'favorite|vip' --names vip=33",
            [
                *("bit 0   favorite        one of Chat's four", "[0, 33]"),
                "bit 33  vip             an extension bit: yours",
                f'"1{"0" * 32}1" (0x200000001)',
            ],
        ),
        ("10", ["bit string 10: unread\n", "bit number 10: reserved_10\n"]),
        ("0", ["code 0: success\n", "bit string 0: no mark\n", "bit number 0: favorite\n"]),
    ],
)
def test_readings(line: str, said: list[str], run: Run) -> None:
    """All meanings of a code, a bit string or a mark are printed, and no others."""
    status, out, _ = run(f"explain {line}")
    titles = [each for each in out.splitlines() if each and not each.startswith(" ")]

    assert 0 == status
    assert [] == [text for text in said if text not in out]
    assert len(titles) == {"10": 2, "0": 3}.get(line, 1)


def test_all(run: Run) -> None:
    """All codes are listed, as a table or as JSON."""
    table, document = run("explain --all"), run("explain --all --json")

    assert (0, 0) == (table.status, document.status)
    assert len(json.loads(document.out)["readings"]) == len(table.out.splitlines()) - 1 > 50


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("favorit", "did you mean 'favorite'?"),
        ("", "give one of CODE|BITS|MARK and --all"),
        ("0 --all", "give one of CODE|BITS|MARK and --all"),
        ("1" * 65, "no code, bit string or mark"),
        ("0x1ffffffffffffffff", "no code, bit string or mark"),
        ("9" * 5_000, "no code, bit string or mark"),
    ],
)
def test_nonsense(line: str, message: str, run: Run) -> None:
    """A word without a meaning is wrong input."""
    status, _, err = run(f"explain {line}")

    assert (2, True) == (status, message in err)
