import builtins
import copy
import pickle
import re
import traceback

import pytest
from paths import ROOT

from chatmark import (
    AnswerError,
    ApplicationRefusedError,
    AttemptTimeoutError,
    BudgetError,
    ChangesFailedError,
    ChatmarkError,
    Conversation,
    ConversationMark,
    DeadlineExceededError,
    InputError,
    ItemRefusedError,
    MarkChange,
    OutcomeUnknownError,
    QueueFullError,
    RefusedError,
    SessionBrokenError,
    SessionClosedError,
    SessionError,
    SignatureError,
    TransportError,
    UnsentError,
    WithdrawnError,
)

SECRET = "example-secret-not-real"
CHANGE = MarkChange("alice", Conversation.group("g"), ConversationMark.FAVORITE)
EXAMPLES: list[tuple[ChatmarkError, dict[str, object]]] = [
    (ChatmarkError("reason"), {}),
    (
        InputError("to_account", "is empty", 5),
        {"field": "to_account", "reason": "is empty (got 5)"},
    ),
    (RefusedError(50002, "no"), {"code": 50002, "info": "no"}),
    (ItemRefusedError(50001, "who?"), {"code": 50001, "info": "who?"}),
    (ApplicationRefusedError(70003), {"code": 70003, "info": ""}),
    (TransportError("lost"), {"errno": None}),
    (AttemptTimeoutError("late"), {"errno": None}),
    (AnswerError("odd", status=502, path="$.X"), {"status": 502, "path": "$.X"}),
    (OutcomeUnknownError(3), {"answers": 3}),
    (DeadlineExceededError(60.0, None), {"deadline": 60.0, "last": None}),
    (SignatureError("no UserSig"), {}),
    (WithdrawnError(), {}),
    (QueueFullError(5), {"max_pending": 5}),
    (SessionError("no"), {}),
    (SessionClosedError(), {}),
    (UnsentError([CHANGE], [CHANGE]), {"unsent": (CHANGE,), "unconfirmed": (CHANGE,)}),
    (SessionBrokenError("the sending task died"), {}),
    (BudgetError("redis://h: wrong password"), {}),
    (ChangesFailedError("2 of 9", [WithdrawnError()], 2), {"failed": 2, "message": "2 of 9"}),
]
each_example = pytest.mark.parametrize(
    ("error", "attributes"), EXAMPLES, ids=[type(error).__name__ for error, _ in EXAMPLES]
)


def real_tree(root: type[BaseException]) -> set[tuple[str, str | None, str | None]]:
    """Return name, parent and foreign parent of a class and all that come from it in its module."""
    own = [base.__name__ for base in root.__bases__ if issubclass(base, ChatmarkError)]
    foreign = [
        base.__name__
        for base in root.__bases__
        if base is not Exception and hasattr(builtins, base.__name__)
    ]
    found = {(root.__name__, next(iter(own), None), next(iter(foreign), None))}
    for child in root.__subclasses__():
        if child.__module__ == root.__module__:
            found |= real_tree(child)
    return found


def drawn_tree(text: str) -> set[tuple[str, str | None, str | None]]:
    """Return name, parent and foreign parent of each line of a drawn tree."""
    found: set[tuple[str, str | None, str | None]] = set()
    above: dict[int, str] = {}
    for line in text.splitlines():
        drawn = re.match(
            r"(?P<indent> {4}[ │├└─]*)(?P<name>\w+Error)(?: \((?P<foreign>\w+)\))?", line
        )
        if drawn:
            depth = len(drawn["indent"])
            above = {at: name for at, name in above.items() if at < depth}
            parent = above[max(above)] if above else None
            above[depth] = drawn["name"]
            found.add((drawn["name"], parent, drawn["foreign"]))
    return found


class TestTree:
    def test_drawing(self) -> None:
        """The tree that the page draws is the real one."""
        page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")

        assert real_tree(ChatmarkError) == drawn_tree(page)

    def test_examples(self) -> None:
        """The tests below have an example of each class."""
        names = {name for name, _, _ in real_tree(ChatmarkError)}

        assert names == {type(error).__name__ for error, _ in EXAMPLES}

    @pytest.mark.parametrize(
        ("kind", "builtin"),
        [
            (InputError, ValueError),
            (TransportError, ConnectionError),
            (TransportError, OSError),
            (AttemptTimeoutError, TimeoutError),
            (AttemptTimeoutError, ConnectionError),
            (DeadlineExceededError, TimeoutError),
            (SessionError, RuntimeError),
            (ChangesFailedError, ExceptionGroup),
        ],
    )
    def test_builtin(self, kind: type[ChatmarkError], builtin: type[Exception]) -> None:
        """Who knows nothing of chatmark can catch the builtin error."""
        assert issubclass(kind, builtin)


class TestEachClass:
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    @each_example
    def test_pickle(
        self, error: ChatmarkError, attributes: dict[str, object], protocol: int
    ) -> None:
        """A pickled error comes back with its class, its text and its attributes."""
        again = pickle.loads(pickle.dumps(error, protocol))

        assert type(error) is type(again)
        assert str(error) == str(again)
        assert attributes == {name: getattr(again, name) for name in attributes}

    @each_example
    def test_pickle_without_cause(
        self, error: ChatmarkError, attributes: dict[str, object]
    ) -> None:
        """What caused an error may know a secret, and is not pickled with it."""
        subject = error.fresh()
        try:
            raise subject from ValueError(SECRET)
        except ChatmarkError as caught:
            pickled = pickle.dumps(caught)

        assert SECRET.encode() not in pickled

    @each_example
    def test_fresh(self, error: ChatmarkError, attributes: dict[str, object]) -> None:
        """A fresh error says the same in one line, keeps the cause and has no traceback yet."""
        cause = ValueError("cause")
        try:
            raise copy.copy(error) from cause
        except ChatmarkError as caught:
            fresh = caught.fresh()

        assert (type(error), str(error), None) == (type(fresh), str(fresh), fresh.__traceback__)
        assert cause is fresh.__cause__
        for each in (error, fresh):
            assert attributes == {name: getattr(each, name) for name in attributes}
        assert 1 == len(str(error).splitlines())

    def test_last_is_pickled(self) -> None:
        """What stood in the way at last comes along with its attributes."""
        error = DeadlineExceededError(60.0, RefusedError(50004, "later"))
        last = pickle.loads(pickle.dumps(error)).last

        assert (RefusedError, 50004, "later") == (type(last), last.code, last.info)

    def test_tracebacks_do_not_grow(self) -> None:
        """One error that is the fate of many has a short traceback for each."""
        fate = WithdrawnError()
        for _ in range(100):
            with pytest.raises(WithdrawnError) as caught:
                raise fate.fresh()

        assert 1 == len(traceback.extract_tb(caught.value.__traceback__))
        assert fate.__traceback__ is None


class TestInputError:
    def test_shortens(self) -> None:
        """Of a long value only the start is shown."""
        error = InputError("custom_mark", "is too long", "x" * 1000)

        assert 140 > len(str(error))
        assert str(error).endswith("xxx…)")

    def test_without_text(self) -> None:
        """A value that cannot be shown does not hide what is wrong with it."""
        error = InputError("mark", "does not fit into 64 bits", 10**5000)

        assert "mark: does not fit into 64 bits (got some int)" == str(error)


class TestRefusedError:
    def test_in_words(self) -> None:
        """The error has the code, its meaning, the server's own text and what to do."""
        error = ItemRefusedError(50001, "bob?")
        meaning, advice = "the user account is not imported", "Import the account, then send again."

        assert f'50001: {meaning} (the server says: "bob?"). {advice}' == str(error)
        assert (meaning, advice) == (error.meaning, error.advice)

    def test_others(self) -> None:
        """A server that says nothing is not quoted; a code that no page lists is shown as it is."""
        assert "the server says" not in str(ItemRefusedError(50001))
        assert str(ItemRefusedError(12345)).startswith("12345: a code that no vendor page lists")


class TestChangesFailedError:
    def test_except_star(self) -> None:
        """
        A handler takes its kind out of the group, and the rest goes on as the same kind of group.
        """
        refused, lost = ItemRefusedError(50001), TransportError("lost")
        taken: list[BaseException] = []

        def handle() -> None:
            try:
                raise ChangesFailedError("2 of 2 changes failed", [refused, lost])
            except* ItemRefusedError as group:
                taken.extend(group.exceptions)

        with pytest.raises(ChangesFailedError) as caught:
            handle()

        assert [refused] == taken
        assert (lost,) == caught.value.exceptions
        assert 1 == caught.value.failed

    def test_except_star_of_all(self) -> None:
        """A handler of the root takes the group as it is."""
        error = ChangesFailedError("7 of 9 changes failed", [TransportError("lost")], 7)
        taken: list[BaseException] = []
        try:
            raise error
        except* ChatmarkError as group:
            taken.append(group)

        assert [error] == taken

    def test_counts_itself(self) -> None:
        """Without a total the group counts what it holds."""
        assert 2 == ChangesFailedError("all", [WithdrawnError(), WithdrawnError()]).failed
