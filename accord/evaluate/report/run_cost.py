"""What each run cost: seconds, and tokens that went through the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accord.evaluate.report.page import Grid, Section
from accord.evaluate.report.ran import Ran
from accord.evaluate.report.values import figure, mapping, number, seconds

INTRO = (
    "Training is the time of the steps themselves, all processes of a resumed run together; from begin to end there is "
    "also reading, evaluating and saving, and whatever time a run lay idle before it was resumed. Tokens are those of "
    "the optimiser's steps. Where a model learned from samples of its own, training contains the writing of these, "
    "which is shown for itself."
)


COLUMNS = (
    "run", "training", "of it sampling, about", "begin to end", "steps", "seconds a step", "tokens", "tokens a second",
)  # fmt: skip


def section(runs: Sequence[Ran]) -> Section | None:
    """None where no run took a step."""
    stepped = [ran for ran in runs if any(number(line.get("seconds_per_step")) for line in ran.lines)]
    if not stepped:
        return None
    table = Grid(
        "What each run cost",
        COLUMNS,
        [_row(ran) for ran in stepped],
        numeric=range(1, 8),
    )
    return Section("cost", "Cost", INTRO, [table])


def _row(ran: Ran) -> list[str]:
    tokens, spent = spent_of(ran.lines)
    steps = max((int(line["step"]) for line in ran.lines), default=0)
    started, ended = number(ran.row["started"]), number(mapping(ran.about.get("ended")).get("time"))
    whole = ended - started if started is not None and ended is not None else None
    sampling = sampling_of(ran)
    return [
        ran.name,
        seconds(number(ran.summary.get("seconds")) or spent),
        seconds(sampling) if sampling else "",
        seconds(whole),
        f"{steps:,}",
        figure(spent / steps) if steps else "",
        f"{tokens:,.0f}",
        f"{tokens / spent:,.0f}" if spent else "",
    ]


def spent_of(lines: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Tokens and seconds of all logged steps: each line has the means of the steps since the one before it."""
    tokens = spent = 0.0
    last = 0
    for line in lines:
        rate, each = number(line.get("tokens_per_second")), number(line.get("seconds_per_step"))
        if rate is not None and each is not None:
            here = each * (line["step"] - last)
            tokens, spent, last = tokens + rate * here, spent + here, line["step"]
    return tokens, spent


def sampling_of(ran: Ran) -> float:
    """Seconds of writing samples: lines have the mean of a round, which has so many steps as the options say."""
    epochs, parts = (number(ran.options.get(key)) or 1.0 for key in ("num_ppo_epochs", "num_mini_batches"))
    total, last = 0.0, 0
    for line in ran.lines:
        if (each := number(line.get("seconds/sampling"))) is not None:
            total += each * (line["step"] - last) / (epochs * parts)
            last = line["step"]
    return total
