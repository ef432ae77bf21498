import base64
import itertools
import json
import zlib
from collections.abc import Iterator
from unittest import mock

import pytest
from TLSSigAPIv2 import TLSSigAPIv2

from chatmark.emulator import Settings
from chatmark.emulator.handler import check_query, verify
from chatmark.emulator.wire import Refusal

SDKAPPID = 1400000001
KEY = "example-secret-not-real"
NOW = 1700000000
TO_URL = str.maketrans("+/=", "*-_")
FROM_URL = str.maketrans("*-_", "+/=")


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
    return base64.b64encode(zlib.compress(content)).decode().translate(TO_URL)


def edited(name: str, value: object) -> str:
    """Return a UserSig with another value in its content."""
    content: dict[str, object] = json.loads(
        zlib.decompress(base64.b64decode(sign().translate(FROM_URL)))
    )
    return pack(json.dumps(content | {name: value}).encode())


def query(**changes: str | None) -> list[tuple[str, str]]:
    """Make a query in order, with changes; None leaves a parameter out."""
    whole = {
        "sdkappid": str(SDKAPPID),
        "identifier": "administrator",
        "usersig": sign(),
        "random": "99999999",
        "contenttype": "json",
        **changes,
    }
    return [(name, value) for name, value in whole.items() if value is not None]


def code(changed: list[tuple[str, str]], now: float = NOW) -> int:
    """Return the code with which a query is refused, or 0."""
    verify.cache_clear()
    try:
        check_query(changed, Settings(sdkappid=SDKAPPID, secret_key=KEY, clock=lambda: now))
    except Refusal as refusal:
        return refusal.code
    return 0


class TestQuery:
    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            *[("random", value, 0) for value in ("0", "4294967295")],
            *[
                ("random", value, 60025)
                for value in ("4294967296", "-1", "", "1.5", "abc", "007", "٣")
            ],
            *[("sdkappid", value, 60012) for value in (None, "")],
            *[("sdkappid", value, 60006) for value in ("1400000002", "abc")],
            *[(name, None, 60025) for name in ("identifier", "usersig", "random", "contenttype")],
            ("identifier", "", 60025),
            ("contenttype", "xml", 60025),
            ("usersig", "", 70002),
        ],
    )
    def test_codes(self, name: str, value: str | None, expected: int) -> None:
        """Each parameter must be there and right; a random number has 32 bits."""
        assert code(query(**{name: value})) == expected

    def test_returns_random(self) -> None:
        """The random number is returned, and an unknown parameter noted."""
        notes: list[str] = []
        settings = Settings(clock=lambda: NOW)

        assert check_query(query(ver="4\n"), settings, notes.append) == 99999999
        assert notes == ["unknown query parameter 'ver'"]

    def test_repeated_parameter(self) -> None:
        """A parameter twice gives 60025."""
        assert code([*query(), ("random", "1")]) == 60025


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

        assert code(query(usersig=pack(json.dumps(content).encode()))) == 0

    def test_with_userbuf(self) -> None:
        """A signature over a userbuf is accepted."""
        usersig = TLSSigAPIv2(SDKAPPID, KEY).gen_sig_with_userbuf("administrator", 86400, b"abc")

        assert code(query(usersig=usersig)) == 0

    def test_expires(self) -> None:
        """A signature is valid up to the second of its expiry, also if it was accepted before."""
        now = [NOW + 86400.0]
        settings = Settings(sdkappid=SDKAPPID, secret_key=KEY, clock=lambda: now[0])
        check_query(query(), settings)
        now[0] += 1
        with pytest.raises(Refusal) as caught:
            check_query(query(), settings)

        assert caught.value.code == 70001

    @pytest.mark.parametrize(
        "usersig",
        [
            *["x", "not a signature", "eJw+", sign()[:-8]],
            *[pack(content) for content in (b"no json", b"[]", b"{}", b"\xff", b" " * 10_000_000)],
            edited("TLS.ver", "1.0"),
            edited("TLS.identifier", 5),
            edited("TLS.identifier", "\ud800"),
            edited("TLS.sdkappid", "1400000001"),
            edited("TLS.time", True),
            edited("TLS.expire", 1.5),
            edited("TLS.userbuf", 1),
            # Not made safe for URLs.
            sign().translate(FROM_URL),
        ],
        # Signatures differ from second to second, and workers must agree on the names of tests.
        ids=map(str, itertools.count()),
    )
    def test_malformed(self, usersig: str) -> None:
        """A signature that cannot be unpacked, or has wrong types, gives 70003."""
        assert code(query(usersig=usersig)) == 70003

    def test_forged(self) -> None:
        """A signature by another key, with another HMAC or with an edited expiry gives 70009."""
        forged = [sign(key="another-example"), edited("TLS.expire", 10**9)]
        forged += [edited("TLS.sig", value) for value in (None, "x", "ü")]

        assert [code(query(usersig=usersig)) for usersig in forged] == [70009] * 5

    def test_of_others(self) -> None:
        """A genuine signature is for one identifier, an admin, and for one application."""
        others = [
            query(usersig=sign("carol")),
            query(usersig=sign(sdkappid=1400000002)),
            query(identifier="carol", usersig=sign("carol")),
        ]

        assert [code(each) for each in others] == [70013, 70014, 60010]

    def test_many_signatures(self) -> None:
        """The emulator keeps only some signatures and checks the others anew."""
        signer = TLSSigAPIv2(SDKAPPID, KEY)
        for lasts in range(1, 200):
            usersig = signer.gen_sig("administrator", lasts)
            check_query(query(usersig=usersig), Settings(clock=lambda: NOW))

        assert verify.cache_info().currsize <= 64
