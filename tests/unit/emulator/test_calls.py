import pytest

from chatmark.emulator import Settings
from chatmark.emulator.calls import CallBook, RateLimit
from chatmark.emulator.wire import Refusal

BOB = (1, "bob")


class TestCallBook:
    def test_records_times(self) -> None:
        """A call has the times of its begin and its end."""
        ticks = iter([1.0, 2.5])
        book = CallBook(Settings(monotonic=lambda: next(ticks)))
        book.end(book.begin("mark_contact"))

        assert [(c.sequence, c.started, c.finished) for c in book.calls] == [(1, 1.0, 2.5)]

    def test_ends_once(self) -> None:
        """Ending a call again changes nothing."""
        ticks = iter([1.0, 2.5])
        book = CallBook(Settings(monotonic=lambda: next(ticks)))
        call = book.begin("mark_contact")
        book.end(call)
        book.end(call)

        assert call.finished == 2.5

    def test_keeps_the_last(self) -> None:
        """Only so many calls are kept, but all are counted."""
        book = CallBook(Settings(keep_calls=2))
        for _ in range(5):
            book.end(book.begin("mark_contact"))

        assert [call.sequence for call in book.calls] == [4, 5]
        assert book.counts == {"mark_contact": 5}

    @pytest.mark.parametrize(
        ("claims", "violations"),
        [
            (["mark alice", "mark alice"], ["call 2 (mark): alice has call 1 in flight already"]),
            (["mark alice", "mark bob"], []),
            (["mark alice", "search alice", "search alice"], []),
        ],
    )
    def test_in_flight(self, claims: list[str], violations: list[str]) -> None:
        """Only a second mark_contact of a user in flight is a violation."""
        book = CallBook(Settings())
        for claim in claims:
            command, account = claim.split()
            changes = command == "mark"
            book.claim(book.begin(f"{command}_contact"), account, (BOB,), changes=changes)

        assert violations == [each.replace("_contact", "") for each in book.violations]

    def test_one_after_the_other(self) -> None:
        """A second mark_contact after the first one is in order."""
        book = CallBook(Settings())
        for _ in range(2):
            call = book.begin("mark_contact")
            book.claim(call, "alice", (BOB,), changes=True)
            book.end(call)

        assert book.violations == []

    def test_search_of_one_twice(self) -> None:
        """A conversation twice in a search is a violation."""
        book = CallBook(Settings())
        book.claim(book.begin("search_contact_group"), "alice", (BOB, BOB), changes=False)

        assert len(book.violations) == 1

    def test_random_twice(self) -> None:
        """A random number again is a violation."""
        book = CallBook(Settings())
        for random in (5, 6, 5):
            book.admit(book.begin("mark_contact"), random)

        assert book.violations == ["call 3 (mark_contact): random 5 used twice"]

    def test_random_long_ago(self) -> None:
        """A random number that comes up again by chance, long after, is none."""
        book = CallBook(Settings())
        for random in (*range(101), 0):
            book.admit(book.begin("mark_contact"), random)

        assert book.violations == []

    def test_bounded(self) -> None:
        """A client that is always wrong does not fill the memory."""
        book = CallBook(Settings(keep_calls=1, calls_per_second=None))
        for _ in range(1500):
            book.admit(book.begin("mark_contact"), 5)

        assert len(book.violations) == 1000

    def test_clear(self) -> None:
        """Clearing begins anew."""
        book = CallBook(Settings())
        book.admit(book.begin("mark_contact"), 5)
        book.clear()
        book.admit(book.begin("mark_contact"), 5)

        assert book.violations == []
        assert [call.sequence for call in book.calls] == [1]


class TestRateLimit:
    def limit(self, times: list[float], per_second: int | None = 2) -> list[bool]:
        """Make calls at these *times* and tell which were admitted."""
        ticks = iter(times)
        rate = RateLimit(per_second, monotonic=lambda: next(ticks))
        admitted: list[bool] = []
        for _ in times:
            try:
                rate.admit("mark_contact")
            except Refusal as refusal:
                admitted.append(refusal.code != 60007)
            else:
                admitted.append(True)
        return admitted

    def test_one_too_many(self) -> None:
        """A call too many within a second is refused."""
        assert self.limit([0.0, 0.5, 0.999]) == [True, True, False]

    def test_window_slides(self) -> None:
        """The second is any second, not one of the clock's."""
        assert self.limit([0.75, 0.875, 1.5, 1.75]) == [True, True, False, True]

    def test_refused_calls_do_not_count(self) -> None:
        """A refused call does not keep the next one out."""
        assert self.limit([0.0, 0.0, 0.9, 1.0, 1.1]) == [True, True, False, True, True]

    def test_unlimited(self) -> None:
        """None means no limit."""
        assert self.limit([0.0] * 300, None) == [True] * 300

    def test_commands_count_apart(self) -> None:
        """Each command has a limit of its own."""
        rate = RateLimit(1, monotonic=lambda: 0.0)
        rate.admit("mark_contact")
        rate.admit("get_contact_group")
        with pytest.raises(Refusal):
            rate.admit("mark_contact")
