import http.client
import json
import threading
from urllib.parse import urlencode, urlsplit

import pytest
from TLSSigAPIv2 import TLSSigAPIv2

from chatmark.emulator import EmulatorThread, Hang, Refuse

BODY = {
    "From_Account": "alice",
    "MarkItem": [{"OptType": 1, "ContactItem": {"Type": 1, "To_Account": "bob"}, "SetMark": [0]}],
}


def mark(emulator: EmulatorThread) -> int:
    """Send one request without asyncio and return the code."""
    settings = emulator.settings
    query = {
        "sdkappid": settings.sdkappid,
        "identifier": "administrator",
        "usersig": TLSSigAPIv2(settings.sdkappid, settings.secret_key).gen_sig("administrator"),
        "random": len(emulator.calls),
        "contenttype": "json",
    }
    connection = http.client.HTTPConnection(urlsplit(emulator.url).netloc)
    path = f"/v4/recentcontact/mark_contact?{urlencode(query)}"
    try:
        connection.request("POST", path, json.dumps(BODY))
        code: int = json.loads(connection.getresponse().read())["ErrorCode"]
    finally:
        connection.close()
    return code


def mark_in_vain(emulator: EmulatorThread) -> None:
    """Send one request that is never answered."""
    with pytest.raises(ConnectionError):
        mark(emulator)


class TestEmulatorThread:
    """The emulator in a thread of its own."""

    def test_serves_synchronous_code(self) -> None:
        """It answers while the caller's thread waits, and is read and reset from there."""
        with EmulatorThread() as emulator:
            assert mark(emulator) == 0
            assert emulator.state.snapshot() == {("alice", 1, "bob"): (1, "")}
            assert ([0], {"mark_contact": 1}, []) == (
                [call.code for call in emulator.calls],
                emulator.counts,
                emulator.violations,
            )
            emulator.reset()
            assert (emulator.state.snapshot(), emulator.calls) == ({}, [])

    def test_is_scripted_from_outside(self) -> None:
        """Its script is set from the caller's thread."""
        with EmulatorThread() as emulator:
            emulator.script.next(Refuse(60008))

            assert [mark(emulator) for _ in range(2)] == [60008, 0]

    def test_restart(self) -> None:
        """It stops and starts on the same port with the same state."""
        with EmulatorThread() as emulator:
            url = emulator.url
            mark(emulator)
            emulator.stop()
            with pytest.raises(ConnectionRefusedError):
                mark(emulator)
            emulator.start()

            assert url == emulator.url
            assert mark(emulator) == 0
            assert len(emulator.state.snapshot()) == 1

    def test_close_ends_the_thread(self) -> None:
        """Nothing is left after the block, even with a request that hangs."""
        with EmulatorThread() as emulator:
            emulator.script.next(Hang())
            hanging = threading.Thread(target=mark_in_vain, args=[emulator])
            hanging.start()
            while not (emulator.calls and emulator.calls[0].fault):
                hanging.join(0.001)
        hanging.join(5)

        assert not hanging.is_alive()
        assert "chatmark-emulator" not in {each.name for each in threading.enumerate()}

    def test_close_twice(self) -> None:
        """Closing again does nothing."""
        emulator = EmulatorThread()
        emulator.start()
        emulator.close()
        emulator.close()

        assert "chatmark-emulator" not in {each.name for each in threading.enumerate()}

    def test_failed_start(self) -> None:
        """A start that fails leaves no thread behind."""
        with EmulatorThread() as first:
            port = urlsplit(first.url).port
            assert port is not None
            with pytest.raises(OSError, match="address"):
                EmulatorThread(port=port).start()

            assert len([t for t in threading.enumerate() if t.name == "chatmark-emulator"]) == 1
