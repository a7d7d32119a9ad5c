"""Which loss of reward models the options ask for, checked against each other, and what it takes of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from accord.data.choose import rankings
from accord.data.outcomes import Count, Rule, outcomes, outcomes_of
from accord.data.take import Take, compared
from accord.errors import InputError
from accord.maths.pair import hyperparameters
from accord.maths.reward import REWARD_LOSSES
from accord.records import Judged
from accord.stages.options import Conflict
from accord.training.rewards import RewardTerm

if TYPE_CHECKING:
    from accord.stages.reward_options import RewardOptions

LEAVE_OUT = "leave it out"


def name_of(options: RewardOptions) -> str:
    """The row of REWARD_LOSSES: Davidson's model takes the place of Bradley and Terry's."""
    return "davidson" if options.ties == "davidson" else options.loss_type


def reward_term(options: RewardOptions) -> RewardTerm:
    """The loss that the options ask for. Conflict where they do not fit together."""
    _check_ties(options)
    row = REWARD_LOSSES[name_of(options)]
    _check_labels(options)
    given = {"tie_strength": options.tie_strength}
    own = hyperparameters(row.loss)
    hyper = {key: own[key] if (value := given[key]) is None else value for key in own}
    return RewardTerm(
        row, hyper, rule_of(options), options.label_smoothing, _may_use_margin(options), options.center_coefficient
    )


def rule_of(options: RewardOptions) -> Rule:
    """Which outcomes count."""
    scale = 1.0 if options.rating_scale is None else options.rating_scale
    return Rule(options.ties != "none", scale if options.soft_labels else None)


def take_of(options: RewardOptions) -> Take:
    """What the stage takes of a group: all of it, if this loss learns from it."""
    if REWARD_LOSSES[options.loss_type].of == "rankings":
        return partial(compared, "rankings")
    return partial(outcomes_of, rule_of(options), margins=_may_use_margin(options))


def holds_of(options: RewardOptions) -> Callable[[Judged], Sequence[object]]:
    """What this loss learns from in a group; empty where there is nothing."""
    return rankings if REWARD_LOSSES[options.loss_type].of == "rankings" else partial(outcomes, rule=rule_of(options))


def taken_name(options: RewardOptions) -> str:
    """The same name where `take_of` and `holds_of` take the same groups."""
    if REWARD_LOSSES[options.loss_type].of == "rankings":
        return "rankings"
    parts = {"ratings": options.soft_labels, "ties": options.ties != "none", "margins": _may_use_margin(options)}
    return " and ".join(["pairs", *(part for part, counts in parts.items() if counts)])


def in_numbers(options: RewardOptions) -> list[dict[str, Any]]:
    """The loss with its numbers as they are used, as summary.json has them."""
    term = reward_term(options)
    found: dict[str, Any] = {"name": name_of(options), "weight": 1.0, **term.hyper}
    if options.soft_labels:
        found["rating_scale"] = term.rule.rating_scale
    others = {"label_smoothing": term.label_smoothing, "center_coefficient": term.center_coefficient}
    return [found | {key: value for key, value in others.items() if value}]


def told(options: RewardOptions, groups: Sequence[Judged]) -> list[str]:
    """What is to be said of the pairs of these groups: how many there are, and what is done with ties and margins.

    InputError: use_margin is asked for, and nothing has a margin.
    """
    count = Count.of(groups, rule_of(options))
    if options.use_margin and not count.margins:
        raise InputError("no pair has a margin", where="use_margin", fix="leave it out, or give a column margin")
    lines = [f"pairs: {count.pairs:,} of {len(groups):,} groups; {_of_ties(options, count)}"]
    if options.soft_labels:
        lines.append(f"targets: {_of_targets(options, groups)}")
    if count.margins:
        lines.append(
            f"margins: {count.margins:,} of {count.pairs - count.tied:,} pairs have one: {_of_margins(options)}"
        )
    return lines


def _of_ties(options: RewardOptions, count: Count) -> str:
    if not count.tied:
        return "no ties"
    ties = f"{count.tied:,} are ties ({count.tied / count.pairs:.1%})"
    if options.loss_type == "plackett_luce":
        return f"{ties}, which are not compared with each other"
    return {
        "none": f"{ties} and left out; --ties half or --ties davidson learns from them",
        "half": f"{ties}, learnt as half for each side (--ties half)",
        "davidson": f"{ties}, an outcome of their own (--ties davidson)",
    }[options.ties]


def _of_targets(options: RewardOptions, groups: Sequence[Judged]) -> str:
    rule = rule_of(options)
    targets = [outcome.target for group in groups for outcome in outcomes(group, rule)]
    mean = sum(targets) / len(targets)
    formula = f"sigma({rule.rating_scale:g} x the difference of ratings)"
    return f"{formula}, for the better one {min(targets):.2f} to {max(targets):.2f}, on average {mean:.2f}"


def _of_margins(options: RewardOptions) -> str:
    if _may_use_margin(options):
        return "scores are to differ by it (--use_margin false leaves it out)"
    return "not used" + ("" if options.use_margin is False else f", as {_without_margins(options)}")


def _may_use_margin(options: RewardOptions) -> bool:
    return options.use_margin is not False and _without_margins(options) is None


def _without_margins(options: RewardOptions) -> str | None:
    """Why this loss has no place for margins, where it has none."""
    if options.soft_labels:
        return "soft_labels say by ratings how sure a comparison is"
    return None if REWARD_LOSSES[name_of(options)].margins else f"{name_of(options)} has no place for them"


def _check_ties(options: RewardOptions) -> None:
    if options.ties == "davidson" and options.loss_type != "bradley_terry":
        raise Conflict("ties", f"davidson is a model of wins and ties, and loss_type is {options.loss_type}", LEAVE_OUT)
    if options.ties == "half" and options.loss_type == "plackett_luce":
        what = "plackett_luce takes rankings with ties as they are"
        raise Conflict("ties", what, "leave it out, or learn from pairs: loss_type bradley_terry")
    if options.tie_strength is not None and options.ties != "davidson":
        raise Conflict("tie_strength", f"not used with ties {options.ties}", "give ties davidson, or leave it out")


def _check_labels(options: RewardOptions) -> None:
    name = name_of(options)
    if options.soft_labels and not REWARD_LOSSES[name].soft:
        able = ", ".join(other for other, row in REWARD_LOSSES.items() if row.soft)
        raise Conflict("soft_labels", f"{name} cannot learn how likely one is better", f"losses that can: {able}")
    if options.label_smoothing and name in ("davidson", "plackett_luce"):
        raise Conflict("label_smoothing", f"changes losses of pairs, and this is {name}", LEAVE_OUT)
    if options.label_smoothing and options.soft_labels:
        raise Conflict("label_smoothing", "ratings already say how sure a comparison is", "leave out one of the two")
    if options.rating_scale is not None and not options.soft_labels:
        raise Conflict("rating_scale", "not used, as there are no soft_labels", "give soft_labels too, or leave it out")
    if options.use_margin and (why := _without_margins(options)):
        raise Conflict("use_margin", f"not used, as {why}", LEAVE_OUT)
