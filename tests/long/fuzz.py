"""
The fuzz of the response reader: any bytes give a typed error or a right answer, nothing else.

    python tests/long/fuzz.py [RUNS]

Guided by coverage (atheris, CPython 3.11 to 3.13; `pip install --group fuzz`). What is right is
decided here by reading the JSON once more, by other means. Exits 0 when all inputs (a million by
default) passed.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import atheris

with atheris.instrument_imports(include=["chatmark"]):
    from chatmark.codes import Handling, code_of
    from chatmark.errors import ChatmarkError, InputError
    from chatmark.failures import AnswerError
    from chatmark.usersig import read_usersig
    from chatmark.wire.classify import classify, lines_by_conversation
    from chatmark.wire.converter import read_request
    from chatmark.wire.messages import Found, HttpAnswer, MarkAnswer, Page

_KINDS: Final = (MarkAnswer, Page, Found)
_STATUSES: Final = (100, 201, 204, 301, 307, 400, 404, 408, 413, 425, 429, 500, 502, 503)
_SEEDS: Final = (
    {"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": "", "ResultItem": []},
    {
        "ActionStatus": "OK",
        "ErrorCode": 0,
        "ResultItem": [
            {"ContactItem": {"Type": 1, "To_Account": "b"}, "ResultCode": 0, "ResultInfo": ""},
            {"ContactItem": {"Type": 2, "ToGroupId": "g"}, "ResultCode": 50004},
        ],
    },
    {"ActionStatus": "FAIL", "ErrorCode": 60007, "ErrorInfo": "too fast", "ErrorDisplay": ""},
    {
        "ActionStatus": "OK",
        "ErrorCode": 0,
        "CompleteFlag": 0,
        "NextStartIndex": 100,
        "ContactItem": [
            {"Type": 1, "To_Account": "b", "StandardMark": "101", "Timestamp": 1670843110},
            {"Type": 2, "ToGroupId": "g", "CustomMark": "x", "ContactGroupId": [1, 2]},
        ],
    },
    {
        "ActionStatus": "OK",
        "ErrorCode": 0,
        "ContactResultItem": [{"Type": 1, "To_Account": "b", "StandardMark": ""}],
    },
)


def check_answer(body: bytes, status: int, date: str) -> None:
    """Judge an answer as each kind, and compare with a second reading."""
    for kind in _KINDS:
        verdict = classify(HttpAnswer(status, body, retry_after=date, date=date), kind)
        if not 0 <= verdict.pause <= 60:
            raise AssertionError(verdict)
        if verdict.handling is not Handling.DONE:
            if not isinstance(verdict.error, ChatmarkError) or not str(verdict.error):
                raise AssertionError(verdict)
            continue
        document: Any = json.loads(body)
        if status != 200 or document.get("ActionStatus") not in ("OK", "", None):
            raise AssertionError(document)
        if code_of(document["ErrorCode"]).handling is not Handling.DONE:
            raise AssertionError(document)
        if isinstance(verdict.answer, MarkAnswer):
            check_lines(document, verdict.answer)


def check_lines(document: Any, answer: MarkAnswer) -> None:
    """
    Check that success is claimed only for conversations of which every line claims it.

    A line without a readable code claims none.
    """
    refused = {
        (line["ContactItem"].get("Type"), line["ContactItem"].get(field))
        for line in document.get("ResultItem") or ()
        if isinstance(line, dict) and isinstance(line.get("ContactItem"), dict)
        for type_, field in ((1, "To_Account"), (2, "ToGroupId"))
        if line["ContactItem"].get("Type") == type_
        and isinstance(line["ContactItem"].get(field), str)
        and not (type(line.get("ResultCode")) is int and line["ResultCode"] == 0)
    }
    for conversation, line in lines_by_conversation(answer).items():
        key = (int(conversation.type), conversation.id)
        if line.result_code == 0 and key in refused:
            raise AssertionError((conversation, document))


def check_input(data: bytes) -> None:
    """Read a user's request body and a UserSig: InputError or a value."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = data.decode("latin-1")
    for read, value in ((read_request, document), (read_usersig, data.decode("latin-1"))):
        try:
            read(value)
        except (InputError, AnswerError) as error:
            if not str(error):
                raise AssertionError from error


def one(data: bytes) -> None:
    """Take one input."""
    # Plain JSON comes with status 200; a first byte below 14 chooses another.
    status, body = 200, data
    if data[:1] and data[0] < len(_STATUSES):
        status, body = _STATUSES[data[0]], data[1:]
    check_answer(body, status, body[-10:].decode("latin-1"))
    check_input(body)


def main() -> None:
    """Run the fuzzer."""
    runs = sys.argv[1] if len(sys.argv) > 1 else "1000000"
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(_SEEDS):
            Path(folder, str(number)).write_bytes(json.dumps(seed).encode())
        words = sorted({word for seed in _SEEDS for word in _words(seed)})
        dictionary = Path(folder).parent / "chatmark-fuzz.dict"
        dictionary.write_text("".join(f'"{word}"\n' for word in words), encoding="ascii")
        options = [f"-runs={runs}", "-max_len=2000", f"-dict={dictionary}", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, folder], one)
        atheris.Fuzz()


def _words(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {f'\\"{name}\\":' for name in value} | {
            word for each in value.values() for word in _words(each)
        }
    if isinstance(value, list):
        return {word for each in value for word in _words(each)}
    return {json.dumps(value).replace('"', '\\"')}


if __name__ == "__main__":
    main()
