"""Options of `accord reward` -> a loss: what does not fit together, what is taken of a group, what is said of it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import tiny

from accord.data.outcomes import Rule
from accord.errors import InputError
from accord.maths.pair import hyperparameters
from accord.maths.reward import REWARD_LOSSES
from accord.records import Group, Judgement, RecordError
from accord.stages.reward_losses import holds_of, in_numbers, reward_term, take_of, taken_name, told
from accord.stages.reward_options import RewardOptions
from accord.training.rewards import RewardTerm


def options(**given: Any) -> RewardOptions:
    return RewardOptions(**given)


def record(*judgements: Judgement, completions: int = 2) -> Group:
    found = tiny.group(4, [3] * completions).group
    assert isinstance(found, Group)
    return replace(found, judgements=judgements)


def ranked(*ranks: Sequence[int], margin: float | None = None) -> list[Group]:
    return [record(Judgement(ranks=tuple(one), margin=margin), completions=len(one)) for one in ranks]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ties": "davidson", "loss_type": "hinge"}, "ties: davidson is a model of wins and ties"),
        ({"ties": "half", "loss_type": "plackett_luce"}, "ties: plackett_luce takes rankings with ties as they are"),
        ({"tie_strength": 2.0}, "tie_strength: not used with ties none"),
        ({"soft_labels": True, "loss_type": "hinge"}, "soft_labels: hinge cannot learn how likely"),
        ({"soft_labels": True, "ties": "davidson"}, "soft_labels: davidson cannot learn how likely"),
        ({"label_smoothing": 0.1, "loss_type": "plackett_luce"}, "label_smoothing: changes losses of pairs"),
        ({"label_smoothing": 0.1, "soft_labels": True}, "label_smoothing: ratings already say"),
        ({"rating_scale": 2.0}, "rating_scale: not used, as there are no soft_labels"),
        ({"use_margin": True, "loss_type": "plackett_luce"}, "use_margin: not used, as plackett_luce has no place"),
        ({"use_margin": True, "ties": "davidson"}, "use_margin: not used, as davidson has no place"),
        ({"use_margin": True, "soft_labels": True}, "use_margin: not used, as soft_labels say"),
    ],
)
def test_options_that_do_not_fit_together(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        options(**given)


@pytest.mark.parametrize("given", [{"label_smoothing": 0.5}, {"tie_strength": 0.0}, {"center_coefficient": -1.0}])
def test_numbers_out_of_range(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        options(**given)


def test_options_become_a_term() -> None:
    assert reward_term(options()) == RewardTerm(REWARD_LOSSES["bradley_terry"], {}, Rule(), 0.0, True, 0.0)
    made = reward_term(options(ties="davidson", tie_strength=0.3, center_coefficient=0.01))
    assert made == RewardTerm(REWARD_LOSSES["davidson"], {"tie_strength": 0.3}, Rule(ties=True), 0.0, False, 0.01)
    soft = reward_term(options(soft_labels=True, ties="half", loss_type="exponential"))
    assert soft == RewardTerm(REWARD_LOSSES["exponential"], {}, Rule(True, 1.0), 0.0, False, 0.0)
    assert not reward_term(options(use_margin=False)).use_margin
    assert in_numbers(options(ties="davidson")) == [{"name": "davidson", "weight": 1.0, "tie_strength": 1.0}]
    assert in_numbers(options(soft_labels=True, center_coefficient=0.1))[0]["rating_scale"] == 1.0


def test_what_each_loss_takes_of_a_group() -> None:
    (tied,) = ranked([1, 1])
    for refusing in (options(), options(loss_type="plackett_luce")):
        assert not holds_of(refusing)(tied)
        with pytest.raises(RecordError):
            take_of(refusing)(tied)
    for taking in (options(ties="half"), options(ties="davidson")):
        assert holds_of(taking)(tied) and take_of(taking)(tied) is tied
    names: list[dict[str, Any]] = [{}, {"use_margin": False}, {"ties": "half"}, {"soft_labels": True}]
    names.append({"loss_type": "plackett_luce"})
    assert len({taken_name(options(**given)) for given in names}) == len(names)


def test_a_negative_margin_is_refused_where_margins_are_learnt() -> None:
    (group,) = ranked([1, 2], margin=-0.5)
    with pytest.raises(RecordError, match=r"made.jsonl:1: margin: -0.5 is negative: .*--use_margin false"):
        take_of(options())(group)
    for without in (options(use_margin=False), options(ties="davidson"), options(loss_type="plackett_luce")):
        assert take_of(without)(group) is group


def test_what_is_said_of_ties_and_margins() -> None:
    groups = ranked([1, 2, 2], [1, 2], margin=0.5)
    assert told(options(), groups) == [
        "pairs: 4 of 2 groups; 1 are ties (25.0%) and left out; --ties half or --ties davidson learns from them",
        "margins: 3 of 3 pairs have one: scores are to differ by it (--use_margin false leaves it out)",
    ]
    assert "half for each side" in told(options(ties="half"), groups)[0]
    assert told(options(ties="davidson"), groups)[1].endswith("not used, as davidson has no place for them")
    assert told(options(use_margin=False), groups)[1].endswith("have one: not used")
    assert "not compared with each other" in told(options(loss_type="plackett_luce"), groups)[0]
    assert told(options(), ranked([1, 2])) == ["pairs: 1 of 1 groups; no ties"]
    with pytest.raises(InputError, match="use_margin: no pair has a margin"):
        told(options(use_margin=True), ranked([1, 2]))


def test_what_is_said_of_soft_labels() -> None:
    rated = [record(Judgement(ratings=(1.0, score))) for score in (2.0, 4.0)]
    lines = told(options(soft_labels=True), rated)
    # sigma(1) = 0.731, sigma(3) = 0.953.
    assert lines[1] == "targets: sigma(1 x the difference of ratings), for the better one 0.73 to 0.95, on average 0.84"


def test_every_hyper_parameter_of_a_loss_is_an_option() -> None:
    taken = {key for row in REWARD_LOSSES.values() for key in hyperparameters(row.loss)}
    assert taken <= set(RewardOptions.model_fields)
