"""What a reward model takes of a group: pairs, their weights and targets, ties, ratings, margins."""

import math
from typing import Any

import pytest

from accord.data.choose import pairs
from accord.data.outcomes import Count, Outcome, Rule, outcomes, outcomes_of
from accord.records import Completion, Group, Judgement, Origin, RecordError

TIES = Rule(ties=True)


def group(*judgements: Judgement, completions: str = "abcd", **changes: Any) -> Group:
    texts = tuple(Completion(letter) for letter in completions)
    return Group("g", "prompt", texts, judgements, source=Origin("ranked.jsonl", 7), **changes)


def ranked(*ranks: int, **changes: Any) -> Judgement:
    return Judgement(ranks=ranks, **changes)


def test_a_comparison_is_one_outcome() -> None:
    found = outcomes(group(ranked(2, 1, margin=0.5), completions="ab", weight=3.0))
    assert found == (Outcome(1, 0, 1.0, 3.0, 0.5, False),)


def test_each_pair_of_a_ranking_has_an_equal_part() -> None:
    """A = C > B > D: five pairs differ, one ties; each of the six has a sixth of the weight."""
    ranking = group(ranked(1, 2, 1, 3), weight=1.2)
    strict, wide = outcomes(ranking), outcomes(ranking, TIES)
    assert [(one.first, one.second) for one in strict] == [(0, 1), (0, 3), (2, 1), (1, 3), (2, 3)]
    assert all(one.target == 1.0 and not one.tied for one in strict)
    assert [one for one in wide if one.tied] == [Outcome(0, 2, 0.5, pytest.approx(0.2), None, True)]
    assert [one.weight for one in wide] == pytest.approx([0.2] * 6)


def test_judgements_share_a_groups_weight() -> None:
    """Two of three say something; the tied one keeps its half, whether it is learnt from or not."""
    three = group(ranked(1, 2), ranked(1, 1), Judgement(annotator="silent"), completions="ab")
    assert outcomes(three) == (Outcome(0, 1, 1.0, 0.5, None, False),)
    assert outcomes(three, TIES) == (Outcome(0, 1, 1.0, 0.5, None, False), Outcome(0, 1, 0.5, 0.5, None, True))


def test_without_ties_outcomes_are_the_pairs_of_dpo() -> None:
    several = group(ranked(2, 1, 2, 4, margin=0.3), Judgement(ratings=(1.0, 5.0, 2.0, 2.0)), completions="abca")
    expected = [(pair.chosen, pair.rejected, pair.weight, pair.margin) for pair in pairs(several)]
    assert [(one.first, one.second, one.weight, one.margin) for one in outcomes(several)] == expected


def test_ratings_as_soft_labels() -> None:
    rated = group(Judgement(ratings=(3.0, 5.0, 3.0)), completions="abc")
    found = outcomes(rated, Rule(rating_scale=math.log(3) / 2))
    # 2 apart: sigma(ln 3) = 3/4.
    assert [(one.first, one.second, one.tied) for one in found] == [(1, 0, False), (1, 2, False)]
    assert [one.target for one in found] == pytest.approx([0.75, 0.75])
    with_ties = outcomes(rated, Rule(ties=True, rating_scale=1.0))
    assert [(one.target, one.tied) for one in with_ties if {one.first, one.second} == {0, 2}] == [(0.5, True)]
    assert outcomes(group(Judgement(ratings=(0.0, 1e308)), completions="ab"), Rule(rating_scale=10))[0].target == 1.0


def test_soft_labels_are_of_ratings_where_there_are_ranks_too() -> None:
    both = group(Judgement(ranks=(1, 2), ratings=(1.0, 2.0)), completions="ab")
    assert (outcomes(both)[0].first, outcomes(both, Rule(rating_scale=1.0))[0].first) == (0, 1)


def test_soft_labels_without_ratings_name_the_row() -> None:
    with pytest.raises(RecordError, match=r"ranked.jsonl:7: ratings: a judgement without ratings.*--soft_labels"):
        outcomes(group(ranked(1, 2), completions="ab"), Rule(rating_scale=1.0))


def test_equal_texts_are_never_compared() -> None:
    assert [(one.first, one.second) for one in outcomes(group(ranked(1, 2, 3), completions="aab"), TIES)] == [
        (0, 2),
        (1, 2),
    ]


@pytest.mark.parametrize(
    ("one", "rule", "said"),
    [
        (group(ranked(1, 1), completions="ab"), Rule(), "all its completions are tied: .*--ties half"),
        (group(completions="ab"), TIES, "no ranks or ratings say which completion is better"),
        (group(Judgement(labels=(True,)), completions="a"), TIES, "a label and no comparison: .*accord kto"),
        (group(completions="a"), Rule(), "no ranks or ratings"),
        (group(ranked(1, 2), completions="aa"), TIES, "no completion is preferred to another"),
        (group(Judgement(ranks=(1, 2), ratings=(3.0, 3.0)), completions="ab"), Rule(rating_scale=1.0), "are tied"),
    ],
)
def test_a_group_without_outcomes_is_refused(one: Group, rule: Rule, said: str) -> None:
    with pytest.raises(RecordError, match=f"ranked.jsonl:7: .*{said}") as caught:
        outcomes_of(rule, one)
    assert caught.value.finding == "not_judged"


def test_a_tied_group_teaches_where_ties_count() -> None:
    tied = group(ranked(1, 1), completions="ab")
    assert outcomes_of(TIES, tied) is tied


def test_pairs_ties_and_margins_are_counted() -> None:
    groups = [group(ranked(1, 2, 1)), group(ranked(1, 2, margin=0.5)), group(ranked(1, 1, margin=0.5))]
    groups = [group(*one.judgements, completions="abc"[: len(one.judgements[0].ranks or ())]) for one in groups]
    assert Count.of(groups) == Count(pairs=5, tied=2, margins=1)
