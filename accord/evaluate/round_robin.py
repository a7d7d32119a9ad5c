"""Every two of a few models judged on the prompts that both answered: win rates, and strengths from all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from accord.errors import InputError
from accord.evaluate import winrate_show
from accord.evaluate.answered import Answered, contest
from accord.evaluate.answers import Answers, Asked
from accord.evaluate.counted import Part
from accord.evaluate.judges.judge import Judge
from accord.evaluate.judges.people import People
from accord.evaluate.judging import Judged, decide, verdicts_in
from accord.evaluate.leaderboard import standing_of
from accord.evaluate.measured import WinRate, ends, known, measured, pair_of, row_of
from accord.evaluate.standing import Standing
from accord.evaluate.verdicts import Verdicts
from accord.evaluate.winrate import Table, report_of
from accord.maths.comparisons import Comparisons, pair_likelihood
from accord.maths.statistics import Estimate, Interval
from accord.stages.leaderboard_options import StrengthOptions
from accord.stages.winrate_options import WinRateOptions

Json = dict[str, Any]


@dataclass(frozen=True)
class RoundRobin:
    """table: the win rate of every two, each time of the later model against the earlier, those against the first with
    what they are at equal length. standing: of three models and more; why_not: why there is none."""

    models: tuple[str, ...]
    table: Table
    judged: Judged
    options: WinRateOptions
    standing: Standing | None
    why_not: str | None

    def win_rate(self, model: str, other: str) -> Estimate | None:
        """How often the first of the two wins, a tie half; None of a model against itself."""
        for row in self.table.rows:
            if (row.verdicts.model, row.verdicts.baseline) == (model, other):
                return row.estimate
            if (row.verdicts.model, row.verdicts.baseline) == (other, model):
                return _turned(row.estimate)
        return None

    def to_json(self) -> Json:
        found = {model: {other: _shown(self.win_rate(model, other)) for other in self.models} for model in self.models}
        return {
            **self.judged.to_json(),
            "matrix": found,
            "pairs": [row_of(row, self.options, None, None) for row in self.table.rows],
            "paired": [pair_of(pair) for pair in self.table.pairs],
            "leaderboard": self.standing and self.standing.to_json(),
            "leaderboard_why_not": self.why_not,
        }

    def cells(self) -> list[dict[str, str]]:
        """A row for every two."""
        shown = winrate_show.cells([self.table], self.options, None)
        return [
            {"model": cell["model"], "against": row.verdicts.baseline, **cell}
            for row, cell in zip(self.table.rows, shown, strict=True)
        ]

    def matrix(self) -> list[dict[str, str]]:
        """How often the model of the row wins against that of the column."""
        return [
            {"model": model} | {f"against {other}": _cell(self.win_rate(model, other)) for other in self.models}
            for model in self.models
        ]


def round_robin(
    judge: Judge | People,
    answers: Sequence[Answers],
    prompts: Sequence[Asked],
    options: WinRateOptions,
    verdicts: str | None,
) -> RoundRobin:
    """answers: of models whose names differ. verdicts: the file that they are written to. AccordError: as judging."""
    names = tuple(one.name for one in answers)
    numbers = {prompt.id: number for number, prompt in enumerate(prompts)}
    contests = [contest(prompts, (two, one), (two.name, one.name), None) for one, two in combinations(answers, 2)]
    decided, judged = decide(judge, Answered(contests, numbers, (), {}), verdicts)
    many = [verdicts_in(one, numbers) for one in decided]
    (first,) = report_of([Part(None, None, [one for one in many if one.baseline == names[0]])], options).tables
    others = [measured(one, options, None, None) for one in many if one.baseline != names[0]]
    rows = sorted([*first.rows, *others], key=lambda row: _place(row, names))
    table = Table(rows, first.control, first.neighbours, first.pairs)
    standing, why_not = None, "of two models the win rate says all of it"
    if len(names) > 2:
        standing, why_not = _standing(names, many, options)
    return RoundRobin(names, table, judged, options, standing, None if standing else why_not)


def _place(row: WinRate, names: Sequence[str]) -> tuple[int, int]:
    return names.index(row.verdicts.baseline), names.index(row.verdicts.model)


def _standing(names: tuple[str, ...], many: Sequence[Verdicts], options: WinRateOptions) -> tuple[Standing | None, str]:
    """Strengths relative to the first model; or None, and why there are none."""
    strength = StrengthOptions.model_validate({"anchor": names[0], "level": options.level})
    try:
        return standing_of(pair_likelihood(comparisons_of(names, many)), None, strength, "leaderboard"), ""
    except InputError as error:
        return None, f"{error.what}; of what --verdicts writes accord leaderboard can do more, as with --ridge"


def comparisons_of(names: tuple[str, ...], many: Sequence[Verdicts]) -> Comparisons:
    """All verdicts together; those on one prompt, whoever is compared, are one cluster."""
    place: Mapping[str, int] = {name: number for number, name in enumerate(names)}
    sizes = [len(one) for one in many]
    prompt = np.concatenate([one.cluster for one in many])
    return Comparisons(
        names,
        np.repeat([place[one.model] for one in many], sizes),
        np.repeat([place[one.baseline] for one in many], sizes),
        np.concatenate([one.outcome for one in many]),
        np.concatenate([one.weight for one in many]),
        np.unique(prompt, return_inverse=True)[1].astype(np.int64),
        np.zeros((len(prompt), 0)),
    )


def _turned(estimate: Estimate) -> Estimate:
    """The same, seen from the other side."""
    low, high = estimate.interval
    return Estimate(1 - estimate.mean, estimate.standard_error, Interval(1 - high, 1 - low))


def _shown(estimate: Estimate | None) -> Json | None:
    return estimate and {"win_rate": known(estimate.mean), "interval": ends(estimate.interval)}


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{winrate_show.percent(estimate.mean)} ({winrate_show.between(estimate.interval)})"
