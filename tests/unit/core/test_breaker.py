import math

import pytest

from chatmark.core.breaker import Breaker


def make(*, trusted: bool = True) -> Breaker:
    """Return a brake whose backoff doubles from a quarter of a second, without a cap."""
    brake = Breaker(lambda retry: 0.25 * 2.0 ** (retry - 1))
    if trusted:
        brake.succeeded(0.0)
    return brake


def outage(brake: Breaker, now: float = 10.0) -> None:
    """Let requests fail, that were sent a second ago, until the brake holds."""
    while brake.held_since is None:
        brake.failed(now, now - 1.0)


class TestBudget:
    """How many failures are allowed."""

    def test_stands_aside(self) -> None:
        """While all is well any number of requests may be in flight."""
        brake = make()

        assert brake.allows(0.0, 1000)
        assert brake.wake_at(1000) is None

    def test_outage(self) -> None:
        """Twenty failures in a row engage it."""
        brake = make()
        for _ in range(19):
            brake.failed(10.0, 9.0)

        assert brake.held_since is None

        brake.failed(10.0, 9.0)

        assert 10.0 == brake.held_since

    def test_one_in_ten(self) -> None:
        """One failure in eleven requests never does."""
        brake = make()
        for _ in range(10_000):
            brake.failed(1.0, 0.0)
            for _ in range(10):
                brake.succeeded(0.0)

        assert brake.held_since is None

    def test_nineteen_in_twenty(self) -> None:
        """A server that answers anybody is not held back from."""
        brake = make()
        for _ in range(40):
            for _ in range(19):
                brake.failed(1.0, 0.0)
            brake.succeeded(0.0)

        assert brake.held_since is None

    def test_good_answer_of_the_same_moment(self) -> None:
        """
        A good answer to a request that was sent together with the one that failed ends the failing.
        """
        brake = make()
        brake.failed(11.0, 10.0)
        failing = brake.failing_since
        brake.succeeded(10.0)

        assert (10.0, None) == (failing, brake.failing_since)

    def test_is_not_saved_up(self) -> None:
        """A long good time does not allow a longer outage."""
        brake = make()
        for _ in range(10_000):
            brake.succeeded(0.0)
        for _ in range(20):
            brake.failed(1.0, 0.0)

        assert brake.held_since is not None


class TestHold:
    """One probe at a time."""

    def test_waits(self) -> None:
        """The first probe is sent after a backoff, and not while anything is in flight."""
        brake = make()
        outage(brake)

        assert not brake.allows(10.125, 0)
        assert not brake.allows(10.25, 1)
        assert brake.allows(10.25, 0)

    def test_wakes(self) -> None:
        """Time alone allows the probe, unless a request is in flight."""
        brake = make()
        outage(brake)

        assert 10.25 == brake.wake_at(0)
        assert brake.wake_at(1) is None

    def test_probes_back_off(self) -> None:
        """Each failed probe makes the next one wait longer."""
        brake = make()
        outage(brake)
        waits = []
        for _ in range(4):
            now = brake.resume_at
            brake.failed(now, now)
            waits.append(brake.resume_at - now)

        assert [0.5, 1.0, 2.0, 4.0] == waits

    def test_old_failures_are_no_probes(self) -> None:
        """Failures of requests from before the hold do not put the probe off."""
        brake = make()
        outage(brake)
        for _ in range(12):
            brake.failed(10.125, 9.5)

        assert 10.25 == brake.resume_at

    def test_success_ends_it(self) -> None:
        """A good probe ends the hold."""
        brake = make()
        outage(brake)
        brake.succeeded(10.25)

        assert brake.held_since is None
        assert brake.allows(10.25, 1000)

    def test_probe_without_a_wait(self) -> None:
        """A probe that is sent at the very moment at which the hold began is a probe."""
        brake = Breaker(lambda _: 0.0)
        outage(brake)
        pause = brake.slow_down(10.0, 10.0, 0.0)
        brake.succeeded(10.0)

        assert (1.0, None) == (pause, brake.held_since)

    def test_old_success_does_not(self) -> None:
        """A good answer to a request from before the hold proves nothing."""
        brake = make()
        outage(brake)
        brake.succeeded(9.5)

        assert 10.0 == brake.held_since

    def test_is_wary_afterwards(self) -> None:
        """After a hold fewer failures engage it again, but not the first."""
        brake = make()
        outage(brake)
        brake.succeeded(10.25)
        count = 0
        while brake.held_since is None:
            brake.failed(11.0, 10.5)
            count += 1

        assert 10 == count

    def test_backoff_starts_over(self) -> None:
        """The probes of the next outage begin with the shortest wait."""
        brake = make()
        outage(brake)
        for _ in range(5):
            brake.failed(brake.resume_at, brake.resume_at)
        brake.succeeded(brake.resume_at)
        outage(brake, 100.0)

        assert 100.25 == brake.resume_at

    def test_backoff_starts_in_a_pause(self) -> None:
        """A pause is no failed probe: the first that fails in it waits for the shortest time."""
        brake = make()
        brake.slow_down(10.0, 9.0, 0.0)
        brake.failed(11.0, 11.0)

        assert 11.25 == brake.resume_at

    def test_backoff_starts_over_in_a_pause(self) -> None:
        """So do those of a pause that comes later."""
        brake = make()
        outage(brake)
        for _ in range(5):
            brake.failed(brake.resume_at, brake.resume_at)
        brake.succeeded(brake.resume_at)
        brake.slow_down(100.0, 99.0, 0.0)
        brake.failed(101.0, 101.0)

        assert 101.25 == brake.resume_at


class TestSlowDown:
    """The pause."""

    def test_first(self) -> None:
        """The first pause is a second, and holds the session."""
        brake = make()

        assert 1.0 == brake.slow_down(10.0, 9.5, 0.0)
        assert 10.0 == brake.held_since
        assert not brake.allows(10.9375, 0)
        assert brake.allows(11.0, 0)

    def test_grows(self) -> None:
        """Each probe that is told to slow down doubles it, up to 10 seconds."""
        brake = make()
        pauses = []
        now = 10.0
        for _ in range(7):
            pauses.append(brake.slow_down(now, now, 0.0))
            now = brake.resume_at

        assert [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0] == pauses

    def test_asked_for_more(self) -> None:
        """A longer pause that the server asks for counts."""
        assert 60.0 == make().slow_down(10.0, 9.5, 60.0)

    def test_asked_for_less(self) -> None:
        """A shorter one does not."""
        assert 1.0 == make().slow_down(10.0, 9.5, 0.25)

    def test_requests_from_before(self) -> None:
        """
        Refusals of requests that were sent before the pause neither lengthen it nor let it grow.
        """
        brake = make()
        brake.slow_down(10.0, 9.5, 0.0)
        rest = [brake.slow_down(10.0 + number / 8, 9.75, 0.0) for number in range(4)]

        assert [1.0, 0.875, 0.75, 0.625] == rest
        assert 2.0 == brake.slow_down(11.0, 11.0, 0.0)

    def test_requests_from_before_that_ask(self) -> None:
        """A pause that one of those is asked for counts."""
        brake = make()
        brake.slow_down(10.0, 9.5, 0.0)

        assert 5.0 == brake.slow_down(10.5, 9.75, 5.0)

    def test_never_shortens(self) -> None:
        """A later, shorter pause does not end an earlier, longer one."""
        brake = make()
        brake.slow_down(10.0, 9.5, 60.0)

        assert 59.0 == brake.slow_down(11.0, 9.75, 2.0)

    def test_is_over(self) -> None:
        """A refusal that comes after the pause, of a request from before it, asks for none."""
        brake = make()
        brake.slow_down(10.0, 9.5, 0.0)

        assert 0.0 == brake.slow_down(20.0, 9.75, 0.0)

    @pytest.mark.parametrize(("successes", "pause"), [(1, 4.0), (2, 1.0)])
    def test_shrinks(self, successes: int, pause: float) -> None:
        """It starts over when a good answer came after the one that ended the hold."""
        brake = make()
        brake.slow_down(10.0, 9.5, 0.0)
        brake.slow_down(11.0, 11.0, 0.0)
        for _ in range(successes):
            brake.succeeded(13.0)

        assert pause == brake.slow_down(14.0, 13.5, 0.0)

    def test_in_an_outage(self) -> None:
        """A probe that is told to slow down waits for the longer of pause and backoff."""
        brake = make()
        outage(brake)
        for _ in range(4):
            brake.failed(10.0, 10.0)

        assert 4.0 == brake.slow_down(10.0, 10.0, 0.0)


class TestResumesWithin:
    @pytest.mark.parametrize(
        ("now", "expected"),
        [(8.9, False), (9.0, True), (10.0, True), (11.0, True), (11.1, False)],
    )
    def test_under_a_hold(self, now: float, expected: bool) -> None:
        """A probe is near when its time is no more than so far away, or no longer over."""
        brake = make()
        brake.slow_down(5.0, 5.0, 5.0)

        assert expected == brake.resumes_within(1.0, now)

    def test_without_one(self) -> None:
        """Where nothing is held no probe is due."""
        assert not make().resumes_within(1.0, 0.0)


class TestProbation:
    """Before the server has shown that it serves this application."""

    def test_first_request(self) -> None:
        """The first request may be sent at once."""
        assert make(trusted=False).allows(0.0, 0)

    def test_needs_no_waking(self) -> None:
        """Before anything was sent there is no time to wait for."""
        assert make(trusted=False).wake_at(0) == -math.inf

    def test_second_request(self) -> None:
        """A second one waits for the first, but no longer than a second."""
        brake = make(trusted=False)
        brake.sent(10.0)

        assert not brake.allows(10.9375, 1)
        assert brake.allows(10.9375, 0)
        assert 11.0 == brake.wake_at(1)
        assert brake.allows(11.0, 1)

    def test_answer(self) -> None:
        """A good answer ends it."""
        brake = make(trusted=False)
        brake.sent(10.0)
        brake.succeeded(10.0)

        assert brake.allows(10.0, 1)

    def test_refusal(self) -> None:
        """A refusal of the application begins it anew."""
        brake = make()
        brake.sent(10.0)
        brake.refused(None, 10.0)

        assert not brake.allows(10.5, 1)

    def test_first_request_may_be_told_to_slow_down(self) -> None:
        """The pause of a session that never had an answer is the shortest, too."""
        brake = make(trusted=False)
        brake.sent(10.0)

        assert 1.0 == brake.slow_down(10.0, 10.0, 0.0)
