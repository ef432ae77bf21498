import json
import pathlib
import time

import pytest
import TLSSigAPIv2
from cli_run import Run

from chatmark.usersig import make_usersig, read_usersig, verify_usersig

KEY = "a-key-that-is-none"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the credentials of an application."""
    monkeypatch.setenv("CHATMARK_SDKAPPID", "1400000001")
    monkeypatch.setenv("CHATMARK_SECRET_KEY", KEY)


def test_made(run: Run) -> None:
    """A UserSig of the environment's key is printed, and nothing else."""
    status, out, _ = run("usersig --expire 600 --identifier admin")
    content = read_usersig(out.strip())

    assert 0 == status
    assert (1400000001, "admin", 600) == (content.sdkappid, content.identifier, content.expire)
    assert verify_usersig(out.strip(), KEY)


def test_read(run: Run) -> None:
    """The content is printed without the UserSig itself, also for the vendor's library."""
    made = TLSSigAPIv2.TLSSigAPIv2(1400000001, KEY).gen_sig("admin", 86_400 * 3)
    pathlib.Path("sig").write_text(f"{made}\n")
    status, out, _ = run("usersig --read sig")

    assert 0 == status
    assert "application  1400000001\nidentifier   admin\n" in out
    assert " UTC\n" in out
    assert "made with this secret key" in out
    assert made not in out


def test_bad(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expired UserSig or one of another key is told; without a key none is checked."""
    old = make_usersig(1, "admin", KEY, now=time.time() - 10_000, expire=2_800).encode()
    foreign = make_usersig(1, "admin", "another", now=time.time()).encode()
    expired, other = run("usersig --read -", old), run("usersig --read -", foreign)
    document = json.loads(run("usersig --read - --json", old).out)
    monkeypatch.delenv("CHATMARK_SECRET_KEY")
    unknown = run("usersig --read -", foreign)

    assert (1, True) == (expired.status, "UTC, EXPIRED" in expired.out)
    assert document["seconds_left"] < 0
    assert (1, True) == (other.status, "made with ANOTHER secret key" in other.out)
    assert (0, True) == (unknown.status, "not checked: no secret key is given" in unknown.out)


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff\xfe", b"eJw*"])
def test_junk(content: bytes, run: Run) -> None:
    """Text that is not a UserSig is wrong input, and is not repeated."""
    status, _, err = run("usersig --read -", content)

    assert (2, "error: usersig: is not a UserSig\n") == (status, err)


def test_wrong(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lifetime is 1 s at least, a file must be there, and a UserSig needs a key."""
    monkeypatch.setenv("CHATMARK_USERSIG", "x")
    lines = ["usersig --expire 0", "usersig --read /nowhere"]
    ended = [run(line) for line in lines]
    monkeypatch.delenv("CHATMARK_SECRET_KEY")
    ended.append(run("usersig"))

    assert [2, 2, 2] == [each.status for each in ended]
    assert "--expire" in ended[0].err
    assert "/nowhere: No such file" in ended[1].err
    assert "a UserSig needs CHATMARK_SECRET_KEY" in ended[2].err
