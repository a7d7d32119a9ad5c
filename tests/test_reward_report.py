"""The report on a reward model: small data sets whose figures can be counted by hand."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from accord.errors import InputError, StorageError
from accord.maths.statistics import wilson
from accord.records import Judgement, Origin, Said
from accord.stages.reward_figures import by_number, spread_of
from accord.stages.reward_plot import draw
from accord.stages.reward_report import RewardReport, Scored, report


def group(
    scores: Sequence[float],
    *judgements: Judgement,
    lengths: Sequence[int] | None = None,
    category: str | None = None,
    weight: float = 1.0,
    same: Sequence[int] | None = None,
) -> Scored:
    places = range(len(scores))
    said = Said("g", judgements, weight, category, Origin("rows.jsonl", 7), tuple(same or places))
    return Scored(said, scores, lengths or [10] * len(scores))


def ranked(*ranks: int, annotator: str | None = None, margin: float | None = None) -> Judgement:
    return Judgement(ranks=ranks, annotator=annotator, margin=margin)


A, B, TIE = ranked(1, 2), ranked(2, 1), ranked(1, 1)


def test_accuracy_by_hand() -> None:
    # Right, wrong, right, right; the chosen one is longer, shorter, as long, longer.
    found = report(
        [
            group([2, 1], A, lengths=[5, 3]),
            group([2, 1], B, lengths=[5, 3]),
            group([0, 1], B, lengths=[4, 4]),
            group([1, 0], A, lengths=[2, 1]),
        ]
    )
    accuracy = found.accuracy
    assert accuracy.pairs == 4
    assert accuracy.model.mean == 0.75 and accuracy.model.interval == pytest.approx(wilson(3, 4))
    assert accuracy.longer_wins.mean == 2.5 / 4
    # Pair by pair 1 - 1, 0 - 0, 1 - 1/2, 1 - 1.
    assert accuracy.above_longer_wins.mean == 0.125
    assert accuracy.above_longer_wins.standard_error == pytest.approx(math.sqrt((0.375**2 + 3 * 0.125**2) / 3 / 4))
    assert accuracy.shorter_wins.mean == 1.5 / 4 and accuracy.above_shorter_wins.mean == 0.375
    written = found.to_json()
    assert (written["pairs"], written["accuracy"]["mean"], written["chance"]) == (4, 0.75, 0.5)


def test_where_the_shorter_one_wins_that_is_what_the_model_is_held_against() -> None:
    short = report([group([1, 0], A, lengths=[3, 5])]).lines()
    assert "  shorter wins      100.0 % (20.7 to 100.0 %); the model +0.0 points" in short
    assert not any("shorter wins" in line for line in report([group([1, 0], A, lengths=[5, 3])]).lines())


def test_pairs_weigh_as_in_training() -> None:
    # One group of three completions (1/3 a pair, two right) whose second judgement has all reversed; one right pair.
    found = report([group([3, 1, 2], ranked(1, 2, 3), ranked(3, 2, 1)), group([1, 0], A)])
    assert found.accuracy.pairs == 7
    assert found.accuracy.model.mean == pytest.approx(((2 / 3 + 1 / 3) / 2 + 1) / 2)
    heavy = report([group([1, 0], A, weight=3), group([0, 1], A)])
    assert heavy.accuracy.model.mean == 0.75


def test_equal_scores_are_half_right_and_stand_apart() -> None:
    found = report([group([1, 1], A), group([2, 1], A)])
    assert found.accuracy.model.mean == 0.75
    assert (found.accuracy.equal, found.accuracy.equal_is_wrong.mean) == (1, 0.5)
    assert any("equal scores" in line and "1 pairs" in line for line in found.lines())
    assert not any("equal scores" in line for line in report([group([2, 1], A)]).lines())


def test_ties_stand_apart() -> None:
    # Differences 0.5 and 3 of ties, 1 and 2 of others: of four couples the other is further apart in two.
    found = report([group([1.5, 1], TIE), group([0, 3], TIE), group([1, 0], A), group([0, 2], A)])
    assert found.accuracy.pairs == 2 and found.accuracy.model.mean == 0.5
    ties = found.ties
    assert ties is not None and (ties.pairs, ties.share.mean) == (2, 0.5)
    assert (ties.distance, ties.distance_of_others, ties.told_apart.mean) == (1.75, 1.5, 0.5)
    assert report([group([1, 0], A)]).ties is None


def test_two_completions_of_one_text_are_no_pair() -> None:
    found = report([group([1, 1, 0], ranked(1, 2, 3), same=(0, 0, 2))])
    assert found.accuracy.pairs == 2 and found.accuracy.equal == 0


def test_accuracy_by_what_the_data_say() -> None:
    margins = [group([1, 0], ranked(1, 2, margin=1.0)), group([0, 1], ranked(1, 2, margin=1.0))]
    margins += [group([1, 0], ranked(2, 1, margin=3.0))]
    rated = [group([1, 0], Judgement(ratings=(2.0, 6.5)))]
    orders = [group([3, 2, 1], ranked(1, 3, 2))]
    found = report([*margins, *rated, *orders])
    rows = {title: [(row.name, row.pairs, row.model.mean) for row in parts] for title, parts in found.by_lead.items()}
    assert rows == {
        "margin": [("1", 2, 0.5), ("3", 1, 0.0)],
        "difference of ratings": [("4.5", 1, 0.0)],
        "ranks apart": [("1", 2, 0.5), ("2", 1, 1.0)],
    }
    assert report([group([1, 0], A)]).by_lead == {}  # of two completions ranks say nothing of how much


def test_many_values_are_cut_into_parts_of_equal_size() -> None:
    decided = report([group([place / 7, 0], A) for place in range(1, 101)]).decided
    parts = by_number(decided, np.arange(100.0))
    assert [(part.low, part.high, part.pairs) for part in parts] == [
        (0, 19, 20), (20, 39, 20), (40, 59, 20), (60, 79, 20), (80, 99, 20)
    ]  # fmt: skip


def test_accuracy_by_how_much_longer_the_better_one_is() -> None:
    rows = [group([1, 0], A, lengths=[3, 5]), group([1, 0], B, lengths=[3, 5]), group([2, 0], A, lengths=[1, 3])]
    found = [(part.name, part.pairs, part.model.mean, part.longer_wins) for part in report(rows).by_length]
    assert found == [("-2", 2, 1, 0), ("2", 1, 0, 1)]


def test_categories_with_most_pairs_come_first() -> None:
    rows = [group([1, 0], A, category="b"), group([1, 0], A, category="a"), group([0, 1], A, category="a")]
    found = report([*rows, group([1, 0], A)])
    assert [(part.name, part.pairs, part.model.mean) for part in found.by_category] == [("a", 2, 0.5), ("b", 1, 1)]


def test_a_model_that_says_what_is_so_is_calibrated() -> None:
    # sigma(log 3) = 3/4, and three of four are right.
    gap = math.log(3)
    found = report([*[group([gap, 0], A)] * 3, group([gap, 0], B)]).to_json()["calibration"]
    assert found["ece"] == pytest.approx(0, abs=1e-12) and found["confidence"] == pytest.approx(0.75)
    assert found["brier"] == pytest.approx((3 * 0.25**2 + 0.75**2) / 4)
    assert [(one["count"], one["frequency"]) for one in found["bins"]] == [(4, 0.75)]
    certain = report([*[group([9 * gap, 0], A)] * 3, group([9 * gap, 0], B)]).probabilities.calibration
    assert certain.ece == pytest.approx(0.25, abs=1e-4)


def test_scores_of_either_side() -> None:
    spreads = report([group([2, 1], A), group([5, 4], B)]).spreads
    assert (spreads.chosen.mean, spreads.rejected.mean, spreads.gap.mean, spreads.all.mean) == (3, 3, 0, 3)
    assert (spreads.chosen.std, spreads.gap.std) == (1, 1)


def test_quantiles_go_by_weight() -> None:
    assert spread_of(np.array([3.0, 1.0, 2.0])).quantiles[2] == 2
    assert spread_of(np.array([3.0, 1.0, 2.0]), [8, 1, 1]).quantiles[2] == pytest.approx(2 + 0.35 / 0.45)


def test_length_within_groups_and_over_all() -> None:
    # Within each group the longer one scores lower; the group of longer ones scores higher.
    found = report([group([1, 2], A, lengths=[12, 10]), group([8, 9], A, lengths=[42, 40])]).lengths
    assert found.within.mean == pytest.approx(-1)
    assert found.over_all.mean == pytest.approx(np.corrcoef([12, 10, 42, 40], [1, 2, 8, 9])[0, 1])
    assert found.longer_scored_higher.mean == 0


def test_rankings_by_hand() -> None:
    # The highest-scored is best; then one of two best of four shares the top with a worse one.
    first = group([3, 1, 2], ranked(1, 2, 3), lengths=[1, 2, 9])
    second = group([5, 5, 0, 1], ranked(1, 2, 1, 2), lengths=[9, 1, 1, 1])
    found = report([first, second, group([0, 0, 1], ranked(1, 1, 1))])
    orders = found.orders
    assert orders is not None and orders.judgements == 2
    assert (orders.top.mean, orders.longest.mean) == ((1 + 0.5) / 2, (0 + 1) / 2)
    assert orders.chance == pytest.approx((1 / 3 + 1 / 2) / 2)
    expected = [kendalltau([-1, -2, -3], [3, 1, 2]), kendalltau([-1, -2, -1, -2], [5, 5, 0, 1])]
    assert orders.tau.mean == pytest.approx(np.mean([one.statistic for one in expected]))
    assert report([group([1, 0], A)]).orders is None


def test_a_model_that_scores_all_alike_has_no_rank_correlation() -> None:
    orders = report([group([1, 1, 1], ranked(1, 2, 3))]).orders
    assert orders is not None and math.isnan(orders.tau.mean) and orders.top.mean == pytest.approx(1 / 3)


def by(annotator: str, *ranks: int) -> Judgement:
    return ranked(*ranks, annotator=annotator)


def test_what_people_agree_on() -> None:
    # Three for the first, one against, one undecided; two who disagree; one person alone.
    first = [by(name, 1, 2) for name in "abc"] + [by("d", 2, 1), by("e", 1, 1)]
    second = [by("a", 1, 2), by("b", 2, 1)]
    ceiling = report([group([1, 0], *first), group([1, 0], *second), group([0, 1], by("a", 1, 2))]).ceiling
    assert ceiling is not None and ceiling.pairs == 2
    assert ceiling.person.mean == pytest.approx((3 + 0) / (6 + 1))
    assert ceiling.three_way.mean == pytest.approx((3 + 0) / (10 + 1))
    # The model agrees with three of four, and with one of two; by couples of people, as the above.
    assert ceiling.model.mean == pytest.approx((6 * 3 / 4 + 1 * 1 / 2) / 7)
    assert ceiling.person_with_majority.mean == pytest.approx(3 / 4)
    assert ceiling.model_with_majority.mean == 1
    assert ceiling.most == pytest.approx((3 + 1) / 6)


def test_agreement_goes_by_completions_and_not_by_who_won() -> None:
    ceiling = report([group([0, 2, 1], by("a", 1, 2, 3), by("b", 3, 1, 2))]).ceiling
    # Pairs (0, 1) and (0, 2) are disputed, (1, 2) is not; the model is right in both of b's and in the last.
    assert ceiling is not None and ceiling.pairs == 3
    assert ceiling.person.mean == pytest.approx(1 / 3)
    assert ceiling.model.mean == pytest.approx((0.5 + 0.5 + 1) / 3)


def test_nobody_agrees_with_oneself() -> None:
    assert report([group([1, 0], by("a", 1, 2), by("a", 1, 2))]).ceiling is None
    corrected = report([group([1, 0], by("a", 2, 1), by("b", 1, 2), by("a", 1, 2))]).ceiling
    assert corrected is not None and corrected.person.mean == 1  # the last word counts
    unnamed = report([group([1, 0], A, A)]).ceiling
    assert unnamed is not None and unnamed.person.mean == 1


ODD = {
    "nothing": [],
    "not judged": [group([1, 2]), group([3.0, 3.0], lengths=[1, 2])],
    "one completion": [group([1], Judgement(labels=(True,)))],
    "one pair": [group([1, 0], A)],
    "all tied": [group([1, 0], TIE), group([1, 0, 3], ranked(1, 1, 1))],
    "all undecided": [group([1, 0], by("a", 1, 1), by("b", 1, 1))],
    "all equal": [group([1, 1], A), group([1, 1], B)],
    "all right": [group([1, 0], A, lengths=[9, 1])] * 3,
    "every part": [
        group([4, 1, 2], by("a", 1, 2, 2), by("b", 1, 3, 2), lengths=[3, 2, 1], category="x|y"),
        group([1, 0], ranked(2, 1, margin=2.0), category="\x1b[31mred"),
        group([3, 0], TIE),
        *(group([0.1 * place, 1], Judgement(ratings=(0.3 * place, 1.0))) for place in range(12)),
    ],
}


@pytest.mark.parametrize("name", ODD)
def test_every_report_is_json_text_and_a_picture(name: str, tmp_path: Path) -> None:
    found = report(ODD[name])
    json.dumps(found.to_json(), allow_nan=False)
    said = "\n".join([*found.lines(), *found.markdown()])
    assert "nan" not in said and "\x1b" not in said
    draw(found, str(tmp_path / "report.png"))
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def whole() -> RewardReport:
    return report(ODD["every part"])


def test_the_terminal_and_the_card_say_the_same() -> None:
    lines, card = whole().lines(), whole().markdown()
    assert lines[0] == "report on 18 pairs of 15 groups"
    accuracy = next(line for line in lines if line.strip().startswith("accuracy  ")).split(maxsplit=1)[1]
    assert f"| accuracy | {accuracy} |" in card
    for name in ("longer wins", "ties", "two who decide", "best on top", "calibration", "length and score"):
        assert any(line.startswith(f"  {name} ") for line in lines)
        assert any(line.startswith(f"| {name} |") for line in card)
    assert any(line.startswith("| x\\|y | 5 |") for line in card)


def test_many_categories_are_not_all_named() -> None:
    found = report([group([1, 0], A, category=f"c{place:02}") for place in range(15)])
    assert "    and 3 more" in found.lines() and "3 more are not shown." in found.markdown()
    assert len(found.to_json()["by_category"]) == 15


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_refused(score: float) -> None:
    with pytest.raises(InputError, match=r"rows\.jsonl:7: the score of completion 2 is"):
        report([group([1, score], A)])


@pytest.mark.parametrize("name", ["none/report.png", "report.nothing"])
def test_a_picture_that_cannot_be_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot be written .*: .*\.png, \.pdf or \.svg"):
        draw(whole(), str(tmp_path / name))
