"""The demo's report.html: what happened at each stage, for somebody who has never seen any of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from accord import __version__
from accord.demo import charts, table, world
from accord.demo.annotators import ANNOTATORS
from accord.demo.axes import BRIEF, LONG, WORLDS, worth
from accord.demo.measured import Figures
from accord.demo.outcome import Outcome
from accord.demo.parts import COMMANDS, HAPPENS
from accord.evaluate.report import run_curves, run_reports
from accord.evaluate.report.families import families, placed
from accord.evaluate.report.page import (
    Charts,
    Code,
    Conversations,
    Exchange,
    Fact,
    Folded,
    Grid,
    Page,
    Prose,
    Reply,
    Section,
)
from accord.evaluate.report.ran import Ran, read_runs
from accord.evaluate.report.results import matrix
from accord.evaluate.report.values import seconds

SAMPLES = 5  # questions whose answers are shown
STAGES = ("base", "tuned", "reward", "dpo", "ppo")


def of(outcome: Outcome, folder: Path) -> Page:
    """folder: of the demo, whose runs have the curves."""
    runs = placed(read_runs([str(folder / name) for name in STAGES]))
    made_by = f"Made by accord {__version__} with accord demo, seed {outcome.seed}."
    return Page(
        "From random weights to an aligned model",
        SUMMARY,
        list(_facts(outcome)),
        [
            _models(outcome),
            _said(outcome),
            _frontier(outcome),
            _world(outcome),
            _stages(outcome),
            _people(outcome),
            _reward(outcome, runs),
            _curves(outcome, runs),
            Section("further", "Looking further", FURTHER, [Code(_commands(folder), "")]),
        ],
        f"{made_by} This file asks for nothing from anywhere.",
    )


SUMMARY = (
    "A language model was made here from nothing, in minutes, on an ordinary computer: it learnt to write, then to "
    "answer questions, and then, from people who say which of its answers are better, to answer as they like it. "
    "Three ways of that last step are held against each other: DPO learns from the rankings directly; PPO learns by "
    "trial and error from a reward model, which was trained on the rankings; and best of n changes no model, but "
    "writes many answers and keeps the one that the reward model likes best.\n\n"
    "The people are simulated and the world is small: the reviews in it are made by a grammar, so what any text is "
    "worth is known exactly. No stage of training sees that number. That is why this page can say not only what the "
    "models look like to their judges, but what is true."
)


def _facts(outcome: Outcome) -> Iterator[Fact]:
    first, *others = outcome.measured.models
    yield Fact("worth before", f"{first.worth.mean:z.2f}", "of -1 to 1; the SFT model")
    for one in others:
        yield Fact(f"worth, {one.model}", f"{one.worth.mean:z.2f}", _between(one))
    right = outcome.judged.by_truth["accuracy"]["mean"]
    yield Fact("reward model is right", table.percent_of(right), "of held-out pairs, by the truth")
    yield Fact("took", seconds(sum(outcome.seconds.values())), "all stages together")


def _between(one: Figures) -> str:
    low, high = one.worth.interval
    return f"{low:z.2f} to {high:z.2f}"


def _models(outcome: Outcome) -> Section:
    models = outcome.measured.models
    cells = [table.cells(one) for one in models]
    rows = [[_in_two(value) for value in one.values()] for one in cells]
    note = "; ".join(f"{name}: {meaning}" for name, meaning in table.LEGEND.items())
    intro = (
        f"Every model answered the same {len(outcome.measured.answered):,} questions, which nothing was trained on. "
        "Below a figure stands its 95 % interval: with other questions it would mostly lie within."
    )
    rates = outcome.measured.compared["win_rates"]["matrix"]
    wins = matrix([one.model for one in models], rates)._replace(
        title="How often the row's answer is worth more than the column's",
    )
    return Section(
        "models", "What it has come to", intro, [Grid("The models", list(cells[0]), rows, note, range(1, 7)), wins]
    )


def _in_two(text: str) -> str:
    """The interval below its figure."""
    figure, bracket, interval = text.partition(" (")
    return f"{figure}\n{interval.removesuffix(')')}" if bracket else text


def _said(outcome: Outcome) -> Section:
    names = [one.model for one in outcome.measured.models]
    exchanges = [
        Exchange(
            one.question,
            [
                Reply(name, text, f"worth {value:z.2f}")
                for name, text, value in zip(names, one.answers, one.worths, strict=True)
            ],
        )
        for one in outcome.measured.answered[:SAMPLES]
    ]
    intro = "The first questions of those that were measured, with what each model wrote: not chosen."
    return Section("said", "What the models say", intro, [Conversations("", exchanges)])


def _frontier(outcome: Outcome) -> Section:
    bought = outcome.bought
    intro = (
        "A model that is pushed towards what people like moves away from what it was. The distance is the KL, in "
        "nats an answer: 0 is no change. For each distance there is a most that can be gained, the frontier; "
        "nothing lies above it."
    )
    last = bought.frontier[-1] if bought.frontier else None
    where = f" It ends at {last.kl:.1f} nats, where {last.effective:.0f} answers still carry it." if last else ""
    note = (
        f"The frontier is computed from {bought.samples:,} answers of the SFT model with their exact worths, "
        f"weighted by exp(worth / beta) for every beta.{where} Beyond that too few samples would carry the weight, "
        "and nothing is drawn. It takes one beta for all questions, which can only make it too high; question by "
        "question, as far as that can be believed, it is the other dashed line. Best of n: the reward model, or the "
        "truth itself, chooses among n answers; its KL is at most ln n - (n - 1) / n, and the numbers beside the "
        "line are n. Bars are 95 % intervals over questions."
    )
    return Section(
        "frontier", "What a nat of KL buys", intro, [Charts("Worth against KL", charts.against_kl(outcome), note)]
    )


def _world(outcome: Outcome) -> Section:
    weights, chance = WORLDS[outcome.world], random.Random("examples")
    texts = [world.write_answer("film", "The Silver River", chance, weights.style) for _ in range(4)]
    texts = sorted([*texts, "The Silver River was", "great great great"], key=lambda text: -worth(text, weights))
    rows = [[text, f"{worth(text, weights):z.2f}"] for text in texts]
    told = (
        "The world has films, books, restaurants, hotels and albums, and people who ask about them. Each word has a "
        "value: 'great' 2, 'nice' 1, 'bad' -1; 'truly' makes more of it, 'not' turns it round and halves it. A "
        "sentence has the value of its words, a review the mean of its sentences, scaled to -1 to 1. What is no "
        "sentence of the grammar counts as -1, so that shouting friendly words does not pay."
    )
    if weights.politeness:
        told += " Polite sentences before and after the review count 1, rude ones -1."
    if weights.brevity:
        told += f" Up to {BRIEF} words count 1, {LONG} and more -1, and in between it falls in a straight line."
    intro = f"{told} The worth of a text is {weights.in_words()}."
    return Section("world", "The world", intro, [Grid("Some texts and their worth", ["text", "worth"], rows, "", (1,))])


def _stages(outcome: Outcome) -> Section:
    rows = [[name, HAPPENS[name], COMMANDS[name], seconds(taken)] for name, taken in outcome.seconds.items()]
    rows.append(["in all", "", "", seconds(sum(outcome.seconds.values()))])
    intro = "In this order, each by the command that stands beside it; data/ holds the files that a user would bring."
    return Section(
        "stages", "The stages", intro, [Grid("", ["stage", "what happens", "command", "took"], rows, "", (3,))]
    )


def _people(outcome: Outcome) -> Section:
    rows = [[one.name, f"{one.temperature:g}", f"{100 * one.blind:.0f} %", f"{one.first:+g}"] for one in ANNOTATORS]
    columns = [
        "annotator",
        "a difference in worth that counts as log-odds 1",
        "does not read",
        "log-odds for what is first",
    ]
    answers, left_out = outcome.judged.answers
    lost = f" {left_out} answers were cut or empty, and shown to nobody." if left_out else ""
    intro = (
        f"{answers:,} answers of the SFT model were ranked, those to one question together, each by two of these. "
        "They mostly put first what is worth more, err as Bradley and Terry have it, and put what they see first a "
        f"little too high: the order was drawn anew for everyone.{lost}"
    )
    note = Prose("\n\n".join(table.lines(outcome)))
    return Section("people", "The annotators", intro, [Grid("Who they are", columns, rows, "", (1, 2, 3)), note])


def _reward(outcome: Outcome, runs: list[Ran]) -> Section:
    judged = outcome.judged
    rows = [
        ["orders a held-out pair as its annotators do", _share(judged.by_people["accuracy"])],
        ["one who knows the truth would, as annotators err", table.percent_of(judged.ceiling)],
        ["orders it truly (pairs of equal worth left out)", _share(judged.by_truth["accuracy"])],
        ["a coin", table.percent_of(0.5)],
    ]
    intro = (
        "The reward model is a copy of the SFT model that gives an answer a number instead of writing one. It was "
        "trained on the rankings alone. PPO and best of n see the world through its eyes, so what it gets wrong, "
        "they learn."
    )
    more = run_reports.reward_section([ran for ran in runs if ran.name == "reward"])
    folded = [Folded("More about it, by accord report", more.parts)] if more else []
    return Section(
        "reward", "The reward model", intro, [Grid("How often it is right", ["", "share"], rows, "", (1,)), *folded]
    )


def _share(found: dict[str, object]) -> str:
    low, high = found["interval"]  # type: ignore[misc]
    return f"{table.percent_of(found['mean'])}\n{100 * low:.1f} to {100 * high:.1f}"  # type: ignore[arg-type, has-type]


def _curves(outcome: Outcome, runs: list[Ran]) -> Section:
    (ppo,) = [ran for ran in runs if ran.name == "ppo"]
    rounds = Charts("PPO: the score that it follows, and the truth", list(charts.of_rounds(ppo, outcome.world)))
    found = run_curves.section(families(runs))
    return Section("curves", "Training curves", run_curves.INTRO, [rounds, *(found.parts if found else ())])


FURTHER = (
    "All models are ordinary Hugging Face directories, and all data files are those that the commands read. For "
    "example:"
)


def _commands(folder: Path) -> str:
    data = folder / "data" / "comparisons.jsonl"
    return "\n".join(
        [
            f"accord chat --model {folder / 'ppo'}",
            f"accord report {folder / 'dpo'} {folder / 'ppo'}",
            f"accord check {data} --model {folder / 'tuned'}",
            f"accord ipo --model {folder / 'tuned'} --data {data} --output_dir runs/ipo",
        ]
    )
