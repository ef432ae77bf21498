import pathlib
import random
from collections.abc import Mapping

from chatmark.jobs.fates import BLOCK
from chatmark.jobs.journal import JobKey, Journal, Refusal, Run
from chatmark.jobs.spool import UserUnits

Job = Mapping[str, tuple[int, int]]


def users_of(job: Job) -> list[UserUnits]:
    """
    Return users with so many units each; the second number stands for what these say.
    """
    users: list[UserUnits] = []
    first = 0
    for account, (count, content) in sorted(job.items()):
        users.append(UserUnits(account, first, count, f"{account:4}{content:4}".encode()))
        first += count
    return users


def key_of(job: Job) -> JobKey:
    """
    Return the key of a job.
    """
    return JobKey("here", repr(sorted(job.items())), 0, 0, "rows")


def adopted(
    path: pathlib.Path, before: Job, fates: bytes, refusals: list[Refusal], after: Job
) -> tuple[int, bytes, list[Refusal]]:
    """
    Let a journal of one job become that of another; return what is kept, the fates, the refusals.
    """
    blocks = {
        number: fates[number * BLOCK : (number + 1) * BLOCK]
        for number in range(-(-len(fates) // BLOCK))
    }
    with Journal(str(path)) as journal:
        journal.begin(key_of(before), users_of(before))
        journal.write(blocks, refusals, Run(), sync=True)
    with Journal(str(path)) as journal:
        kept = journal.adopt(key_of(after), users_of(after))
    with Journal(str(path)) as journal:
        journal.check(key_of(after))
        total = sum(count for count, _ in after.values())
        found = bytearray(total)
        for number, block in journal.fates():
            found[number * BLOCK : number * BLOCK + len(block)] = block
        return kept, bytes(found[:total]), list(journal.refusals())


class TestAdopt:
    def test_moved(self, tmp_path: pathlib.Path) -> None:
        """
        What is settled of a user whose rows are the same goes to where the user's units are now.
        """
        before = {"bob": (3, 1), "eve": (2, 1), "zoe": (2, 1)}
        after = {"amy": (4, 1), "bob": (3, 2), "eve": (2, 1), "zoe": (2, 1)}
        refusals = [Refusal(1, 50001, "bob's", 1), Refusal(4, 51008, "eve's", 2)]
        found = adopted(tmp_path / "journal", before, bytes([1, 3, 0, 1, 3, 2, 0]), refusals, after)

        assert (
            3,
            bytes([0, 0, 0, 0, 0, 0, 0, 1, 3, 2, 0]),
            [Refusal(8, 51008, "eve's", 2)],
        ) == found

    def test_other_count(self, tmp_path: pathlib.Path) -> None:
        """
        Of users who are gone, or have another number of units, nothing is kept.
        """
        found = adopted(
            tmp_path / "journal",
            {"amy": (2, 1), "bob": (2, 1)},
            bytes([1, 1, 1, 1]),
            [],
            {"amy": (3, 1)},
        )

        assert (0, bytes(3), []) == found

    def test_many(self, tmp_path: pathlib.Path) -> None:
        """
        It is the same for thousands of users, whose units cross the borders of blocks.
        """
        rng = random.Random(1)
        before = {f"{number:04}": (rng.randrange(1, 40), 1) for number in range(1_500)}
        after = {
            account: (count, rng.choice((1, 1, 2)))
            for account, (count, _) in before.items()
            if rng.random() < 0.8
        }
        after |= {f"{number:04}x": (rng.randrange(1, 40), 1) for number in range(0, 1_500, 7)}
        fates = {
            account: bytes(rng.choice((0, 1, 2)) for _ in range(count))
            for account, (count, _) in before.items()
        }
        wanted = b"".join(
            fates[account] if before.get(account) == user else bytes(user[0])
            for account, user in sorted(after.items())
        )
        kept, found, _ = adopted(
            tmp_path / "journal",
            before,
            b"".join(fates[account] for account in sorted(before)),
            [],
            after,
        )

        assert wanted == found
        assert len(wanted) - wanted.count(0) == kept
