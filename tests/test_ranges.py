"""Where tokens lie in flat columns: worked examples, and whatever micro-batch they come in."""

import numpy as np
import pytest
import tiny
import torch

from accord.data.batches import Layout, arrange
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.data.ranges import Ranges


def test_ends_lengths_and_owners_by_hand() -> None:
    groups = [tiny.group(3, (2, 4)), tiny.group(5, (1, 3, 2))]
    ranges = Ranges.of_groups(groups)
    assert ranges.end.tolist() == [2, 6, 7, 10, 12]
    assert ranges.first.tolist() == [0, 2]
    assert ranges.length.tolist() == [2, 4, 1, 3, 2]
    assert ranges.owner.tolist() == [0, 0, 1, 1, 1, 1, 2, 3, 3, 3, 4, 4]


def test_only_tokens_with_loss_have_a_place() -> None:
    """Stretches of loss, a completion without any, and a text without prompt, whose first token nothing predicts."""
    spans = [((0, 1), (3, 5)), (), ((0, 2),)]
    groups = [tiny.group(4, (5, 3, 2), loss=spans), tiny.group(0, (4,), loss=[((0, 4),)])]
    ranges = Ranges.of_groups(groups)
    assert ranges.length.tolist() == [3, 0, 2, 3] and ranges.end.tolist() == [3, 3, 5, 8]
    for layout in ("tree", "rows"):
        batch = arrange(groups, layout)
        assert ranges.tokens(batch).tolist() == list(range(8))


def test_no_group_has_no_place() -> None:
    ranges = Ranges.of_groups([])
    assert len(ranges.end) == len(ranges.length) == len(ranges.owner) == len(ranges.first) == 0


@pytest.mark.parametrize("layout", ["tree", "cache", "rows", "encoder"])
@pytest.mark.parametrize("max_tokens", [1, 45, 10_000])
def test_a_column_is_looked_up_for_whatever_micro_batch(layout: Layout, max_tokens: int) -> None:
    """A column that holds each token itself gives every micro-batch its own targets, and its owners in order."""
    generator = np.random.default_rng(1)
    groups = [
        tiny.group(int(generator.integers(2, 20)), generator.integers(1, 9, int(generator.integers(1, 5))), seed=seed)
        for seed in range(9)
    ]
    ranges = Ranges.of_groups(groups)
    ids = np.concatenate([one.ids for group in groups for one in group.completions])
    column = torch.from_numpy(ids.astype(np.int64))
    seen: list[int] = []
    order = generator.permutation(9)[:7].tolist()
    for batch in micro_batches(groups, order, max_tokens=max_tokens, layout=layout, start=0):
        assert torch.equal(column[ranges.tokens(batch)], batch.target)
        chosen = ranges.completions(batch)
        assert torch.equal(chosen[batch.owner], ranges.owner[ranges.tokens(batch)])
        seen += chosen.tolist()
    expected = [place for place in range(len(ranges.end)) if int((ranges.first <= place).sum()) - 1 in order]
    assert sorted(seen) == expected


def test_columns_of_other_groups_are_our_own_mistake() -> None:
    made = (TokenCompletion(tiny.tokens(3, 4), ((0, 2),)),)
    ranges = Ranges.of_groups([TokenGroup(tiny.group(2, (1,)).group, tiny.tokens(5), made)])
    with pytest.raises(AssertionError, match="columns of other groups"):
        ranges.tokens(arrange([tiny.group(2, (5,))], "tree"))
