import math

import pytest

from chatmark.core.breaker import Breaker


@pytest.fixture
def breaker() -> Breaker:
    """A breaker whose backoff doubles from a quarter of a second, without a cap."""
    breaker = Breaker(lambda retry: 0.25 * 2.0 ** (retry - 1))
    breaker.succeeded(0.0)
    return breaker


@pytest.fixture
def held(breaker: Breaker) -> Breaker:
    """The breaker after failures at 10 s, of requests that were sent a second before."""
    return hold(breaker)


@pytest.fixture
def paused(breaker: Breaker) -> Breaker:
    """The breaker after a slow-down at 10 s."""
    assert 1.0 == breaker.slow_down(10.0, 9.5, 0.0)
    return breaker


@pytest.fixture
def untrusted() -> Breaker:
    """A breaker before the server has shown that it serves this application."""
    return Breaker(lambda _: 0.0)


def hold(breaker: Breaker, now: float = 10.0) -> Breaker:
    """Let requests fail until the breaker holds."""
    while breaker.held_since is None:
        breaker.failed(now, now - 1.0)
    return breaker


def fail_probes(breaker: Breaker, count: int) -> list[float]:
    """Let so many probes fail; return how long each lets the next one wait."""
    waits = []
    for _ in range(count):
        now = breaker.resume_at
        breaker.failed(now, now)
        waits.append(breaker.resume_at - now)
    return waits


class TestFailures:
    """How many failures are allowed."""

    def test_none(self, breaker: Breaker) -> None:
        """While all is well any number of requests may be in flight."""
        assert breaker.allows(0.0, 1000)
        assert breaker.wake_at(1000) is None

    @pytest.mark.parametrize("successes", [0, 1, 10_000])
    def test_twenty_in_a_row(self, breaker: Breaker, successes: int) -> None:
        """Twenty failures in a row engage it, however long all was well before."""
        for _ in range(successes):
            breaker.succeeded(0.0)
        for _ in range(19):
            breaker.failed(10.0, 9.0)

        assert breaker.held_since is None
        breaker.failed(10.0, 9.0)
        assert 10.0 == breaker.held_since

    @pytest.mark.parametrize(("failures", "successes"), [(19, 1), (1, 10)])
    def test_with_successes_between(self, breaker: Breaker, failures: int, successes: int) -> None:
        """A server that answers at all is not held back from."""
        for _ in range(40):
            for _ in range(failures):
                breaker.failed(1.0, 0.0)
            for _ in range(successes):
                breaker.succeeded(0.0)

        assert breaker.held_since is None

    def test_good_answer_of_the_same_moment(self, breaker: Breaker) -> None:
        """
        A good answer to a request that was sent together with the one that failed ends the failing.
        """
        breaker.failed(11.0, 10.0)
        failing = breaker.failing_since
        breaker.succeeded(10.0)

        assert (10.0, None) == (failing, breaker.failing_since)


class TestHold:
    """One probe at a time."""

    def test_waits(self, held: Breaker) -> None:
        """The first probe is sent after a backoff, and not while anything is in flight."""
        assert not held.allows(10.125, 0)
        assert not held.allows(10.25, 1)
        assert held.allows(10.25, 0)
        assert (10.25, None) == (held.wake_at(0), held.wake_at(1))

    def test_probes_back_off(self, held: Breaker) -> None:
        """Each failed probe makes the next one wait longer."""
        assert [0.5, 1.0, 2.0, 4.0] == fail_probes(held, 4)

    def test_requests_from_before(self, held: Breaker) -> None:
        """They prove nothing: failures do not put the probe off, a good answer ends no hold."""
        for _ in range(12):
            held.failed(10.125, 9.5)
        held.succeeded(9.5)

        assert (10.0, 10.25) == (held.held_since, held.resume_at)

    def test_success_ends_it(self, held: Breaker) -> None:
        """A good probe ends the hold; fewer failures engage it again, but not the first."""
        held.succeeded(10.25)

        assert held.held_since is None
        assert held.allows(10.25, 1000)
        for _ in range(9):
            held.failed(11.0, 10.5)
        assert held.held_since is None
        held.failed(11.0, 10.5)
        assert 11.0 == held.held_since

    def test_probe_without_a_wait(self, untrusted: Breaker) -> None:
        """A probe that is sent at the very moment at which the hold began is a probe."""
        hold(untrusted)
        pause = untrusted.slow_down(10.0, 10.0, 0.0)
        untrusted.succeeded(10.0)

        assert (1.0, None) == (pause, untrusted.held_since)

    def test_backoff_starts_over(self, held: Breaker) -> None:
        """The probes of the next outage begin with the shortest wait."""
        fail_probes(held, 5)
        held.succeeded(held.resume_at)
        hold(held, 100.0)

        assert 100.25 == held.resume_at

    def test_backoff_starts_in_a_pause(self, paused: Breaker) -> None:
        """A pause is no failed probe: the first that fails in it waits for the shortest time."""
        assert [0.25] == fail_probes(paused, 1)

    def test_backoff_starts_over_in_a_pause(self, held: Breaker) -> None:
        """So do those of a pause that comes later."""
        fail_probes(held, 5)
        held.succeeded(held.resume_at)
        held.slow_down(100.0, 99.0, 0.0)

        assert [0.25] == fail_probes(held, 1)


class TestSlowDown:
    """The pause; that it doubles up to 10 s is proved by the tests of the engine."""

    def test_holds(self, paused: Breaker) -> None:
        """The first pause is a second, and holds the session."""
        assert 10.0 == paused.held_since
        assert [False, True] == [paused.allows(now, 0) for now in (10.9375, 11.0)]

    @pytest.mark.parametrize(("asked", "pause"), [(60.0, 60.0), (0.25, 1.0)])
    def test_asked_for(self, breaker: Breaker, asked: float, pause: float) -> None:
        """A longer pause that the server asks for counts, a shorter one does not."""
        assert pause == breaker.slow_down(10.0, 9.5, asked)

    def test_requests_from_before(self, paused: Breaker) -> None:
        """They neither lengthen it nor let it grow, and ask for none when it is over."""
        rest = [paused.slow_down(now, 9.75, 0.0) for now in (10.0, 10.125, 10.25, 20.0)]

        assert [1.0, 0.875, 0.75, 0.0] == rest
        assert 2.0 == paused.slow_down(20.0, 20.0, 0.0)

    def test_requests_from_before_that_ask(self, paused: Breaker) -> None:
        """A pause that one of those is asked for counts, but a shorter one shortens nothing."""
        assert 5.0 == paused.slow_down(10.5, 9.75, 5.0)
        assert 4.5 == paused.slow_down(11.0, 9.75, 2.0)

    @pytest.mark.parametrize(("successes", "pause"), [(1, 4.0), (2, 1.0)])
    def test_shrinks(self, paused: Breaker, successes: int, pause: float) -> None:
        """It starts over when a good answer came after the one that ended the hold."""
        paused.slow_down(11.0, 11.0, 0.0)
        for _ in range(successes):
            paused.succeeded(13.0)

        assert pause == paused.slow_down(14.0, 13.5, 0.0)

    def test_in_an_outage(self, held: Breaker) -> None:
        """A probe that is told to slow down waits for the longer of pause and backoff."""
        for _ in range(4):
            held.failed(10.0, 10.0)

        assert 4.0 == held.slow_down(10.0, 10.0, 0.0)

    @pytest.mark.parametrize(
        ("now", "expected"),
        [(8.9, False), (9.0, True), (10.0, True), (11.0, True), (11.1, False)],
    )
    def test_resumes_within(self, breaker: Breaker, now: float, expected: bool) -> None:
        """A probe is near when its time is no more than so far away, or no longer over."""
        without = breaker.resumes_within(1.0, 0.0)
        breaker.slow_down(5.0, 5.0, 5.0)

        assert (False, expected) == (without, breaker.resumes_within(1.0, now))


class TestProbation:
    """Before the server has shown that it serves this application."""

    def test_first_request(self, untrusted: Breaker) -> None:
        """It may be sent at once, without waking; its pause is the shortest, too."""
        assert untrusted.allows(0.0, 0)
        assert -math.inf == untrusted.wake_at(0)
        untrusted.sent(10.0)
        assert 1.0 == untrusted.slow_down(10.0, 10.0, 0.0)

    def test_second_request(self, untrusted: Breaker) -> None:
        """It waits for the first, but no longer than a second, and not after a good answer."""
        untrusted.sent(10.0)

        assert [False, True] == [untrusted.allows(10.9375, in_flight) for in_flight in (1, 0)]
        assert 11.0 == untrusted.wake_at(1)
        assert untrusted.allows(11.0, 1)
        untrusted.succeeded(10.0)
        assert untrusted.allows(10.0, 1)

    def test_refusal(self, breaker: Breaker) -> None:
        """A refusal of the application begins it anew."""
        breaker.sent(10.0)
        breaker.refused(None, 10.0)

        assert not breaker.allows(10.5, 1)
