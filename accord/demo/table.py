"""The demo's end on the terminal: what changed, a few answers before and after, and what each stage took."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from accord.demo.figures import Example, Outcome
from accord.maths.statistics import Estimate
from accord.training.progress import printable

LEGEND = {
    "reward": "the exact sentiment of an answer; what is no sentence of the grammar counts as -1",
    "annotators prefer it": "how probably an annotator prefers an answer to one of the model before",
    "comparisons guessed": "the better of two answers is told by whose probability rose more; as annotators err, one "
    "who knows the exact sentiment would be right as often as the last column says",
    "KL": "how far the model has moved: KL(after || before) of an answer, estimated from the answers",
}
BEFORE, AFTER = "before (sft)", "after (dpo)"


class Row(NamedTuple):
    """A line of the table: what is measured, then cells for before, after, and what is to be said beside them."""

    title: str
    before: str
    after: str
    beside: str = ""


def percent(estimate: Estimate) -> str:
    """51.2 % (49.8 to 52.6)"""
    low, high = estimate.interval
    return f"{100 * estimate.mean:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def number(estimate: Estimate) -> str:
    """0.31 (0.28 to 0.34)"""
    low, high = estimate.interval
    return f"{estimate.mean:z.2f} ({low:z.2f} to {high:z.2f})"


def signed(estimate: Estimate) -> str:
    """+0.31 (+0.28 to +0.34)"""
    low, high = estimate.interval
    return f"{estimate.mean:+z.2f} ({low:+z.2f} to {high:+z.2f})"


def rows(outcome: Outcome) -> list[Row]:
    """The table, as text."""
    was, now, change = outcome.before.estimates, outcome.after.estimates, outcome.change.estimates

    def both(title: str, name: str, show: Callable[[Estimate], str], beside: str = "") -> Row:
        return Row(title, show(was[name]), show(now[name]), beside)

    kl = change["kl"]
    return [
        both("reward, -1 to 1", "reward", number, signed(change["reward"])),
        Row("annotators prefer it", "", percent(change["preferred"])),
        # Before training the two have the same probabilities: there is no guess yet, and nothing is estimated.
        Row("comparisons guessed", "50 %", percent(now["accuracy"]), f"at best {100 * outcome.ceiling:.1f} %"),
        both("grammatical sentences", "grammatical", percent),
        both("answers that ended", "ended", percent),
        both("tokens of an answer", "length", number),
        Row("KL from before, nats", "0", number(kl), f"standard error {kl.standard_error:z.2f}"),
    ]


def show(outcome: Outcome, folder: Path, console: Console) -> None:
    """Prints it all."""
    questions, each = outcome.counts["held_out_questions"], outcome.counts["answers_each"]
    console.print(
        f"\n[bold]What the comparisons changed[/bold]: {questions} questions that neither model was trained on, {each} "
        "answers each.\nIn brackets: 95 % intervals over the questions.",
        highlight=False,
    )
    console.print(_figures(outcome))
    console.print(_legend())
    console.print("[bold]The first of these questions, with each model's first answer[/bold]", highlight=False)
    console.print(_examples(outcome.examples))
    console.print(_times(outcome.seconds), highlight=False)
    console.print(
        f"All figures are in {folder / 'summary.json'}; the texts and comparisons in {folder / 'data'}; the models "
        f"in {folder / 'tuned'} and {folder / 'aligned'}, each with its own README.md and curves.png.",
        highlight=False,
    )


def _figures(outcome: Outcome) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for title in (BEFORE, AFTER, "change"):
        table.add_column(title)
    for row in rows(outcome):
        table.add_row(*row)
    return table


def _legend() -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, meaning in LEGEND.items():
        grid.add_row(Text(name, "italic"), Text(meaning))
    grid.add_row("")
    return grid


def _examples(examples: tuple[Example, ...]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_lines=True)
    for title, share in (("question", 2), (BEFORE, 4), (AFTER, 4)):
        table.add_column(title, ratio=share)
    for one in examples:
        answers = ((one.before, one.reward_before), (one.after, one.reward_after))
        shown = (Group(Text(printable(text)), Text(f"reward {reward:z.2f}", "bold")) for text, reward in answers)
        table.add_row(Text(one.question), *shown)
    return table


def _times(seconds: dict[str, float]) -> str:
    parts = ", ".join(f"{name} {taken:.0f}" for name, taken in seconds.items())
    return f"Seconds: {parts}; in all {sum(seconds.values()):.0f}."
