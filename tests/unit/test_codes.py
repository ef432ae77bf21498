import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmark.codes import CODES, Handling, code_of

# What the vendor's pages say of each code: whether to try again, and when.
NEVER = (
    *(0, 50001, 50002, 50003, 51006, 51008, 51009, 51010, 51011, 51012, 51013),
    *(60002, 60003, 60006, 60009, 60010, 60012, 60013, 60015, 60016, 60017, 60020, 60021),
    *(60025, 60026, 60027, 60028),
    *(70003, 70005, 70009, 70013, 70014, 70016, 70020, 70051, 70107, 70206, 70398, 70402, 70403),
    *(72000, 72002, 80005, 10007, 10010, 10015, 90001, 90008, 90009, 90048, 93000),
    *(10003, 10004, 10005, 10011, 10018, 10026, 10059, 80002, 90018),
)
LATER = (
    *(50004, 50005, 51007, 60008, 60014, 70169, 70202, 70500),
    *(10002, 20004, 20005, 90992, 90994, 90995, 91000),
)
WITH_NEW_SIGNATURE = (60004, 60005, 70001, 70002, 70346)
AT_LOWER_RATE = (60007, 60011, 60018, 60019, 60022, 70050, 10006, 72010, 90057)

# What fits each of these. A request that is sent again in parts is not the same request.
FITTING = {
    NEVER: {
        Handling.DONE,
        Handling.REFUSE_ITEM,
        Handling.REFUSE_APPLICATION,
        Handling.REFUSE_STANDARD,
        Handling.SPLIT,
    },
    LATER: {Handling.RETRY, Handling.RETRY_ONCE},
    WITH_NEW_SIGNATURE: {Handling.RENEW_SIGNATURE},
    AT_LOWER_RATE: {Handling.SLOW_DOWN},
}
KNOWN = {number: fitting for numbers, fitting in FITTING.items() for number in numbers}

# Codes that no change of any user can escape.
OF_THE_APPLICATION = (
    *(50003, 60002, 60006, 60009, 60010, 60012, 60016, 60017, 60020, 60021, 60025, 60026),
    *(60027, 60028, 70003, 70005, 70009, 70013, 70014, 70016, 70020, 70051, 70403, 72000, 72002),
    *(80005, 90009, 10003, 10026, 10059),
)


class TestTable:
    @pytest.mark.parametrize("number", KNOWN)
    def test_handling(self, number: int) -> None:
        """A code is treated as the vendor's pages advise."""
        assert code_of(number).handling in KNOWN[number]

    def test_complete(self) -> None:
        """The table has all codes of the vendor's pages and no others."""
        assert set(KNOWN) == set(CODES)

    @pytest.mark.parametrize(
        ("handling", "numbers"),
        [
            # Nothing but 0 counts as success.
            (Handling.DONE, (0,)),
            # No change of any user can escape these.
            (Handling.REFUSE_APPLICATION, OF_THE_APPLICATION),
            # A dissolved group gets one later attempt, on which the pages agree.
            (Handling.RETRY_ONCE, (51007,)),
            # A fault of some parameter or of the size is looked for in smaller requests.
            (
                Handling.SPLIT,
                (50002, 51006, 70206, 70402, 93000, 10004, 10005, 10018, 80002, 90018),
            ),
        ],
    )
    def test_just_these(self, handling: Handling, numbers: tuple[int, ...]) -> None:
        """These codes, and no others, are handled so."""
        assert set(numbers) == {n for n, row in CODES.items() if row.handling is handling}

    def test_pause(self) -> None:
        """Only after too many failed signatures the vendor asks for a time: a minute."""
        assert {70050: 60.0} == {n: row.pause for n, row in CODES.items() if row.pause}

    @pytest.mark.parametrize("number", KNOWN)
    def test_in_words(self, number: int) -> None:
        """Each code has a meaning, an advice as a sentence, and a page."""
        row = code_of(number)

        assert number == row.number
        assert row.meaning
        assert row.advice.endswith(".")
        assert row.page.startswith("https://")

    def test_value(self) -> None:
        """A row survives pickling."""
        assert code_of(70050) == pickle.loads(pickle.dumps(code_of(70050)))


class TestUnknown:
    @given(number=st.integers().filter(lambda number: number not in KNOWN))
    def test_refused(self, number: int) -> None:
        """An unknown code refuses its item, and is shown raw."""
        row = code_of(number)

        assert (number, Handling.REFUSE_ITEM) == (row.number, row.handling)
        assert number not in CODES
