"""What each stage takes from a group."""

import pytest

from accord.data.choose import Labelled, Pair, Ranking, demonstration, document, labelled, pairs, rankings
from accord.records import Completion, Group, Judgement, Message, RecordError


def group(*judgements: Judgement, k: int = 3, weight: float = 1.0) -> Group:
    return Group("1", "p ", tuple(Completion(text) for text in "abcdefgh"[:k]), judgements, weight)


def test_comparison_gives_its_pair_with_margin() -> None:
    assert pairs(group(Judgement(ranks=(1, 2), margin=0.5), k=2)) == (Pair(0, 1, 1.0, 0.5),)
    assert pairs(group(Judgement(ranks=(2, 1)), k=2)) == (Pair(1, 0, 1.0, None),)


def test_ranking_gives_all_pairs_of_different_rank() -> None:
    # a = c > b: C(3,2) = 3 pairs of weight 1/3, of which the tie is none
    third = pytest.approx(1 / 3)
    assert pairs(group(Judgement(ranks=(1, 2, 1)))) == (Pair(0, 1, third, None), Pair(2, 1, third, None))


def test_ratings_and_labels_are_better_when_higher() -> None:
    assert pairs(group(Judgement(ratings=(1.0, 7.0)), k=2)) == (Pair(1, 0, 1.0, None),)
    assert pairs(group(Judgement(labels=(False, True)), k=2)) == (Pair(1, 0, 1.0, None),)


def test_several_judgements_share_the_weight() -> None:
    both = group(Judgement(ranks=(1, 2)), Judgement(ranks=(2, 1)), Judgement(annotator="silent"), k=2, weight=3.0)
    assert pairs(both) == (Pair(0, 1, 1.5, None), Pair(1, 0, 1.5, None))


def test_weights_add_up_to_the_group() -> None:
    found = pairs(group(Judgement(ranks=(3, 1, 4, 2, 5)), k=5, weight=2.0))
    assert len(found) == 10 and sum(pair.weight for pair in found) == pytest.approx(2.0)


def test_same_text_is_no_pair() -> None:
    same = Group("1", "p", (Completion("a"), Completion("a"), Completion("b")), (Judgement(ranks=(1, 2, 3)),))
    assert [(pair.chosen, pair.rejected) for pair in pairs(same)] == [(0, 2), (1, 2)]


def test_no_judgement_no_pair() -> None:
    assert pairs(group()) == ()


def test_demonstration_is_the_best_and_of_equals_the_first() -> None:
    assert demonstration(group(Judgement(ranks=(3, 1, 1)))).completions == (Completion("b"),)
    assert demonstration(group(Judgement(ratings=(1.0, 2.0, 5.0)))).completions == (Completion("c"),)
    assert demonstration(group(k=1)).completions == (Completion("a"),)


def test_demonstration_by_most_wins() -> None:
    # wins less losses: b > a > c gives 0, 2, -2; a > c > b gives 2, -2, 0; together 2, 0, -2
    votes = (Judgement(ranks=(2, 1, 3)), Judgement(ranks=(1, 3, 2)))
    assert demonstration(group(*votes)).completions == (Completion("a"),)


def test_what_is_no_demonstration() -> None:
    for bad, message in {
        group(k=0): "a prompt without a completion",
        group(k=2): "2 completions, and no ranks or ratings say which is best",
        group(Judgement(labels=(False,)), k=1): "a completion labelled false",
    }.items():
        with pytest.raises(RecordError, match=message):
            demonstration(bad)


def test_document_joins_prompt_and_best() -> None:
    joined = document(group(Judgement(ranks=(2, 1)), k=2))
    assert (joined.prompt, joined.completions) == ("", (Completion("p b"),))
    ask, reply = Message("user", "q"), Message("assistant", "r")
    chat = document(Group("1", (ask,), (Completion((reply,)),)))
    assert (chat.prompt, chat.completions) == ((), (Completion((ask, reply)),))


def test_labels_share_the_weight_of_their_group() -> None:
    both = group(Judgement(labels=(True, False)), Judgement(labels=(True, True)), Judgement(), k=2, weight=4.0)
    assert labelled(both) == tuple(Labelled(i, good, 1.0) for i, good in ((0, True), (1, False), (0, True), (1, True)))


def test_what_is_better_than_the_mean_is_good() -> None:
    half = pytest.approx(0.5)
    assert labelled(group(Judgement(ranks=(3, 1, 2)))) == (Labelled(0, False, half), Labelled(1, True, half))
    assert labelled(group(Judgement(ratings=(1.0, 7.0)), k=2)) == (Labelled(0, False, half), Labelled(1, True, half))


@pytest.mark.parametrize("ratings", [(0.1, 0.1, 0.1), (0.7, 0.7, 0.7)])
def test_a_tie_is_neither_good_nor_bad(ratings: tuple[float, ...]) -> None:
    """Though the sum of three times 0.1 is not 0.3 to the last bit."""
    assert labelled(group(Judgement(ratings=ratings))) == ()
    assert labelled(group(Judgement(ranks=(1, 1)), k=2)) == ()


def test_the_middle_of_three_ratings_is_neither_good_nor_bad() -> None:
    found = labelled(group(Judgement(ratings=(0.1, 0.2, 0.3)), weight=2.0))
    assert found == (Labelled(0, False, 1.0), Labelled(2, True, 1.0))


def test_rankings_of_judgements_that_order_share_the_weight() -> None:
    several = group(
        Judgement(ratings=(1.0, 5.0, 5.0)), Judgement(ranks=(2, 2, 2)), Judgement(ranks=(1, 3, 2)), weight=3.0
    )
    assert rankings(several) == (Ranking((3, 1, 1), 1.5), Ranking((1, 3, 2), 1.5))
