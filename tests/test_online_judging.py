"""Samples put in order by scores, and what of judged samples a loss takes."""

import math

import numpy as np
import pytest
import tiny
import torch

from accord.data.choose import labelled, pairs, rankings
from accord.data.dialogue import TokenGroup
from accord.records import Completion, Group, Judgement
from accord.stages.online_judging import by_score, drawn, judged, learnt, tied


def group(*texts: str, seed: int = 0) -> tuple[TokenGroup, Group]:
    """Samples of these texts, of 1, 2, ... tokens."""
    tokens = tiny.group(3, range(1, len(texts) + 1), seed=seed)
    return tokens, Group(f"g{seed}", "x", tuple(map(Completion, texts)))


def ranked(*ranks: int, texts: str = "abcdefgh") -> TokenGroup:
    return judged(*group(*texts[: len(ranks)]), [Judgement(ranks=ranks)])


def test_scores_become_ranks_and_equal_ones_ties() -> None:
    score = torch.tensor([0.5, 2.0, 0.5, -1.0, 3.0, 3.0, 3.0, 3.0], dtype=torch.float64)
    assert [one.ranks for one in by_score(score, 4)] == [(2, 1, 2, 4), (1, 1, 1, 1)]


def test_drawn_orders_are_those_of_bradley_terry() -> None:
    """Of every two samples, whatever else is in the group; and of three the whole order is Plackett-Luce's."""
    reward, draws = [1.0, 0.0, -0.5], 20_000
    orders = drawn(torch.tensor(reward * draws, dtype=torch.float64), 3, seed=5)
    ranks = np.array([one.ranks for one in orders])
    for i, j in ((0, 1), (0, 2), (1, 2)):
        chance = 1 / (1 + math.exp(reward[j] - reward[i]))
        error = math.sqrt(chance * (1 - chance) / draws)
        assert abs((ranks[:, i] < ranks[:, j]).mean() - chance) < 4 * error
    first, second = math.exp(1.0) / (math.exp(1.0) + 1 + math.exp(-0.5)), 1 / (1 + math.exp(-0.5))
    share = (ranks == (1, 2, 3)).all(1).mean()
    assert abs(share - first * second) < 4 * math.sqrt(first * second / draws)


def test_an_order_is_drawn_from_the_seed_alone() -> None:
    score = torch.zeros(12, dtype=torch.float64)
    assert drawn(score, 3, seed=1) == drawn(score, 3, seed=1) != drawn(score, 3, seed=2)


def test_of_several_samples_the_best_and_the_worst_are_learnt_from_or_all() -> None:
    (ends,) = learnt([ranked(2, 4, 1, 3)], "pairs", extremes=True)
    assert ends.places == (2, 1)
    assert [len(one.ids) for one in ends.group.completions] == [3, 2]
    assert [(one.chosen, one.rejected, one.weight) for one in pairs(ends.group.group)] == [(0, 1, 1.0)]
    (every,) = learnt([ranked(2, 4, 1, 3)], "pairs", extremes=False)
    assert len(pairs(every.group.group)) == 6 and len(every.group.completions) == 4


def test_groups_in_which_all_are_tied_are_left_out() -> None:
    groups = [ranked(1, 1, 1), ranked(1, 2, 2), ranked(1, 2, 3, texts="aaa")]
    for extremes in (True, False):
        found = learnt(groups, "pairs", extremes=extremes)
        assert [one.place for one in found] == [1]
    assert tied(groups) == pytest.approx((1 + 1 / 3 + 1) / 3)


def test_samples_of_the_same_text_are_no_pair() -> None:
    (found,) = learnt([ranked(1, 2, 3, texts="aba")], "pairs", extremes=False)
    assert [(one.chosen, one.rejected) for one in pairs(found.group.group)] == [(0, 1), (1, 2)]
    assert tied([found.group]) == pytest.approx(1 / 3)


def test_samples_that_are_left_out_are_not_compared() -> None:
    counts = [[True, False, True, True], [True, False, False, False]]
    groups = [ranked(4, 1, 2, 3), ranked(1, 2, 3, 4)]
    (found,) = learnt(groups, "pairs", extremes=False, counts=counts)
    assert found.places == (0, 2, 3)
    assert {(one.chosen, one.rejected) for one in pairs(found.group.group)} == {(1, 0), (2, 0), (1, 2)}
    (found,) = learnt(groups, "pairs", extremes=True, counts=counts)
    assert found.places == (2, 0)


def test_labels_are_good_above_the_mean_rank_and_bad_below() -> None:
    (found,) = learnt([ranked(1, 2, 3)], "labels", extremes=False)
    assert [(one.completion, one.label, one.weight) for one in labelled(found.group.group)] == [
        (0, True, 0.5), (2, False, 0.5),
    ]  # fmt: skip


def test_rankings_are_learnt_whole() -> None:
    (found,) = learnt([ranked(2, 3, 1), ranked(1, 1, 1)], "rankings", extremes=False)
    assert [one.ranks for one in rankings(found.group.group)] == [(2, 3, 1)]


def test_several_people_share_the_weight_of_a_group() -> None:
    said = [Judgement(ranks=(1, 2, 3)), Judgement(ranks=(2, 1, 3)), Judgement(ranks=(1, 3, 2))]
    (found,) = learnt([judged(*group("a", "b", "c"), said)], "pairs", extremes=True)
    assert found.places == (0, 2)  # two wins less losses of each: 2 + 0 + 2, 0 + 2 - 2, -2 - 2 + 0
    assert [(one.chosen, one.rejected, one.weight) for one in pairs(found.group.group)] == [
        (0, 1, pytest.approx(1 / 3))
    ] * 3


def test_what_a_group_is_besides_its_samples_stays() -> None:
    tokens = tiny.group(4, (2, 3), seed=7, weight=2.5)
    found = judged(tokens, Group("g7", "x", (Completion("a"), Completion("b"))), [Judgement(ranks=(2, 1))])
    assert (found.group.id, found.group.weight, found.group.source) == ("g7", 2.5, tokens.group.source)
    assert found.completions is tokens.completions
