"""The demo's end on the terminal: how good each model is, who beats whom, a few answers, and what each part took."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from accord.demo.axes import WORLDS
from accord.demo.measured import Answered, Figures
from accord.demo.outcome import Outcome
from accord.maths.statistics import Estimate
from accord.training.progress import printable

SHOWN = 3  # questions

LEGEND = {
    "worth": "the exact worth of an answer, -1 to 1; what is no sentence of the grammar counts as -1",
    "gain": "of worth over the SFT model, on the same questions",
    "reward model": "what the reward model thinks of it",
    "KL": "how far the model has moved from the SFT model, nats an answer",
}


def percent_of(share: float) -> str:
    """51.2 %"""
    return f"{100 * share:.1f} %"


def percent(estimate: Estimate) -> str:
    """51.2 % (49.8 to 52.6)"""
    low, high = estimate.interval
    return f"{100 * estimate.mean:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def number(estimate: Estimate) -> str:
    """0.31 (0.28 to 0.34)"""
    low, high = estimate.interval
    return f"{estimate.mean:z.2f} ({low:z.2f} to {high:z.2f})"


def signed(estimate: Estimate | None) -> str:
    """+0.31 (+0.28 to +0.34)"""
    if estimate is None:
        return ""
    low, high = estimate.interval
    return f"{estimate.mean:+z.2f} ({low:+z.2f} to {high:+z.2f})"


def nats(kl: Estimate | float | None) -> str:
    """2.69 (2.47 to 2.90); at most 2.50, of the best of n; 0 of the model itself."""
    if kl is None:
        return "0"
    return f"at most {kl:.2f}" if isinstance(kl, float) else number(kl)


def cells(one: Figures) -> dict[str, str]:
    """A line of the table."""
    return {
        "model": one.model,
        "worth": number(one.worth),
        "gain": signed(one.gain),
        "reward model": f"{one.proxy.mean:z.2f}",
        "KL": nats(one.kl),
        "grammatical": percent(one.grammatical),
        "words": f"{one.words.mean:.1f}",
    }


def lines(outcome: Outcome) -> Iterator[str]:
    """What is said of annotators and reward model."""
    judged = outcome.judged
    people, truth = judged.by_people["accuracy"]["mean"], judged.by_truth["accuracy"]["mean"]
    yield (
        f"The reward model orders {100 * people:.1f} % of held-out pairs as the annotators do; one who knows the truth "
        f"would reach {100 * judged.ceiling:.1f} %. It orders {100 * truth:.1f} % of them truly."
    )
    (verdicts,) = [row for row in judged.agreement["agreement"] if row["question"] == "verdicts"]
    shown = judged.agreement["shown_first"]
    yield (
        f"Two annotators agree on {100 * verdicts['same']['value']:.1f} % of pairs. What was shown before the other "
        f"wins {100 * shown['share']:.1f} %."
    )


def matrix(outcome: Outcome) -> Table:
    """How often the model of the row is worth more than that of the column, equals counted half."""
    rates = outcome.measured.compared["win_rates"]["matrix"]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    names = [one.model for one in outcome.measured.models]
    for title in ("wins of, %", *(f"against {name}" for name in names)):
        table.add_column(title)
    for name in names:
        table.add_row(name, *(_rate(rates[name][other]) for other in names))
    return table


def _rate(found: dict[str, object] | None) -> str:
    if found is None:
        return ""
    win, (low, high) = found["win_rate"], found["interval"]  # type: ignore[misc]
    return f"{100 * win:.0f} ({100 * low:.0f} to {100 * high:.0f})"  # type: ignore[operator, has-type]


def show(outcome: Outcome, folder: Path, console: Console) -> None:
    """Prints it all."""
    measured = outcome.measured
    console.print(
        f"\n[bold]What it has come to[/bold], on {len(measured.answered):,} questions that nothing was trained on. The "
        f"worth of a text is {WORLDS[outcome.world].in_words()}.\nIn brackets: 95 % intervals over the questions.",
        highlight=False,
    )
    console.print(_figures(measured.models))
    console.print(_legend())
    console.print(matrix(outcome))
    for line in lines(outcome):
        console.print(line, highlight=False)
    console.print("\n[bold]The first of these questions[/bold]", highlight=False)
    console.print(_answers(measured.answered[:SHOWN], [one.model for one in measured.models]))
    console.print(_times(outcome.seconds), highlight=False)
    console.print(f"All of it, with pictures: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def _figures(models: tuple[Figures, ...]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in cells(models[0]):
        table.add_column(title)
    for one in models:
        table.add_row(*cells(one).values())
    return table


def _legend() -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, meaning in LEGEND.items():
        grid.add_row(Text(name, "italic"), Text(meaning))
    return grid


def _answers(answered: tuple[Answered, ...], names: list[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_lines=True)
    table.add_column("question", ratio=2)
    for name in names:
        table.add_column(name, ratio=3)
    for one in answered:
        pairs = zip(one.answers, one.worths, strict=True)
        said = (Group(Text(printable(text)), Text(f"worth {worth:z.2f}", "bold")) for text, worth in pairs)
        table.add_row(Text(one.question), *said)
    return table


def _times(seconds: dict[str, float]) -> str:
    parts = ", ".join(f"{name} {taken:.0f}" for name, taken in seconds.items())
    return f"Seconds: {parts}; in all {sum(seconds.values()):.0f}."
