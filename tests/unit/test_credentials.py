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
    @pytest.mark.parametrize(
        "ways",
        [{"secret_key": SECRET}, {"usersig": SECRET}, {"provider": provide}],
        ids=["secret_key", "usersig", "provider"],
    )
    def test_one(self, ways: dict[str, Any]) -> None:
        """One way to sign is enough."""
        assert "administrator" == make(**ways).identifier

    @pytest.mark.parametrize(
        "ways",
        [
            {},
            {"secret_key": SECRET, "usersig": SECRET},
            {"usersig": SECRET, "provider": provide},
            {"secret_key": SECRET, "usersig": SECRET, "provider": provide},
        ],
        ids=lambda ways: "+".join(ways) or "none",
    )
    def test_none_or_several(self, ways: dict[str, Any]) -> None:
        """No way, or more than one, is refused."""
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
        ("environ", "expected"),
        [
            ({"CHATMARK_SECRET_KEY": SECRET}, make(secret_key=SECRET)),
            ({"CHATMARK_USERSIG": SECRET}, make(usersig=SECRET)),
            (
                {"CHATMARK_SECRET_KEY": SECRET, "CHATMARK_IDENTIFIER": " admin "},
                make(identifier="admin", secret_key=SECRET),
            ),
            (
                {"CHATMARK_SECRET_KEY": SECRET, "CHATMARK_IDENTIFIER": "", "CHATMARK_USERSIG": ""},
                make(secret_key=SECRET),
            ),
        ],
        ids=["secret key", "usersig", "identifier", "empty ones"],
    )
    def test_read(self, environ: dict[str, str], expected: Credentials) -> None:
        """The variables make the credentials; an empty one counts as none."""
        assert expected == Credentials.from_env({"CHATMARK_SDKAPPID": " 1400000001 ", **environ})

    def test_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a mapping the process's own environment is read."""
        monkeypatch.delenv("CHATMARK_USERSIG", raising=False)
        monkeypatch.delenv("CHATMARK_IDENTIFIER", raising=False)
        monkeypatch.setenv("CHATMARK_SDKAPPID", "1400000001")
        monkeypatch.setenv("CHATMARK_SECRET_KEY", SECRET)

        assert make(secret_key=SECRET) == Credentials.from_env()

    @pytest.mark.parametrize(
        ("environ", "field"),
        [
            ({}, "CHATMARK_SDKAPPID"),
            ({"CHATMARK_SDKAPPID": ""}, "CHATMARK_SDKAPPID"),
            ({"CHATMARK_SDKAPPID": "abc"}, "CHATMARK_SDKAPPID"),
            ({"CHATMARK_SDKAPPID": "-1"}, "CHATMARK_SDKAPPID"),
            ({"CHATMARK_SDKAPPID": "\u0661"}, "CHATMARK_SDKAPPID"),
            ({"CHATMARK_SDKAPPID": "9" * 5000}, "CHATMARK_SDKAPPID"),
            ({"CHATMARK_SDKAPPID": "0", "CHATMARK_SECRET_KEY": SECRET}, "sdkappid"),
            ({"CHATMARK_SDKAPPID": "1"}, "CHATMARK_SECRET_KEY"),
            ({"CHATMARK_SDKAPPID": "1", "CHATMARK_SECRET_KEY": " "}, "credentials"),
            (
                {"CHATMARK_SDKAPPID": "1", "CHATMARK_SECRET_KEY": "a", "CHATMARK_USERSIG": "b"},
                "credentials",
            ),
        ],
        ids=lambda value: str(value)[:60],
    )
    def test_refused(self, environ: dict[str, str], field: str) -> None:
        """A variable that is missing, wrong or one too many is named."""
        with pytest.raises(InputError) as caught:
            Credentials.from_env(environ)

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
