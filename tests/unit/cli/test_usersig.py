import io
import pathlib
import sys
import time

import pytest
import TLSSigAPIv2

from chatmark.__main__ import main
from chatmark.usersig import make_usersig, read_usersig, verify_usersig

KEY = "a-key-that-is-none"


@pytest.fixture(autouse=True)
def environment(blank_environment: pytest.MonkeyPatch) -> None:
    """
    Set the credentials of an application.
    """
    blank_environment.setenv("CHATMARK_SDKAPPID", "1400000001")
    blank_environment.setenv("CHATMARK_SECRET_KEY", KEY)


class TestMake:
    def test_prints_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        """
        A UserSig of the environment's key is printed, and nothing else.
        """
        status = main(["usersig", "--expire", "600", "--identifier", "admin"])
        made = capsys.readouterr().out.strip()
        content = read_usersig(made)

        assert 0 == status
        assert (1400000001, "admin", 600) == (content.sdkappid, content.identifier, content.expire)
        assert verify_usersig(made, KEY)

    def test_needs_a_key(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        A UserSig cannot be made from another.
        """
        monkeypatch.delenv("CHATMARK_SECRET_KEY")
        monkeypatch.setenv("CHATMARK_USERSIG", "x")

        assert 2 == main(["usersig"])
        assert "a UserSig is made from a secret key" in capsys.readouterr().err

    def test_expire(self, capsys: pytest.CaptureFixture[str]) -> None:
        """
        A UserSig holds for a second at least.
        """
        assert 2 == main(["usersig", "--expire", "0"])
        assert "--expire" in capsys.readouterr().err


class TestRead:
    def test_genuine(self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
        """
        What is inside is told without the UserSig itself, of the vendor's own making too.
        """
        made = TLSSigAPIv2.TLSSigAPIv2(1400000001, KEY).gen_sig("admin", 86_400 * 3)
        path = tmp_path / "sig"
        path.write_text(f"{made}\n")
        status = main(["usersig", "--read", str(path)])
        out = capsys.readouterr().out

        assert 0 == status
        assert "application  1400000001\nidentifier   admin\n" in out
        assert "UTC, in 3 days\n" in out
        assert "made with this secret key" in out
        assert made not in out

    def test_expired(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        One that has expired, read from standard input, is told as that.
        """
        made = make_usersig(1, "admin", KEY, now=time.time() - 10_000, expire=2_800)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(made.encode())))
        status = main(["usersig", "--read", "-"])

        assert 1 == status
        assert "EXPIRED 2 hours ago" in capsys.readouterr().out

    def test_another_key(
        self,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        One of another key is told as that, and without a key nothing is claimed.
        """
        path = tmp_path / "sig"
        path.write_text(make_usersig(1, "admin", "another", now=time.time()))
        statuses = [main(["usersig", "--read", str(path)])]
        monkeypatch.delenv("CHATMARK_SECRET_KEY")
        statuses.append(main(["usersig", "--read", str(path)]))
        out = capsys.readouterr().out

        assert [1, 0] == statuses
        assert "made with ANOTHER secret key" in out
        assert "not checked: no secret key is given" in out

    @pytest.mark.parametrize("content", [b"", b"junk", b"\xff\xfe", b"eJw*"])
    def test_junk(
        self, content: bytes, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        What is not a UserSig is wrong input, and is not repeated.
        """
        path = tmp_path / "sig"
        path.write_bytes(content)
        status = main(["usersig", "--read", str(path)])

        assert 2 == status
        assert "error: usersig: is not a UserSig\n" == capsys.readouterr().err

    def test_missing(self, capsys: pytest.CaptureFixture[str]) -> None:
        """
        A file that is not there is named.
        """
        assert 2 == main(["usersig", "--read", "/nowhere"])
        assert "/nowhere: No such file" in capsys.readouterr().err
