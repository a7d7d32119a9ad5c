"""Micro-batches token by token, written out by hand; and that no group, document or token is lost or doubled."""

from collections import Counter
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tokens

from accord.data.batches import Segment, arrange, size
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.data.packing import pack
from accord.errors import InputError
from accord.records import Group

RECORD = Group("g", "", ())
LAYOUTS = ("tree", "rows")
TWO_PARTS = ("cache", "encoder")


def made(prompt: tuple[int, ...], *completions: tuple[tuple[int, ...], tuple[tuple[int, int], ...]]) -> TokenGroup:
    parts = tuple(TokenCompletion(tokens(*ids), loss) for ids, loss in completions)
    return TokenGroup(RECORD, tokens(*prompt), parts)


TWO = made((11, 12, 13), ((21, 22), ((0, 2),)), ((31, 32, 33), ((0, 3),)))
# A conversation: the second token of five is the user's, and so are the third and the fourth.
TURNS = made((11, 12), ((41, 42, 43, 44, 45), ((0, 1), (4, 5))))
DOCUMENTS = made((), ((51, 52, 53), ((1, 3),)), ((61, 62), ((1, 2),)))


def test_a_tree_has_the_prompt_once() -> None:
    """Both branches go on from position 3, and the prompt's last token predicts the first token of each."""
    batch = arrange([TWO], "tree")
    assert batch.tokens.tolist() == [[11, 12, 13, 21, 22, 31, 32, 33]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 3, 4, 5]]
    assert batch.segments == (Segment(0, 0, 3, -1), Segment(0, 3, 5, 0), Segment(0, 5, 8, 0))
    assert batch.predict.tolist() == [2, 3, 2, 5, 6]
    assert batch.target.tolist() == [21, 22, 31, 32, 33]
    assert batch.owner.tolist() == [0, 0, 1, 1, 1]
    assert batch.last.tolist() == [4, 7]
    assert (batch.completions, batch.token_count) == (2, 8)


def test_rows_repeat_the_prompt_and_are_padded_on_the_right() -> None:
    batch = arrange([TWO], "rows", pad=9)
    assert batch.tokens.tolist() == [[11, 12, 13, 21, 22, 9], [11, 12, 13, 31, 32, 33]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 0], [0, 1, 2, 3, 4, 5]]
    assert batch.segments == (Segment(0, 0, 5, -1), Segment(1, 0, 6, -1))
    assert batch.predict.tolist() == [2, 3, 8, 9, 10]  # flat: row 1 begins at 6
    assert batch.target.tolist() == [21, 22, 31, 32, 33]
    assert batch.owner.tolist() == [0, 0, 1, 1, 1]
    assert batch.last.tolist() == [4, 11]
    assert (batch.completions, batch.token_count) == (2, 11)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_several_stretches_of_loss(layout: str) -> None:
    batch = arrange([TURNS], layout)
    assert batch.tokens.tolist() == [[11, 12, 41, 42, 43, 44, 45]]
    assert batch.predict.tolist() == [1, 5]
    assert batch.target.tolist() == [41, 45]
    assert batch.owner.tolist() == [0, 0]
    assert batch.last.tolist() == [6]


def test_one_completion_is_one_segment_in_both_layouts() -> None:
    """A branch of its own would be the same numbers and more work."""
    one = made((11, 12), ((21, 22), ((0, 2),)))
    for layout in LAYOUTS:
        batch = arrange([one], layout)
        assert batch.segments == (Segment(0, 0, 4, -1),)
        assert batch.positions.tolist() == [[0, 1, 2, 3]]
        assert (batch.predict.tolist(), batch.target.tolist()) == ([1, 2], [21, 22])


def test_documents_of_an_empty_prompt_do_not_see_each_other() -> None:
    batch = arrange([DOCUMENTS], "tree")
    assert batch.tokens.tolist() == [[51, 52, 53, 61, 62]]
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.segments == (Segment(0, 0, 3, -1), Segment(0, 3, 5, -1))
    assert (batch.predict.tolist(), batch.target.tolist()) == ([0, 1, 3], [52, 53, 62])
    assert batch.owner.tolist() == [0, 0, 1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_nothing_precedes_is_not_predicted(layout: str) -> None:
    """The stretch (0, 3) names the first token of a document; the token before it is another document's."""
    batch = arrange([TURNS, made((), ((51, 52, 53), ((0, 3),)))], layout)
    assert batch.target.tolist() == [41, 45, 52, 53]
    assert batch.owner.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_completion_without_loss_counts_and_predicts_nothing(layout: str) -> None:
    batch = arrange([made((), ((51,), ()), ((61, 62), ((1, 2),)))], layout)
    assert (batch.completions, batch.owner.tolist(), batch.target.tolist()) == (2, [1], [62])


def test_groups_follow_one_another() -> None:
    tree, rows = (arrange([TURNS, TWO], layout, indices=[7, 3]) for layout in LAYOUTS)
    assert tree.tokens.tolist() == [[11, 12, 41, 42, 43, 44, 45, 11, 12, 13, 21, 22, 31, 32, 33]]
    assert tree.positions.tolist() == [[0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 3, 4, 5]]
    assert tree.segments[1:] == (Segment(0, 7, 10, -1), Segment(0, 10, 12, 1), Segment(0, 12, 15, 1))
    assert tree.predict.tolist() == [1, 5, 9, 10, 9, 12, 13]
    assert tree.owner.tolist() == rows.owner.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert tree.last.tolist() == [6, 11, 14]
    assert (tree.members, tree.indices) == ((TURNS, TWO), (7, 3))
    assert rows.tokens.shape == (3, 7)
    assert rows.last.tolist() == [6, 7 + 4, 14 + 5]


def test_a_cached_prompt_lacks_its_last_token_which_begins_every_row() -> None:
    """TWO has the longer prompt: that of TURNS is padded on the left, so that what follows it is one place further."""
    batch = arrange([TWO, TURNS], "cache", pad=9)
    assert batch.prompts is not None
    assert batch.prompts.tokens.tolist() == [[11, 12], [9, 11]]
    assert batch.prompts.mask.tolist() == [[True, True], [False, True]]
    assert batch.prompts.of.tolist() == [0, 0, 1]
    assert batch.tokens.tolist() == [[13, 21, 22, 9, 9, 9], [13, 31, 32, 33, 9, 9], [12, 41, 42, 43, 44, 45]]
    assert batch.positions.tolist() == [[2, 3, 4, 0, 0, 0], [2, 3, 4, 5, 0, 0], [1, 2, 3, 4, 5, 6]]
    assert batch.predict.tolist() == [0, 1, 6, 7, 8, 12, 16]  # the last of the prompt predicts the first: 13 -> 21
    assert batch.target.tolist() == [21, 22, 31, 32, 33, 41, 45]
    assert batch.owner.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert batch.last.tolist() == [2, 9, 17]
    assert (batch.completions, batch.token_count) == (3, (2 + 3 + 4) + (1 + 6))


def test_an_encoder_has_the_prompt_whole_and_the_decoder_its_start_token() -> None:
    batch = arrange([TWO, TURNS], "encoder", pad=9, start=7)
    assert batch.prompts is not None
    assert batch.prompts.tokens.tolist() == [[11, 12, 13], [11, 12, 9]]
    assert batch.prompts.mask.tolist() == [[True, True, True], [True, True, False]]
    assert batch.prompts.of.tolist() == [0, 0, 1]
    assert batch.tokens.tolist() == [[7, 21, 22, 9, 9, 9], [7, 31, 32, 33, 9, 9], [7, 41, 42, 43, 44, 45]]
    assert batch.predict.tolist() == [0, 1, 6, 7, 8, 12, 16]  # the start token predicts the first token
    assert batch.target.tolist() == [21, 22, 31, 32, 33, 41, 45]
    assert batch.last.tolist() == [2, 9, 17]
    assert batch.token_count == (3 + 3 + 4) + (2 + 6)


def test_prompts_with_nothing_to_keep_stand_in_their_rows() -> None:
    """A prompt of one token, and none: the cached part is empty, the row is the sequence, as in rows."""
    short = made((11,), ((21, 22), ((0, 2),)), ((31,), ((0, 1),)))
    batch = arrange([TWO, short, DOCUMENTS], "cache")
    assert batch.prompts is not None
    assert batch.prompts.mask.sum(1).tolist() == [2, 0, 0]
    assert batch.tokens.tolist()[2:] == [[11, 21, 22, 0], [11, 31, 0, 0], [51, 52, 53, 0], [61, 62, 0, 0]]
    assert batch.positions.tolist()[2] == [0, 1, 2, 0]
    assert batch.target.tolist()[5:] == [21, 22, 31, 52, 53, 62]


def test_where_no_prompt_is_shared_the_cache_layout_is_rows() -> None:
    one = made((11, 12), ((21, 22), ((0, 2),)))
    batch = arrange([one, DOCUMENTS], "cache")
    assert (batch.layout, batch.prompts) == ("rows", None)
    assert batch.tokens.tolist() == [[11, 12, 21, 22], [51, 52, 53, 0], [61, 62, 0, 0]]


def test_an_encoder_needs_a_prompt() -> None:
    with pytest.raises(InputError, match="an encoder cannot read nothing"):
        arrange([TWO, tiny.group(0, [3], seed=4)], "encoder", start=7)


def test_size_counts_the_prompt_once_or_once_a_completion() -> None:
    assert [size(TWO, layout) for layout in LAYOUTS] == [3 + 2 + 3, 3 + 2 + 3 + 3]
    assert [size(TWO, layout) for layout in TWO_PARTS] == [2 + 3 + 4, 3 + 3 + 4]
    assert size(DOCUMENTS, "cache") == size(DOCUMENTS, "rows") == 3 + 2


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(2, 12), st.lists(st.integers(2, 12), min_size=2, max_size=4)), min_size=1),
    st.integers(1, 90),
    st.sampled_from(TWO_PARTS),
)
def test_two_parts_hold_every_group_once_and_the_budget_counts_the_padding_of_both(
    lengths: list[tuple[int, list[int]]], max_tokens: int, layout: str
) -> None:
    groups = [tiny.group(prompt, completions, seed=i) for i, (prompt, completions) in enumerate(lengths)]
    batches = list(micro_batches(groups, range(len(groups)), max_tokens=max_tokens, layout=layout, start=1))
    assert Counter(i for batch in batches for i in batch.indices) == Counter(range(len(groups)))
    for batch in batches:
        assert batch.layout == layout
        assert batch.prompts is not None
        places = batch.tokens.numel() + batch.prompts.tokens.numel()
        assert places <= max_tokens or len(batch.members) == 1
        assert batch.token_count == int(batch.prompts.mask.sum()) + sum(segment.length for segment in batch.segments)
        found = [batch.prompts.tokens[row][mask].tolist() for row, mask in enumerate(batch.prompts.mask)]
        kept = slice(None, -1) if layout == "cache" else slice(None)
        assert found == [member.prompt[kept].tolist() for member in batch.members]


LENGTHS = st.tuples(st.integers(0, 12), st.lists(st.integers(2, 12), min_size=1, max_size=4))


@settings(deadline=None, max_examples=60)
@given(st.lists(LENGTHS, min_size=1, max_size=12), st.integers(1, 90), st.sampled_from(LAYOUTS), st.randoms())
def test_every_group_is_in_one_micro_batch_whole_and_the_budget_holds(
    lengths: list[tuple[int, list[int]]], max_tokens: int, layout: str, random: Random
) -> None:
    groups = [tiny.group(prompt, completions, seed=i) for i, (prompt, completions) in enumerate(lengths)]
    indices = list(range(len(groups)))
    random.shuffle(indices)
    chosen = indices[: 1 + len(indices) // 2]
    batches = list(micro_batches(groups, chosen, max_tokens=max_tokens, layout=layout))
    assert Counter(i for batch in batches for i in batch.indices) == Counter(chosen)
    for batch in batches:
        assert [member is groups[i] for i, member in zip(batch.indices, batch.members, strict=True)]
        assert batch.completions == sum(len(groups[i].completions) for i in batch.indices)
        assert batch.tokens.numel() <= max_tokens or len(batch.members) == 1
        assert batch.layout == layout


def test_a_group_larger_than_the_budget_stands_alone_and_whole() -> None:
    groups = [tiny.group(10, [5, 5], seed=0), tiny.group(2, [2], seed=1), tiny.group(2, [2], seed=2)]
    for layout in LAYOUTS:
        batches = list(micro_batches(groups, range(3), max_tokens=8, layout=layout))
        assert sorted(batch.indices for batch in batches) == [(0,), (1, 2)]


def test_two_parts_are_filled_by_the_longer_part() -> None:
    """Prompts 20, 4, 20, 4 and completions of 2: those of like prompts share, and no place of theirs is padding."""
    groups = [tiny.group(prompt, [2, 2], seed=i) for i, prompt in enumerate((20, 4, 20, 4))]
    batches = list(micro_batches(groups, range(4), max_tokens=60, layout="encoder", start=1))
    assert [batch.indices for batch in batches] == [(0, 2), (1, 3)]
    groups = [tiny.group(4, [own, own], seed=i) for i, own in enumerate((20, 2, 20, 2))]
    batches = list(micro_batches(groups, range(4), max_tokens=100, layout="encoder", start=1))
    assert [batch.indices for batch in batches] == [(0, 2), (1, 3)]


def test_the_cut_does_not_depend_on_the_order_asked_for() -> None:
    groups = [tiny.group(3 + i % 4, [4, 2 + i % 3], seed=i) for i in range(9)]
    for layout in LAYOUTS:
        cuts = [
            [b.indices for b in micro_batches(groups, order, max_tokens=40, layout=layout)]
            for order in (range(9), range(8, -1, -1))
        ]
        assert cuts[0] == cuts[1]


def document(*ids: int) -> TokenGroup:
    return made((), (ids, ((1, len(ids)),)))


def ids_of(groups: list[TokenGroup]) -> list[list[int]]:
    return [completion.ids.tolist() for group in groups for completion in group.completions]


def test_packing_by_hand() -> None:
    """Length 4. 1-3 leaves room for one; 4-7 fills a block; 8 goes where there is room; 9-10 needs a new block."""
    blocks = pack([document(1, 2, 3), document(4, 5, 6, 7), document(8), document(9, 10)], 4)
    ids = [[completion.ids.tolist() for completion in block.completions] for block in blocks]
    assert ids == [[[1, 2, 3], [8]], [[4, 5, 6, 7]], [[9, 10]]]
    assert [[c.loss for c in block.completions] for block in blocks] == [[((1, 3),), ()], [((1, 4),)], [((1, 2),)]]
    assert all(len(block.prompt) == 0 for block in blocks)


def test_a_long_document_is_cut_into_pieces_that_start_anew() -> None:
    blocks = pack([document(1, 2, 3, 4, 5)], 2)
    assert ids_of(blocks) == [[1, 2], [3, 4], [5]]
    batch = arrange(blocks[:2], "tree")
    assert (batch.positions.tolist(), batch.target.tolist()) == ([[0, 1, 0, 1]], [2, 4])


def test_a_prompt_is_part_of_its_document() -> None:
    assert ids_of(pack([made((1, 2), ((3, 4), ((0, 2),)))], 8)) == [[1, 2, 3, 4]]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(1, 16))
def test_no_document_and_no_token_is_lost(lengths: list[int], length: int) -> None:
    ends = np.cumsum([0, *lengths])
    documents = [document(*range(start, end)) for start, end in pairwise(ends)]
    blocks = pack(documents, length)
    assert sorted(i for ids in ids_of(blocks) for i in ids) == list(range(sum(lengths)))
    assert all(sum(len(c.ids) for c in block.completions) <= length for block in blocks)
    ids = {first: piece for piece in ids_of(blocks) for first in piece[:1]}
    for start, end in pairwise(ends):  # each piece is a whole stretch of one document
        assert [i for first in range(start, end, length) for i in ids[first]] == list(range(start, end))
    predicted = sum(len(arrange([block], "tree").target) for block in blocks)
    assert predicted == sum(lengths) - sum(-(-n // length) for n in lengths)  # all but the first token of each piece
    # No two blocks would fit into one: little is left free.
    sizes = sorted(sum(len(c.ids) for c in block.completions) for block in blocks)
    assert len(sizes) < 2 or sizes[0] + sizes[1] > length


def test_a_batch_moves_whole() -> None:
    batch = arrange([TWO], "cache").to("meta")
    assert batch.prompts is not None
    assert {value.device.type for value in (*batch, *batch.prompts) if isinstance(value, torch.Tensor)} == {"meta"}
    assert batch.members == (TWO,)
