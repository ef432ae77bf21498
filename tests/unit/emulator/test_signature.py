import base64
import json
import zlib
from collections.abc import Iterator
from unittest import mock

import pytest
from TLSSigAPIv2 import TLSSigAPIv2

from chatmark.emulator.handler import QueryCheck
from chatmark.emulator.settings import Settings
from chatmark.emulator.wire import Refusal

SDKAPPID = 1400000001
KEY = "example-secret-not-real"
NOW = 1700000000


@pytest.fixture(autouse=True)
def signing_clock() -> Iterator[None]:
    """Stop the clock that the signing package reads by itself."""
    with mock.patch("TLSSigAPIv2.time.time", return_value=NOW):
        yield


def sign(identifier: str = "administrator", *, sdkappid: int = SDKAPPID, key: str = KEY) -> str:
    """Make a UserSig with the vendor's package."""
    signature: str = TLSSigAPIv2(sdkappid, key).gen_sig(identifier, 86400)
    return signature


def pack(content: bytes) -> str:
    """Pack the content of a UserSig."""
    text = base64.b64encode(zlib.compress(content)).decode()
    return text.translate(str.maketrans("+/=", "*-_"))


def unpack(usersig: str) -> dict[str, object]:
    """Return the content of a UserSig."""
    packed = base64.b64decode(usersig.translate(str.maketrans("*-_", "+/=")))
    content: dict[str, object] = json.loads(zlib.decompress(packed))
    return content


def query(**changes: str | None) -> dict[str, str]:
    """Make a query in order, with changes; None leaves a parameter out."""
    whole = {
        "sdkappid": str(SDKAPPID),
        "identifier": "administrator",
        "usersig": sign(),
        "random": "99999999",
        "contenttype": "json",
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def admit(changed: dict[str, str], now: float = NOW) -> int:
    """Let a query in at the time *now*."""
    query_check = QueryCheck(
        Settings(sdkappid=SDKAPPID, secret_key=KEY, admins=["administrator"], clock=lambda: now)
    )
    return query_check.admit(changed.items())


def code(changed: dict[str, str], now: float = NOW) -> int:
    """Return the code with which a query is refused."""
    with pytest.raises(Refusal) as caught:
        admit(changed, now)
    return caught.value.code


class TestQuery:
    def test_returns_random(self) -> None:
        """A query in order gives its random number."""
        assert admit(query()) == 99999999

    @pytest.mark.parametrize("random", ["0", "4294967295"])
    def test_bounds_of_random(self, random: str) -> None:
        """Any unsigned 32-bit integer is valid."""
        assert int(random) == admit(query(random=random))

    @pytest.mark.parametrize("random", ["4294967296", "-1", "", "1.5", "abc", "007", "٣"])
    def test_wrong_random(self, random: str) -> None:
        """Anything else gives 60025."""
        assert code(query(random=random)) == 60025

    @pytest.mark.parametrize("sdkappid", [None, ""])
    def test_missing_sdkappid(self, sdkappid: str | None) -> None:
        """A missing sdkappid gives 60012."""
        assert code(query(sdkappid=sdkappid)) == 60012

    @pytest.mark.parametrize("sdkappid", ["1400000002", "abc"])
    def test_unknown_sdkappid(self, sdkappid: str) -> None:
        """Another sdkappid gives 60006."""
        assert code(query(sdkappid=sdkappid)) == 60006

    @pytest.mark.parametrize("name", ["identifier", "usersig", "random", "contenttype"])
    def test_missing_parameter(self, name: str) -> None:
        """A missing parameter gives 60025."""
        assert code(query(**{name: None})) == 60025

    def test_unknown_parameter(self) -> None:
        """An unknown parameter is noted, and not refused."""
        notes: list[str] = []
        QueryCheck(Settings(clock=lambda: NOW)).admit(query(ver="4\n").items(), notes.append)

        assert notes == ["unknown query parameter 'ver'"]

    def test_repeated_parameter(self) -> None:
        """A parameter twice gives 60025."""
        query_check = QueryCheck(
            Settings(sdkappid=SDKAPPID, secret_key=KEY, admins=["administrator"])
        )
        with pytest.raises(Refusal) as caught:
            query_check.admit([*query().items(), ("random", "1")])

        assert caught.value.code == 60025

    def test_empty_identifier(self) -> None:
        """An empty identifier gives 60025."""
        assert code(query(identifier="")) == 60025

    def test_wrong_contenttype(self) -> None:
        """A content type other than json gives 60025."""
        assert code(query(contenttype="xml")) == 60025


class TestUserSig:
    def test_known_vector(self) -> None:
        """The signature agreed on by three implementations is accepted."""
        content = {
            "TLS.ver": "2.0",
            "TLS.identifier": "administrator",
            "TLS.sdkappid": SDKAPPID,
            "TLS.expire": 86400,
            "TLS.time": NOW,
            "TLS.sig": "QLScehXpeCwAqD1ckWrhl9QPXEk427tfOL6+ujYB/Qc=",
        }
        usersig = pack(json.dumps(content).encode())

        assert admit(query(usersig=usersig)) == 99999999

    def test_with_userbuf(self) -> None:
        """A signature over a userbuf is accepted."""
        usersig = TLSSigAPIv2(SDKAPPID, KEY).gen_sig_with_userbuf("administrator", 86400, b"abc")

        assert admit(query(usersig=usersig)) == 99999999

    def test_valid_to_the_last_second(self) -> None:
        """A signature is valid up to and including the second of its expiry."""
        assert admit(query(), now=NOW + 86400) == 99999999

    def test_expired(self) -> None:
        """After that second it gives 70001."""
        assert code(query(), now=NOW + 86401) == 70001

    def test_expires_though_known(self) -> None:
        """A signature that was accepted before expires all the same."""
        now = [float(NOW)]
        query_check = QueryCheck(
            Settings(
                sdkappid=SDKAPPID, secret_key=KEY, admins=["administrator"], clock=lambda: now[0]
            )
        )
        query_check.admit(query().items())
        now[0] += 86401
        with pytest.raises(Refusal) as caught:
            query_check.admit(query().items())

        assert caught.value.code == 70001

    def test_empty(self) -> None:
        """An empty signature gives 70002."""
        assert code(query(usersig="")) == 70002

    @pytest.mark.parametrize(
        "usersig",
        [
            "x",
            "not a signature",
            pack(b"no json"),
            pack(b"[]"),
            pack(b"{}"),
            pack(b"\xff"),
            pack(b" " * 10_000_000),
            sign()[:-8],
            "eJw+",
        ],
    )
    def test_malformed(self, usersig: str) -> None:
        """A signature that cannot be unpacked gives 70003."""
        assert code(query(usersig=usersig)) == 70003

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("TLS.ver", "1.0"),
            ("TLS.identifier", 5),
            ("TLS.sdkappid", "1400000001"),
            ("TLS.time", True),
            ("TLS.expire", 1.5),
            ("TLS.userbuf", 1),
            ("TLS.identifier", "\ud800"),
        ],
    )
    def test_malformed_content(self, name: str, value: object) -> None:
        """A signature whose content has wrong types gives 70003."""
        usersig = pack(json.dumps(unpack(sign()) | {name: value}).encode())

        assert code(query(usersig=usersig)) == 70003

    def test_standard_base64(self) -> None:
        """A signature that was not made safe for URLs gives 70003."""
        usersig = sign().translate(str.maketrans("*-_", "+/="))

        assert code(query(usersig=usersig)) == 70003

    def test_other_key(self) -> None:
        """A signature by another key gives 70009."""
        assert code(query(usersig=sign(key="another-example"))) == 70009

    @pytest.mark.parametrize("value", [None, "x", "ü"])
    def test_tampered(self, value: object) -> None:
        """A signature with a wrong HMAC gives 70009."""
        usersig = pack(json.dumps(unpack(sign()) | {"TLS.sig": value}).encode())

        assert code(query(usersig=usersig)) == 70009

    def test_prolonged(self) -> None:
        """A signature whose expiry was edited gives 70009."""
        usersig = pack(json.dumps(unpack(sign()) | {"TLS.expire": 10**9}).encode())

        assert code(query(usersig=usersig)) == 70009

    def test_other_identifier(self) -> None:
        """A signature for another identifier gives 70013."""
        assert code(query(usersig=sign("carol"))) == 70013

    def test_other_sdkappid(self) -> None:
        """A signature for another application gives 70014."""
        assert code(query(usersig=sign(sdkappid=1400000002))) == 70014

    def test_no_admin(self) -> None:
        """A genuine signature of a user who is not an admin gives 60010."""
        assert code(query(identifier="carol", usersig=sign("carol"))) == 60010

    def test_many_signatures(self) -> None:
        """The emulator keeps only some signatures and checks the others anew."""
        query_check = QueryCheck(
            Settings(sdkappid=SDKAPPID, secret_key=KEY, admins=["administrator"], clock=lambda: NOW)
        )
        signer = TLSSigAPIv2(SDKAPPID, KEY)
        for lasts in range(1, 200):
            query_check.admit(query(usersig=signer.gen_sig("administrator", lasts)).items())

        assert query_check.verify.cache_info().currsize <= 64
