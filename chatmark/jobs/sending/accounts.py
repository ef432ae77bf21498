"""
The books of a job: every change of its input is in exactly one place.

A change is one row of chatmark's own form, or one item of a request body. A row that could not be
read counts as one, too.
"""

from collections import Counter

import attrs

from chatmark.jobs.sending.outcomes import Fate


@attrs.define
class Accounts:
    """
    What became of the changes of a job, in all its runs.

    Args:
        total: Changes in the input, rows that were set aside among them.
        set_aside: Rows that cannot be applied.
        taken: Changes that were taken up, in earlier runs or in this one.
        applied: Changes that took effect.
        unchanged: Changes of what the server had already.
        refused: Changes that the server refused, by its code.
        rejected: How many of those for the application's sake: a later run sends them again.
        unconfirmed: Changes that were sent, but no answer says whether they took effect.
        returned: Changes that were taken up, but not sent after all.
        earlier: How many of all these were settled by earlier runs.
    """

    total: int = 0
    set_aside: int = 0
    taken: int = 0
    applied: int = 0
    unchanged: int = 0
    refused: Counter[int | None] = attrs.field(factory=Counter)
    rejected: int = 0
    unconfirmed: int = 0
    returned: int = 0
    earlier: int = 0

    def add(self, fate: Fate, changes: int, code: int | None = None) -> None:
        """
        Enter the fate of changes that were taken up.
        """
        if fate is Fate.APPLIED:
            self.applied += changes
        elif fate is Fate.UNCHANGED:
            self.unchanged += changes
        elif fate in (Fate.REFUSED, Fate.REJECTED):
            self.refused[code] += changes
            self.rejected += changes if fate is Fate.REJECTED else 0
        elif fate is Fate.UNCONFIRMED:
            self.unconfirmed += changes
        else:
            self.returned += changes

    @property
    def all_refused(self) -> int:
        """
        Changes that the server refused, whatever the code.
        """
        return self.refused.total()

    @property
    def not_sent(self) -> int:
        """
        Changes that were never sent, and about which nothing else is known.
        """
        return self.total - self.set_aside - self.taken + self.returned

    @property
    def settled(self) -> int:
        """
        Changes that no later run sends again, where a journal knows of them.
        """
        return self.applied + self.unchanged + self.all_refused - self.rejected

    @property
    def ended(self) -> int:
        """
        Changes that have their end in this run or in an earlier one, be it that none is known.
        """
        return self.settled + self.rejected + self.unconfirmed

    @property
    def done(self) -> int:
        """
        Changes of the total that nothing more happens to in this run.
        """
        return self.ended + self.set_aside

    @property
    def is_balanced(self) -> bool:
        """
        Whether nothing was lost or counted twice.
        """
        return self.taken == self.ended + self.returned and min(self.not_sent, self.returned) >= 0

    @property
    def is_complete(self) -> bool:
        """
        Whether each change that could be read was sent, or need not be.
        """
        return self.not_sent == 0

    @property
    def ok(self) -> bool:
        """
        Whether the whole input took effect.
        """
        return self.is_balanced and self.applied + self.unchanged == self.total
