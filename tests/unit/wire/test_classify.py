import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmark import (
    AnswerError,
    ApplicationRefusedError,
    Conversation,
    ItemRefusedError,
    MarkChange,
    RefusedError,
    SignatureError,
    TransportError,
)
from chatmark.codes import CODES, Handling
from chatmark.wire.classify import (
    CONFIRMED,
    GatewayFaults,
    Verdict,
    classify,
    classify_marks,
    from_json,
    lines_by_conversation,
    refusal,
)
from chatmark.wire.messages import Found, HttpAnswer, MarkAnswer, NoAnswer, Page, ResultLine

BOB, EVE = Conversation.one_to_one("bob"), Conversation.one_to_one("eve")
TEAM = Conversation.group("bob")
DATE = "Wed, 21 Oct 2026 07:28:00 GMT"
FIVE_LATER = "Wed, 21 Oct 2026 07:28:05 GMT"


def changes_of(*asked: Conversation) -> list[MarkChange]:
    """Return a change of each conversation."""
    return [MarkChange("ann", each, custom_mark="x") for each in asked]


def envelope(status: object = "OK", code: object = 0, info: object = "", **more: Any) -> bytes:
    """Return the body of an answer."""
    return json.dumps(
        {"ActionStatus": status, "ErrorCode": code, "ErrorInfo": info, **more}
    ).encode()


def judged(
    content: bytes = b"",
    status: int = 200,
    *,
    retry_after: str | None = None,
    date: str | None = None,
) -> Verdict[MarkAnswer]:
    """Judge an answer to mark_contact."""
    return classify(HttpAnswer(status, content, retry_after, date), MarkAnswer)


def line(contact: dict[str, object] | None, code: int = 0, info: str = "") -> dict[str, object]:
    """Return a line of a result."""
    return {"ContactItem": contact, "ResultCode": code, "ResultInfo": info}


def lines(*given: dict[str, object]) -> dict[Conversation, tuple[int, str]]:
    """Return code and text of each conversation of an answer with these lines."""
    answer = from_json(envelope(ResultItem=list(given)), MarkAnswer)
    return {
        conversation: (found.result_code, found.result_info)
        for conversation, found in lines_by_conversation(answer).items()
    }


def user(name: str) -> dict[str, object]:
    """Return a conversation with a user, as the wire names it."""
    return {"Type": 1, "To_Account": name}


class TestStatus:
    @pytest.mark.parametrize(
        ("statuses", "handling"),
        [
            ((500, 501, 502, 503, 504, 520, 599), Handling.RETRY),
            ((408, 425), Handling.RETRY),
            ((429,), Handling.SLOW_DOWN),
            ((413,), Handling.SPLIT),
            ((400, 401, 403, 404, 405, 410, 418, 451), Handling.REFUSE_APPLICATION),
            ((300, 301, 302, 303, 304, 307, 308), Handling.REFUSE_APPLICATION),
            ((100, 201, 202, 204, 206), Handling.REFUSE_APPLICATION),
        ],
        ids=["5xx", "timeout", "too many", "too large", "4xx", "3xx", "others"],
    )
    def test_handling(self, statuses: tuple[int, ...], handling: Handling) -> None:
        """Gateways are tried again, a request that is too large is split, strangers are refused."""
        verdicts = [judged(b"<html>", status) for status in statuses]

        assert [(handling, str(status)) for status in statuses] == [
            (verdict.handling, verdict.reason) for verdict in verdicts
        ]

    @pytest.mark.parametrize("status", [301, 404, 413, 429, 502])
    @pytest.mark.parametrize("content", [b"<html>usersig</html>", envelope()])
    def test_error(self, status: int, content: bytes) -> None:
        """The error has the status, and nothing of the body, which is not believed either."""
        verdict = judged(content, status)

        assert isinstance(verdict.error, AnswerError)
        assert (status, None) == (verdict.error.status, verdict.answer)
        assert "usersig" not in str(verdict.error)


class TestNoAnswer:
    @pytest.mark.parametrize(
        ("reply", "handling"),
        [
            (NoAnswer(TransportError("x"), "timeout"), Handling.RETRY),
            (NoAnswer(TransportError("x"), "dropped", dropped=True), Handling.RETRY),
            (NoAnswer(SignatureError("x"), "signature", sent=False), Handling.RETRY),
            (
                NoAnswer(TransportError("x"), "tls", final=True, sent=False),
                Handling.REFUSE_APPLICATION,
            ),
        ],
        ids=lambda value: value.reason if isinstance(value, NoAnswer) else str(value),
    )
    def test_handling(self, reply: NoAnswer, handling: Handling) -> None:
        """
        It is tried again, at once where a connection was lost, unless that is of no use.

        What was sent may still run on the server.
        """
        verdict = classify(reply, MarkAnswer)

        assert (handling, None) == (verdict.handling, verdict.answer)
        assert (reply.error, reply.reason) == (verdict.error, verdict.reason)
        assert (reply.dropped, reply.sent) == (verdict.at_once, verdict.may_run)
        assert reply.final == verdict.of_gateway


class TestTexts:
    def test_are_cut_before_they_are_kept(self) -> None:
        """Texts of a server are kept up to 1,000 characters, those of lines, too."""
        text = "x" * 50_000
        whole = judged(envelope("FAIL", 51008, text, RequestId=text))
        told = [line({"Type": 1, "To_Account": "bob"}, 51008, text)]
        answer = judged(envelope(ResultItem=told, RequestId=text)).answer

        assert isinstance(whole.error, RefusedError)
        assert {1_000} == {len(whole.error.info), len(whole.error.request_id)}
        assert isinstance(answer, MarkAnswer)
        assert isinstance(answer.result_item[0], ResultLine)
        assert 1_000 == len(answer.result_item[0].result_info)


class TestCodes:
    @pytest.mark.parametrize("code", [number for number in CODES if number])
    @pytest.mark.parametrize("status", ["FAIL", "OK"])
    def test_handling(self, status: str, code: int) -> None:
        """A code is handled by its row in the table, whatever the status beside it."""
        verdict = judged(envelope(status, code, "why"))
        error = verdict.error

        assert (CODES[code].handling, str(code)) == (verdict.handling, verdict.reason)
        assert isinstance(error, RefusedError)
        assert (code, "why") == (error.code, error.info)

    @pytest.mark.parametrize("status", ["FAIL", "ok", "Ok"])
    def test_failure_without_code(self, status: str) -> None:
        """A status other than OK with code 0 is no success, and is tried again."""
        verdict = judged(envelope(status, 0))

        assert (Handling.RETRY, "FAIL") == (verdict.handling, verdict.reason)
        assert repr(status) in str(verdict.error)

    @pytest.mark.parametrize("code", [-1, 1, 12345, 10**12])
    def test_unknown_code(self, code: int) -> None:
        """An unknown code is not tried again."""
        assert Handling.REFUSE_ITEM == judged(envelope("FAIL", code)).handling

    @pytest.mark.parametrize("code", ["0", "60007", None, 0.0, False, [0]], ids=repr)
    def test_no_code(self, code: object) -> None:
        """A code that must be a number is an answer that cannot be read, and is tried again."""
        verdict = judged(envelope("OK", code))

        assert (Handling.RETRY, "unreadable") == (verdict.handling, verdict.reason)
        assert isinstance(verdict.error, AnswerError)
        assert "$.ErrorCode" == verdict.error.path

    @pytest.mark.parametrize(
        "content", [b"", b"no JSON", b"[]", envelope()[:-1], b"\xff"], ids=lambda c: repr(c)[:9]
    )
    def test_unreadable(self, content: bytes) -> None:
        """A cut body under 200 is tried again."""
        verdict = judged(content)

        assert (Handling.RETRY, "unreadable") == (verdict.handling, verdict.reason)

    def test_page(self) -> None:
        """A page under 200 is a gateway's; whether that may pass depends on what came before."""
        verdict = judged(b" <html>")

        assert (Handling.REFUSE_APPLICATION, True) == (verdict.handling, verdict.of_gateway)

    @pytest.mark.parametrize("kind", [MarkAnswer, Page, Found])
    def test_calls(self, kind: type[MarkAnswer | Page | Found]) -> None:
        """The answers of all calls are judged alike; with code 0 the lines decide."""
        done = classify(HttpAnswer(200, envelope(ResultItem=[line(user("bob"), 50001)])), kind)
        slow = classify(HttpAnswer(200, envelope("FAIL", 60007)), kind)

        assert isinstance(done.answer, kind)
        assert (Handling.DONE, None, "0") == (done.handling, done.error, done.reason)
        assert Handling.SLOW_DOWN == slow.handling

    @given(status=st.integers(100, 599), content=st.binary(), hint=st.text(), date=st.text())
    def test_anything(self, status: int, content: bytes, hint: str, date: str) -> None:
        """Whatever comes, there is a verdict, and a reason where it is not done."""
        verdict = judged(content, status, retry_after=hint, date=date)

        assert (verdict.handling is Handling.DONE) == (verdict.error is None)
        assert 0 <= verdict.pause <= 60


class TestMarks:
    BODY = envelope(ResultItem=[line(user("bob")), line(user("eve"))])

    def test_other_conversations(self) -> None:
        """One that confirms others is read by the book."""
        verdict = classify_marks(HttpAnswer(200, self.BODY), changes_of(BOB, TEAM))

        assert Handling.DONE is verdict.handling
        assert verdict.answer is not None
        assert {BOB, EVE} == set(lines_by_conversation(verdict.answer))

    def test_status(self) -> None:
        """Under another status even the answer that confirms all is not believed."""
        verdict = classify_marks(HttpAnswer(502, self.BODY), changes_of(BOB, EVE))

        assert Handling.RETRY is verdict.handling

    def test_no_answer(self) -> None:
        """Without an answer nothing is confirmed."""
        verdict = classify_marks(NoAnswer(TransportError("lost"), "connection"), [])

        assert (Handling.RETRY, "connection") == (verdict.handling, verdict.reason)


class TestPause:
    @pytest.mark.parametrize(
        ("retry_after", "pause"),
        [
            *((None, 0.0), ("", 0.0), (" ", 0.0)),
            *(("0", 0.0), ("-1", 0.0), ("1", 1.0), (" 5 ", 5.0), ("0.5", 0.5), ("60", 60.0)),
            # Beyond the cap the computed backoff is better than an hour of silence.
            *(("61", 60.0), ("1e400", 60.0), ("9" * 5000, 60.0)),
            *(("nan", 0.0), ("inf", 60.0), ("-inf", 0.0), ("soon", 0.0), ("5 s", 0.0), ("é", 0.0)),
            *((FIVE_LATER, 5.0), ("Wed, 21 Oct 2026 09:28:05 +0200", 5.0), (DATE, 0.0)),
            ("Wednesday, 21-Oct-26 07:28:05 GMT", 5.0),
            ("Wed, 21 Oct 2026 07:28:05 -0000", 0.0),
            *(("Wed, 21 Oct 2026 07:27:59 GMT", 0.0), ("Wed, 21 Oct 2026 07:29:01 GMT", 60.0)),
            *(("Wed, 21 Oct 2027 07:28:00 GMT", 60.0), ("Wed, 31 Feb 2026 07:28:00 GMT", 0.0)),
            (f"Wed, 21 Oct {10**20} 07:28:00 GMT", 0.0),
            (f"Wed, 21 Oct 2026 07:28:05 +{10**20}", 0.0),
        ],
        ids=lambda value: repr(value)[:40],
    )
    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after(self, status: int, retry_after: str | None, pause: float) -> None:
        """Seconds and dates are honoured up to a minute, and capped; anything else is not."""
        assert pause == judged(b"", status, retry_after=retry_after, date=DATE).pause

    @pytest.mark.parametrize(
        "date", [None, "", "soon", "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"]
    )
    def test_date_without_now(self, date: str | None) -> None:
        """A date means nothing without the server's own time."""
        assert judged(b"", 429, retry_after=FIVE_LATER, date=date).pause == 0

    @pytest.mark.parametrize(
        ("code", "retry_after", "pause"),
        [(60007, "7", 7.0), (70050, None, 60.0), (70050, "5", 60.0), (0, "30", 0.0)],
    )
    def test_under_200(self, code: int, retry_after: str | None, pause: float) -> None:
        """
        A hint beside a code counts, unless all is done.

        The time that the vendor names for the code is the least.
        """
        status = "FAIL" if code else "OK"

        assert pause == judged(envelope(status, code), retry_after=retry_after).pause


@pytest.mark.parametrize("code", [50001, 50002, 50004, 51007, 12345, 50003, 51013, 70009])
def test_refusal(code: int) -> None:
    """A code that no change can escape is the application's, any other the item's."""
    is_of_application = code in (50003, 51013, 70009)

    assert is_of_application == isinstance(refusal(code, "why"), ApplicationRefusedError)
    assert is_of_application != isinstance(refusal(code, "why"), ItemRefusedError)


class TestLines:
    def test_order(self) -> None:
        """The order of the lines does not matter."""
        given = [line(user("bob"), 0, "a"), line(user("eve"), 50001, "b")]

        assert lines(*given) == lines(*reversed(given)) == {BOB: (0, "a"), EVE: (50001, "b")}

    def test_user_and_group(self) -> None:
        """The lines of a user and of a group with the same id are two."""
        group: dict[str, object] = {"Type": 2, "ToGroupId": "bob"}

        assert {BOB: (0, ""), TEAM: (51007, "")} == lines(line(user("bob")), line(group, 51007))

    @pytest.mark.parametrize(
        ("codes", "code"),
        [
            *(((0, 0), 0), ((0, 50001), 50001), ((50001, 0), 50001), ((0, 50004, 0), 50004)),
            ((50004, 50001), 50004),
        ],
    )
    def test_twice(self, codes: tuple[int, ...], code: int) -> None:
        """Of several lines for one conversation the first failure counts."""
        assert {BOB: (code, "")} == lines(*(line(user("bob"), each) for each in codes))

    def test_nameless(self) -> None:
        """A line that names no conversation is nobody's."""
        assert {BOB: (0, "")} == lines(
            line(None), line(user("bob")), line({"Type": 2}, 50001), {"ResultCode": 50004}
        )

    def test_none(self) -> None:
        """No lines are no success of anybody."""
        assert {} == lines()


class TestGatewayFaults:
    GATEWAY = Verdict[Any](Handling.REFUSE_APPLICATION, of_gateway=True)
    SERVED = Verdict[Any](Handling.DONE, CONFIRMED)

    def weigh(self, faults: GatewayFaults, *calls: tuple[Verdict[Any], int, int]) -> list[Handling]:
        """Return how each of the calls is handled."""
        return [faults.weigh(*call).handling for call in calls]

    def test_at_first_contact(self) -> None:
        """Before the API has answered, one is the end."""
        assert [Handling.REFUSE_APPLICATION] == self.weigh(GatewayFaults(), (self.GATEWAY, 1, 1))

    def test_several_in_a_row(self) -> None:
        """After that the fifth in a row is the end; an answer between them starts anew."""
        faults = GatewayFaults()
        self.weigh(faults, (self.SERVED, 1, 1))
        handled = self.weigh(faults, *((self.GATEWAY, n, n) for n in range(2, 7)))
        self.weigh(faults, (self.SERVED, 7, 7))
        again = self.weigh(faults, (self.GATEWAY, 8, 8))

        assert [*[Handling.RETRY] * 4, Handling.REFUSE_APPLICATION] == handled
        assert [Handling.RETRY] == again

    def test_under_way_together(self) -> None:
        """Those of calls that were under way together count once."""
        faults = GatewayFaults()
        self.weigh(faults, (self.SERVED, 1, 1))
        handled = self.weigh(faults, *((self.GATEWAY, n, 20) for n in range(2, 21)))

        assert [Handling.RETRY] * 19 == handled
        assert [Handling.RETRY] * 3 == self.weigh(
            faults, *((self.GATEWAY, n, n) for n in range(21, 24))
        )
        assert [Handling.REFUSE_APPLICATION] == self.weigh(faults, (self.GATEWAY, 24, 24))

    def test_other_verdicts(self) -> None:
        """A fault that is not a gateway's is left as it is, and counts for nothing."""
        faults = GatewayFaults()
        other = Verdict[Any](Handling.RETRY, reason="dropped")

        assert other is faults.weigh(other, 1, 1)
        assert [Handling.REFUSE_APPLICATION] == self.weigh(faults, (self.GATEWAY, 2, 2))
