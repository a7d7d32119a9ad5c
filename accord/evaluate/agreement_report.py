"""Agreement as people read it: a table for each question and each kind of raters, and in words what the figures are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from accord.evaluate.agreed import AGAINST, Agreed, Figure
from accord.maths.position import Shown
from accord.stages.agreement_options import AgreementOptions
from accord.stages.tables import markdown_table

MEANS = {
    "same": "two raters of one item say the same",
    "agreeing pairs": "two raters put two things in the same order; ",
    "Cohen's kappa": "agreement beyond chance of two raters, each with habits of its own (of a person and a model: of "
    "these two roles)",
    "Fleiss' kappa": "agreement beyond chance if all raters had the same habits",
    "nominal alpha": "Krippendorff's, every item with two judgements or more: values are equal or not",
    "ordinal alpha": "the same, by how many judgements lie between two values",
    "interval alpha": "the same, by the squared difference of two values",
    "Kendall's tau-b": "the mean over couples of rankings, from -1 to 1",
}


def title(one: Agreed) -> str:
    """What stands over a table."""
    return f"{one.question}, {one.between}: {one.items:,} items"


def counts_of(one: Agreed) -> str:
    """How much a table is made of."""
    prompts, raters = f"{one.prompts:,} prompts", f"{one.raters:,} annotators"
    couples = f"{one.couples:,} couples of judgements"
    return f"{one.question}, {one.between}: {one.items:,} items of {prompts}, {raters}, {couples}"


def cells(one: Agreed, level: float) -> list[dict[str, str]]:
    """The table of one question."""
    return [
        {
            "figure": figure.name,
            "value": value_of(figure),
            f"{100 * level:g} % interval": between(figure),
            "of": figure.of,
            **({"why": figure.reason} if any(other.reason for other in one.figures) else {}),
        }
        for figure in one.figures
    ]


def value_of(figure: Figure) -> str:
    mean = figure.estimate.mean
    if not math.isfinite(mean):
        return "undefined"
    return f"{100 * mean:.1f} %" if figure.share else f"{mean:+.3f}"


def between(figure: Figure) -> str:
    """The interval; where there is none, nothing."""
    low, high = figure.estimate.interval
    if not (math.isfinite(low) and math.isfinite(high)) or not math.isfinite(figure.estimate.mean):
        return ""
    return f"{100 * low:.1f} to {100 * high:.1f} %" if figure.share else f"{low:+.3f} to {high:+.3f}"


def explained(found: Sequence[Agreed], options: AgreementOptions) -> Iterator[str]:
    """What the tables are made of, each figure in words, and how the intervals came about."""
    yield from map(counts_of, found)
    for name in dict.fromkeys(figure.name for one in found for figure in one.figures):
        yield f"{name}: {MEANS[name]}" + (AGAINST[options.ties] if name == "agreeing pairs" else "")
    what = "prompts" if options.cluster == "prompt" else "items"
    yield (
        f"intervals: of shares Wilson's, clustered by {what}; of the others {options.rounds:,} resamples of {what}, "
        f"seed {options.seed}"
    )


def position_of(shown: Shown, level: float) -> str:
    """Whether people take what stands first."""
    low, high = shown.interval
    return (
        f"what was shown first wins {100 * shown.share:.1f} % of {shown.wins + shown.losses:,} verdicts that decide "
        f"({100 * level:g} % interval {100 * low:.1f} to {100 * high:.1f} %, p = {shown.p:.2g} by the sign test, "
        f"each verdict for itself; {shown.ties:,} ties)"
    )


def markdown(found: Sequence[Agreed], lines: Sequence[str], level: float) -> str:
    """Tables, and below them how they came about."""
    made: list[str] = []
    for one in found:
        made += [f"## {title(one)}", "", *markdown_table(cells(one, level)), ""]
    return "\n".join([*made, *(f"- {line}" for line in lines)])
