import io
import pathlib
import sys
import time

import pytest
import TLSSigAPIv2
from cli_run import Run

from chatmark.__main__ import main
from chatmark.usersig import make_usersig, read_usersig, verify_usersig

KEY = "a-key-that-is-none"


@pytest.fixture(autouse=True)
def environment(blank_environment: pytest.MonkeyPatch) -> None:
    """Set the credentials of an application."""
    blank_environment.setenv("CHATMARK_SDKAPPID", "1400000001")
    blank_environment.setenv("CHATMARK_SECRET_KEY", KEY)


class TestMake:
    def test_prints_it(self, run: Run) -> None:
        """A UserSig of the environment's key is printed, and nothing else."""
        status, out, _ = run(["usersig", "--expire", "600", "--identifier", "admin"])
        made = out.strip()
        content = read_usersig(made)

        assert 0 == status
        assert (1400000001, "admin", 600) == (content.sdkappid, content.identifier, content.expire)
        assert verify_usersig(made, KEY)

    def test_needs_a_key(self, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        """A UserSig cannot be made from another UserSig."""
        monkeypatch.delenv("CHATMARK_SECRET_KEY")
        monkeypatch.setenv("CHATMARK_USERSIG", "x")

        status, _, err = run(["usersig"])

        assert 2 == status
        assert "a UserSig needs CHATMARK_SECRET_KEY" in err

    def test_expire(self, run: Run) -> None:
        """The lifetime of a UserSig is 1 s at least."""
        status, _, err = run(["usersig", "--expire", "0"])

        assert 2 == status
        assert "--expire" in err


class TestRead:
    def test_genuine(self, tmp_path: pathlib.Path, run: Run) -> None:
        """The content is printed without the UserSig itself, also for the vendor's library."""
        made = TLSSigAPIv2.TLSSigAPIv2(1400000001, KEY).gen_sig("admin", 86_400 * 3)
        path = tmp_path / "sig"
        path.write_text(f"{made}\n")
        status, out, _ = run(["usersig", "--read", str(path)])

        assert 0 == status
        assert "application  1400000001\nidentifier   admin\n" in out
        assert " UTC\n" in out
        assert "made with this secret key" in out
        assert made not in out

    def test_expired(self, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        """An expired UserSig from standard input is reported."""
        made = make_usersig(1, "admin", KEY, now=time.time() - 10_000, expire=2_800)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(made.encode())))
        status, out, _ = run(["usersig", "--read", "-"])

        assert 1 == status
        assert "UTC, EXPIRED" in out

    def test_another_key(
        self,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """A UserSig of another key is reported; without a key the signature is not checked."""
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
    def test_junk(self, content: bytes, tmp_path: pathlib.Path, run: Run) -> None:
        """Text that is not a UserSig is wrong input, and is not repeated."""
        path = tmp_path / "sig"
        path.write_bytes(content)
        status, _, err = run(["usersig", "--read", str(path)])

        assert 2 == status
        assert "error: usersig: is not a UserSig\n" == err

    def test_missing(self, run: Run) -> None:
        """The error names a missing file."""
        status, _, err = run(["usersig", "--read", "/nowhere"])

        assert 2 == status
        assert "/nowhere: No such file" in err
