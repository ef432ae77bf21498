"""What hypothesis draws for the tests: marks, conversations and changes."""

import random

from hypothesis import strategies as st

from chatmark import Conversation, ConversationMark, InputError, MarkChange, OptType

#: The first and last of each kind of bit: named, Chat's own, the customer's.
EDGES = (0, 3, 4, 31, 32, 63)
RESERVED = range(4, 32)

_PRINTABLE = st.characters(min_codepoint=0x20, max_codepoint=0x7E)

#: Numbers of all 64 bits.
bit_sets = st.frozensets(st.integers(0, 63))
#: Numbers of the bits that a caller may change.
own_bit_sets = st.frozensets(st.sampled_from([n for n in range(64) if n not in RESERVED]))
#: Any mark.
marks = bit_sets.map(ConversationMark.from_bits)
#: A custom mark that the API takes.
custom_marks = st.text(st.characters(exclude_categories=["Cs"]), max_size=64)
user_ids = st.text(_PRINTABLE, min_size=1, max_size=32)
group_ids = st.text(_PRINTABLE, min_size=1, max_size=96)
conversations = st.builds(Conversation.one_to_one, user_ids) | st.builds(
    Conversation.group, group_ids
)
#: Answers and files may hold anything that JSON can say.
json_documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@st.composite
def changes(
    draw: st.DrawFn,
    accounts: st.SearchStrategy[str] = user_ids,
    targets: st.SearchStrategy[Conversation] = conversations,
    bits: st.SearchStrategy[frozenset[int]] = own_bit_sets,
) -> MarkChange:
    """Draw a change: of standard bits, of the custom mark, or of both."""
    kind = draw(st.sampled_from(OptType))
    set_bits = clear_bits = frozenset[int]()
    if kind is not OptType.CUSTOM:
        set_bits, clear_bits = draw(
            st.tuples(bits, bits).map(lambda pair: (pair[0], pair[1] - pair[0])).filter(any)
        )
    return MarkChange(
        draw(accounts),
        draw(targets),
        ConversationMark.from_bits(set_bits),
        ConversationMark.from_bits(clear_bits),
        None if kind is OptType.STANDARD else draw(custom_marks),
    )


def changes_of_one_conversation() -> st.SearchStrategy[MarkChange]:
    """Return changes that meet each other: one conversation, few bits."""
    few = st.frozensets(st.sampled_from([0, 3, 32, 63]))
    target = Conversation.one_to_one("bob")
    return changes(st.just("alice"), st.just(target), few)


def field_of(error: BaseException) -> str:
    """Return the field that an error of input names."""
    assert isinstance(error, InputError)
    return error.field


def random_changes(seed: int, count: int, accounts: int, peers: int) -> list[MarkChange]:
    """Return random changes, many of them of the same conversations."""
    rng = random.Random(seed)
    found: list[MarkChange] = []
    for _ in range(count):
        make = rng.choice((Conversation.one_to_one, Conversation.group))
        bits = rng.sample((0, 1, 2, 3, 32, 33, 47, 62, 63), rng.randint(0, 4))
        cut = rng.randint(0, len(bits))
        custom = rng.choice((None, None, "", "ü", "vip", "標" * 85))
        if not bits and custom is None:
            custom = "x"
        found.append(
            MarkChange(
                f"user_{rng.randrange(accounts)}",
                make(f"peer_{rng.randrange(peers)}"),
                ConversationMark.from_bits(bits[:cut]),
                ConversationMark.from_bits(bits[cut:]),
                custom,
            )
        )
    return found
