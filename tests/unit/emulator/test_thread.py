import http.client
import json
import threading
from urllib.parse import urlencode, urlsplit

import pytest
from emulator_client import PATH, item, valid_query

from chatmark.emulator import EmulatorThread, Hang, Refuse


def mark(emulator: EmulatorThread) -> int:
    """Send one request without asyncio and return the code."""
    query = urlencode(valid_query(emulator, len(emulator.calls)))
    connection = http.client.HTTPConnection(urlsplit(emulator.url).netloc)
    body = json.dumps({"From_Account": "alice", "MarkItem": [item()]})
    try:
        connection.request("POST", f"/{PATH}mark_contact?{query}", body)
        code: int = json.loads(connection.getresponse().read())["ErrorCode"]
    finally:
        connection.close()
    return code


def threads() -> int:
    """Count the threads of emulators."""
    return [each.name for each in threading.enumerate()].count("chatmark-emulator")


def test_serves_synchronous_code() -> None:
    """It answers while the caller's thread waits, and is scripted, read and reset from there."""
    with EmulatorThread() as emulator:
        emulator.script.next(Refuse(60008))
        assert [mark(emulator) for _ in range(2)] == [60008, 0]
        assert [call.code for call in emulator.calls] == [60008, 0]
        assert emulator.state.snapshot() == {("alice", 1, "bob"): (1, "")}
        emulator.reset()
        assert (emulator.state.snapshot(), emulator.calls) == ({}, [])


def test_restart() -> None:
    """It stops and starts on the same port with the same state."""
    with EmulatorThread() as emulator:
        url = emulator.url
        mark(emulator)
        emulator.stop()
        with pytest.raises(ConnectionRefusedError):
            mark(emulator)
        emulator.start()

        assert (url, mark(emulator)) == (emulator.url, 0)
        assert len(emulator.state.snapshot()) == 1


def test_close_ends_the_thread() -> None:
    """Nothing is left after the block, even with a request that hangs; closing again is fine."""
    errors: list[ConnectionError] = []

    def mark_in_vain() -> None:
        try:
            mark(emulator)
        except ConnectionError as error:
            errors.append(error)

    with EmulatorThread() as emulator:
        emulator.script.next(Hang())
        hanging = threading.Thread(target=mark_in_vain)
        hanging.start()
        while not (emulator.calls and emulator.calls[0].fault):
            hanging.join(0.001)
    emulator.close()
    hanging.join(5)

    assert (len(errors), threads()) == (1, 0)


def test_failed_start() -> None:
    """A start that fails leaves no thread behind."""
    with EmulatorThread() as first:
        with pytest.raises(OSError, match="address"):
            EmulatorThread(port=urlsplit(first.url).port or 0).start()

        assert threads() == 1
