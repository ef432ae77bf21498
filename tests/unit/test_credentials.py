import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from strategies import field_of

from chatmark import Credentials, InputError
from chatmark.credentials import Secret

SECRET = "example-secret-not-real"


async def provide() -> str:
    """Return no UserSig worth the name."""
    return "sig"


def make(**fields: Any) -> Credentials:
    """Make credentials of an administrator."""
    return Credentials(**{"sdkappid": 1400000001, "identifier": "administrator", **fields})


holders = pytest.mark.parametrize(
    "holder",
    [Secret(SECRET), make(secret_key=SECRET), make(usersig=SECRET)],
    ids=["secret", "secret_key", "usersig"],
)


class TestWaysToSign:
    @pytest.mark.parametrize("secret_key", [None, SECRET])
    @pytest.mark.parametrize("usersig", [None, SECRET])
    @pytest.mark.parametrize("provider", [None, provide])
    def test_exactly_one(self, secret_key: Any, usersig: Any, provider: Any) -> None:
        """One way to sign is enough; none, or more than one, is refused."""
        ways = {"secret_key": secret_key, "usersig": usersig, "provider": provider}
        if len([each for each in ways.values() if each is not None]) == 1:
            assert "administrator" == make(**ways).identifier
        else:
            with pytest.raises(InputError, match="exactly one") as caught:
                make(**ways)

            assert "credentials" == caught.value.field

    @pytest.mark.parametrize("given", [SECRET, f" {SECRET}\n"], ids=repr)
    def test_stripped(self, given: str) -> None:
        """The blanks around a secret, as a file has them, are no part of it."""
        assert Secret(SECRET) == make(secret_key=given).secret_key


class TestRefused:
    @pytest.mark.parametrize(
        ("field", "values"),
        [
            ("sdkappid", (0, -1, True, "1400000001")),
            ("identifier", ("", "x" * 33, "é", None)),
            ("secret_key", ("", " \n", f"{SECRET}\udcff", f"{SECRET}\n{SECRET}")),
            ("usersig", (5, SECRET.encode())),
            ("provider", (SECRET,)),
        ],
    )
    def test_field(self, field: str, values: tuple[Any, ...]) -> None:
        """A wrong value is refused by its field; the secrets are the credentials."""
        is_secret = field in ("secret_key", "usersig")
        way = {} if is_secret or field == "provider" else {"secret_key": SECRET}
        for value in values:
            with pytest.raises(InputError) as caught:
                make(**way, **{field: value})

            assert ("credentials" if is_secret else field) == caught.value.field

    @pytest.mark.parametrize(
        "fields",
        [
            {"sdkappid": SECRET, "secret_key": SECRET},
            {"identifier": SECRET * 2, "secret_key": SECRET},
            {"identifier": f"{SECRET}é", "secret_key": SECRET},
            {"secret_key": f"{SECRET}\udcff"},
            {"usersig": SECRET.encode()},
            {"provider": SECRET},
        ],
        ids=lambda fields: "-".join(fields) + str(len(str(fields))),
    )
    def test_no_secret(self, fields: dict[str, Any]) -> None:
        """A refusal repeats nothing, for a secret may stand in the wrong place."""
        with pytest.raises(InputError) as caught:
            make(**fields)
        error = caught.value

        assert SECRET not in "".join(traceback.format_exception_only(error))
        assert SECRET not in repr(vars(error))
        assert error.__suppress_context__ or error.__context__ is None


class TestFromEnv:
    @pytest.mark.parametrize(
        ("environ", "fields"),
        [
            ({"SECRET_KEY": SECRET}, {"secret_key": SECRET}),
            ({"USERSIG": SECRET}, {"usersig": SECRET}),
            ({"USERSIG": SECRET, "IDENTIFIER": " me "}, {"usersig": SECRET, "identifier": "me"}),
            ({"SECRET_KEY": SECRET, "IDENTIFIER": "", "USERSIG": ""}, {"secret_key": SECRET}),
        ],
        ids=["secret key", "usersig", "identifier", "empty ones"],
    )
    def test_read(
        self, environ: dict[str, str], fields: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        The variables make the credentials; an empty one counts as none.

        Without a mapping the process's own environment is read.
        """
        given = {f"CHATMARK_{name}": value for name, value in environ.items()}
        given["CHATMARK_SDKAPPID"] = " 1400000001 "
        monkeypatch.setattr("os.environ", given)

        assert make(**fields) == Credentials.from_env(given) == Credentials.from_env()

    @pytest.mark.parametrize(
        ("environ", "field"),
        [
            *(({"SDKAPPID": each}, "CHATMARK_SDKAPPID") for each in ("", "abc", "-1", "\u0661")),
            ({"SDKAPPID": "9" * 5000}, "CHATMARK_SDKAPPID"),
            ({}, "CHATMARK_SDKAPPID"),
            ({"SDKAPPID": "0", "SECRET_KEY": SECRET}, "sdkappid"),
            ({"SDKAPPID": "1"}, "CHATMARK_SECRET_KEY"),
            ({"SDKAPPID": "1", "SECRET_KEY": " "}, "credentials"),
            ({"SDKAPPID": "1", "SECRET_KEY": "a", "USERSIG": "b"}, "credentials"),
        ],
        ids=lambda value: str(value)[:60],
    )
    def test_refused(self, environ: dict[str, str], field: str) -> None:
        """A variable that is missing, wrong or one too many is named."""
        with pytest.raises(InputError) as caught:
            Credentials.from_env({f"CHATMARK_{name}": value for name, value in environ.items()})

        assert field == field_of(caught.value)


class TestSecrecy:
    @holders
    @pytest.mark.parametrize(
        "show",
        [
            repr,
            str,
            "{}".format,
            "{!r:>99}".format,
            lambda holder: "%s %r" % (holder, holder),  # noqa: UP031
            lambda holder: repr([holder, {"key": holder}]),
            lambda holder: logging.makeLogRecord({"msg": "%s", "args": (holder,)}).getMessage(),
            lambda holder: json.dumps({"holder": holder}, default=str),
        ],
        ids=["repr", "str", "format", "column", "percent", "nested", "log", "json"],
    )
    def test_text(self, show: Callable[[object], str], holder: object) -> None:
        """No way to make text of it shows the secret."""
        assert SECRET not in show(holder)

    @holders
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_pickle(self, protocol: int, holder: object) -> None:
        """It cannot be pickled, nor copied by accident."""
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(holder, protocol)
        with pytest.raises(TypeError, match="not pickled"):
            copy.copy(holder)

    def test_as_dict(self) -> None:
        """The fields as a dictionary, which logs like, still hide it."""
        assert SECRET not in repr(attrs.asdict(make(secret_key=SECRET)))

    def test_value(self) -> None:
        """Equal credentials are equal, so that sessions can be kept by them."""
        same, other = make(secret_key=SECRET), make(secret_key="other")

        assert {same} == {make(secret_key=SECRET)}
        assert other not in {same: None}
        assert Secret(SECRET) != SECRET
        assert SECRET == Secret(SECRET).reveal()

    def test_another_identifier(self) -> None:
        """Credentials of another identifier can be made without revealing the secret."""
        evolved = attrs.evolve(make(secret_key=SECRET), identifier="admin2")

        assert make(identifier="admin2", secret_key=SECRET) == evolved
