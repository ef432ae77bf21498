import base64
import contextlib
import json
import zlib
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import field_of, json_documents, user_ids
from TLSSigAPIv2 import TLSSigAPIv2

from chatmark import InputError, UserSigContent, make_usersig, read_usersig
from chatmark.usersig import verify_usersig

# The sample of vectors/wire.json: the vendor publishes none of a fixed time.
SDKAPPID = 1400000001
KEY = "example-secret-not-real"
IDENTIFIER = "administrator"
TIME = 1700000000
EXPIRE = 86400
SIGNATURE = "QLScehXpeCwAqD1ckWrhl9QPXEk427tfOL6+ujYB/Qc="

GOOD: dict[str, object] = {
    "TLS.ver": "2.0",
    "TLS.identifier": IDENTIFIER,
    "TLS.sdkappid": SDKAPPID,
    "TLS.expire": EXPIRE,
    "TLS.time": TIME,
    "TLS.sig": SIGNATURE,
}


def pack(content: bytes) -> str:
    """Pack bytes as a UserSig is packed."""
    text = base64.b64encode(zlib.compress(content)).decode("ascii")
    return text.translate(str.maketrans("+/=", "*-_"))


def unpack(usersig: str) -> dict[str, object]:
    """Return the document inside a UserSig."""
    packed = base64.b64decode(usersig.translate(str.maketrans("*-_", "+/=")), validate=True)
    document: dict[str, object] = json.loads(zlib.decompress(packed))
    return document


def sign(**changes: Any) -> str:
    """Make the sample, with changes."""
    arguments = {"sdkappid": SDKAPPID, "identifier": IDENTIFIER, "secret_key": KEY, "now": TIME}
    return make_usersig(**{**arguments, **changes})


class TestMakeUsersig:
    def test_sample(self) -> None:
        """The sample's content and signature are made."""
        assert GOOD == unpack(sign())

    @given(
        sdkappid=st.integers(1, 2**31),
        identifier=user_ids | st.text(st.characters(exclude_categories=["Cs"]), max_size=16),
        key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        now=st.floats(0, 2**33),
        expire=st.integers(1, 2**31),
    )
    def test_as_the_vendors(
        self, sdkappid: int, identifier: str, key: str, now: float, expire: int
    ) -> None:
        """Content and signature are those that the vendor's package makes at the same time."""
        with mock.patch("TLSSigAPIv2.time.time", return_value=now):
            theirs = TLSSigAPIv2(sdkappid, key).gen_sig(identifier, expire)

        assert unpack(theirs) == unpack(
            make_usersig(sdkappid, identifier, key, now=now, expire=expire)
        )

    def test_goes_into_a_url(self) -> None:
        """It has no character that a query would have to quote."""
        assert set() == set(sign()) & set("+/=&?%# ")

    @pytest.mark.parametrize("expire", [0, -1])
    def test_expire(self, expire: int) -> None:
        """One that holds for no time is refused."""
        with pytest.raises(InputError) as caught:
            sign(expire=expire)

        assert "expire" == field_of(caught.value)

    @pytest.mark.parametrize("field", ["secret_key", "identifier"])
    def test_half_a_character(self, field: str) -> None:
        """Text that is no UTF-8 is refused without repeating it."""
        with pytest.raises(InputError) as caught:
            sign(**{field: f"{KEY}\udcff"})

        assert field == caught.value.field
        assert KEY not in str(caught.value)
        assert caught.value.__suppress_context__


class TestReadUsersig:
    def test_sample(self) -> None:
        """The sample's fields are read."""
        expected = UserSigContent(SDKAPPID, IDENTIFIER, TIME, EXPIRE, "2.0")

        assert expected == read_usersig(sign())
        assert TIME + EXPIRE == expected.expires_at

    def test_the_vendors(self) -> None:
        """One of the vendor's package is read, blanks around it and all."""
        with mock.patch("TLSSigAPIv2.time.time", return_value=TIME + 0.9):
            theirs = TLSSigAPIv2(SDKAPPID, KEY).gen_sig(IDENTIFIER, EXPIRE)

        assert read_usersig(sign()) == read_usersig(f" {theirs}\n")

    @given(garbage=st.text())
    @example(garbage="")
    @example(garbage="é")
    @example(garbage="\udcff")
    def test_garbage(self, garbage: str) -> None:
        """Text that is none is an error of input."""
        with pytest.raises(InputError) as caught:
            read_usersig(garbage)

        assert "usersig" == field_of(caught.value)

    @given(packed=st.binary() | json_documents.map(lambda document: json.dumps(document).encode()))
    @example(packed=b"[" * 60_000)
    @example(packed=json.dumps({**GOOD, "more": "x" * 10_000_000}).encode())
    def test_packed_garbage(self, packed: bytes) -> None:
        """
        Any bytes or JSON packed as a UserSig are an error of input.

        So are those that are nested too deep, and those that would unpack to much more.
        """
        with pytest.raises(InputError):
            read_usersig(pack(packed))

    @given(position=st.integers(0, 150), character=st.characters(max_codepoint=127))
    def test_damaged(self, position: int, character: str) -> None:
        """A damaged one is read or is an error of input."""
        usersig = sign()
        damaged = usersig[:position] + character + usersig[position + 1 :]
        with contextlib.suppress(InputError):
            assert isinstance(read_usersig(damaged), UserSigContent)

    @pytest.mark.parametrize("field", [name for name in GOOD if name != "TLS.sig"])
    def test_wrong_type(self, field: str) -> None:
        """A field that is missing or of the wrong type is an error of input."""
        document = {name: value for name, value in GOOD.items() if name != field}
        values: list[object] = [None, True, 1.5, [], {}, "\ud800"]
        for more in ({}, *({field: value} for value in values)):
            with pytest.raises(InputError):
                read_usersig(pack(json.dumps(document | more).encode()))

    @pytest.mark.parametrize("field", ["TLS.sdkappid", "TLS.time", "TLS.expire"])
    @pytest.mark.parametrize("value", ["1", -1, 2**63, 10**400], ids=lambda v: repr(v)[:20])
    def test_wrong_number(self, field: str, value: object) -> None:
        """A number that none of its readers could reckon with is an error of input."""
        with pytest.raises(InputError):
            read_usersig(pack(json.dumps({**GOOD, field: value}).encode()))

    @pytest.mark.parametrize("cut", [1, 4, 8, 40])
    def test_cut(self, cut: int) -> None:
        """One that was cut is an error of input, which does not repeat it."""
        damaged = sign()[:-cut]
        with pytest.raises(InputError) as caught:
            read_usersig(damaged)

        assert damaged[:8] not in str(caught.value)


class TestVerifyUsersig:
    @pytest.mark.parametrize(
        ("key", "genuine"), [(KEY, True), (f"{KEY}!", False), (KEY.upper(), False)]
    )
    def test_key(self, key: str, genuine: bool) -> None:
        """The signature holds for the key it was made with and for no other."""
        assert genuine == verify_usersig(sign(), key)

    @pytest.mark.parametrize("userbuf", [b"abc", b"\x00\xff" * 40])
    def test_with_userbuf(self, userbuf: bytes) -> None:
        """One that signs more beside it, as other products do, is read and checked as well."""
        theirs = TLSSigAPIv2(SDKAPPID, KEY).gen_sig_with_userbuf(IDENTIFIER, EXPIRE, userbuf)

        assert verify_usersig(theirs, KEY)
        assert not verify_usersig(theirs, KEY + "x")
        assert base64.b64encode(userbuf).decode() == read_usersig(theirs).userbuf

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("TLS.identifier", "eve"),
            ("TLS.sdkappid", 1),
            ("TLS.time", TIME + 1),
            ("TLS.expire", EXPIRE + 1),
            ("TLS.sig", ""),
            ("TLS.sig", None),
            ("TLS.sig", "é"),
            ("TLS.sig", "\ud800"),
        ],
        ids=repr,
    )
    def test_forged(self, field: str, value: object) -> None:
        """With any field changed it holds no more."""
        forged = pack(json.dumps({**GOOD, field: value}).encode())

        assert not verify_usersig(forged, KEY)

    def test_none(self) -> None:
        """What is not a UserSig is an error of input."""
        with pytest.raises(InputError):
            verify_usersig("garbage", KEY)
