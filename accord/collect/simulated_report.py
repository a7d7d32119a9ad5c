"""What came out of simulated annotators beside what was put in: overlap, agreement, strengths, position bias."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from accord.collect import people_model
from accord.collect.database import Database
from accord.collect.people_model import Habits
from accord.collect.projects import Project
from accord.collect.schema import assignment, item, judgement
from accord.collect.simulate import Done, Simulation, Truth
from accord.maths.agreement import Votes, three_way
from accord.maths.comparisons import Comparisons, pair_likelihood
from accord.maths.position import first_shown
from accord.maths.statistics import Estimate
from accord.maths.strengths import clustered, fit

REDRAWS = 4  # times that all judgements are drawn again, to know what is to be expected


class Said(NamedTuple):
    """One judgement. order: (K,) rank of each output, in the order shown, 1 the best; so are qualities and models."""

    item: int
    order: tuple[int, ...]
    shown: tuple[int, ...]
    qualities: tuple[float, ...]
    models: tuple[str | None, ...]


class Beside(NamedTuple):
    """A figure as it is to be expected, and as it came out with its 95 % interval."""

    put_in: float
    found: float
    low: float
    high: float

    @property
    def within(self) -> bool:
        return self.low <= self.put_in <= self.high


class Overlap(NamedTuple):
    """Groups: with exactly as many judgements as wanted, with more, with fewer; set_aside: skipped too often."""

    exact: int
    over: int
    short: int
    set_aside: int


class Report(NamedTuple):
    """agreement: two annotators say the same of two outputs; first: what is shown earlier wins; both of None where
    nothing is ranked. bias: in logits; strengths: by model; None where models are not named."""

    done: Done
    overlap: Overlap
    judgements: int
    agreement: Beside | None
    first: Beside | None
    bias: Beside | None
    strengths: dict[str, Beside]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        done = {name: value for name, value in vars(self.done).items() if name != "lock"}
        beside = {name: one and one._asdict() for name, one in self._figures()}
        models = {name: one._asdict() for name, one in self.strengths.items()}
        overlap = {**self.overlap._asdict(), "judgements": self.judgements}
        return {**done, "overlap": overlap, **beside, "strengths": models}

    def _figures(self) -> list[tuple[str, Beside | None]]:
        return [("agreement", self.agreement), ("first", self.first), ("bias", self.bias)]

    def lines(self) -> Iterator[str]:
        """For people."""
        done, overlap = self.done, self.overlap
        yield (
            f"{done.submitted:,} submissions, {done.skipped:,} skips; {done.doubled:,} were clicked twice, of "
            f"{done.lost:,} the answer was lost: {self.judgements:,} judgements are stored"
        )
        yield (
            f"overlap: {overlap.exact:,} groups have exactly as many judgements as wanted, {overlap.over:,} more, "
            f"{overlap.short:,} fewer" + (f" ({overlap.set_aside:,} skipped too often)" if overlap.set_aside else "")
        )
        words = {
            "agreement": "two annotators say the same of two outputs",
            "first": "the output shown earlier is called the better one",
            "bias": "how much better the output shown first seems, in logits",
        }
        for name, one in self._figures():
            if one is not None:
                yield f"{words[name]}: {_beside(one)}"
        for model, one in sorted(self.strengths.items(), key=lambda pair: -pair[1].put_in):
            yield f"strength of {model}: {_beside(one)}"


def _beside(one: Beside) -> str:
    return f"put in {one.put_in:.3f}, came out {one.found:.3f} ({one.low:.3f} to {one.high:.3f})"


def report(database: Database, project: Project, simulation: Simulation, truth: Truth, done: Done) -> Report:
    """All figures are of the judgements that the database holds, whoever gave them."""
    said, count = _said(database, project.id, truth)
    chance = random.Random(f"redrawn {simulation.seed}")
    again = [[_redrawn(one, simulation.habits, chance) for one in said] for _ in range(REDRAWS)]
    agreement, first = [_compared(figure, said, again) for figure in (_agreement, _first)]
    bias, strengths = _fitted(said, simulation, truth)
    return Report(done, _overlap(database, project), count, agreement, first, bias, strengths)


def _said(database: Database, project: int, truth: Truth) -> tuple[list[Said], int]:
    """The newest revisions: those that rank; how many there are in all."""
    later = aliased(judgement)
    newest = ~select(later.c.id).where(
        later.c.assignment_id == judgement.c.assignment_id, later.c.revision > judgement.c.revision
    ).exists()  # fmt: skip
    query = (
        select(assignment.c.item_id, assignment.c.shown, judgement.c.answer)
        .join(assignment, assignment.c.id == judgement.c.assignment_id)
        .where(assignment.c.project_id == project, assignment.c.kind == "label", assignment.c.status == "done", newest)
    )
    found, count = [], 0
    with database.read() as connection:
        for row in connection.execute(query):
            count += 1
            ranks, shown = json.loads(row.answer).get("ranks"), tuple(json.loads(row.shown))
            if ranks is None or None in ranks:
                continue
            qualities, models = truth.of_item[row.item_id], truth.models[row.item_id]
            in_order = [tuple(column[place] for place in shown) for column in (ranks, qualities, models)]
            found.append(Said(row.item_id, in_order[0], shown, in_order[1], in_order[2]))
    return found, count


def _redrawn(one: Said, habits: Habits, chance: random.Random) -> Said:
    """What another annotator of the same habits says of the same page."""
    ranks = people_model.ranking(people_model.seen(one.qualities, habits, chance), habits.tie_width)
    order = {place: rank for rank, tied in enumerate(ranks, 1) for place in tied}
    return one._replace(order=tuple(order[place] for place in range(len(one.order))))


def _compared(figure: Any, said: Sequence[Said], again: Sequence[Sequence[Said]]) -> Beside | None:
    if not said:
        return None
    found: Estimate = figure(said)
    return Beside(float(np.mean([figure(one).mean for one in again])), found.mean, *found.interval)


def _agreement(said: Sequence[Said]) -> Estimate:
    votes: dict[tuple[int, int, int], list[int]] = {}
    for one in said:
        rank = dict(zip(one.shown, one.order, strict=True))
        for i, j in combinations(sorted(rank), 2):
            way = 0 if rank[i] < rank[j] else 1 if rank[i] > rank[j] else 2
            votes.setdefault((one.item, i, j), [0, 0, 0])[way] += 1
    columns = np.array(list(votes.values()), dtype=np.float64).T
    return three_way(Votes(*columns), np.unique([key[0] for key in votes], return_inverse=True)[1])


def _first(said: Sequence[Said]) -> Estimate:
    """Of the pairs with the output that is shown first."""
    outcome, clusters = [], []
    for one in said:
        for other in one.order[1:]:
            outcome.append(0.5 + ((one.order[0] < other) - (one.order[0] > other)) / 2)
            clusters.append(one.item)
    shown = first_shown(np.array(outcome), np.ones(len(outcome), dtype=np.int64), np.array(clusters))
    return Estimate(shown.share, float("nan"), shown.interval)


def _fitted(said: Sequence[Said], simulation: Simulation, truth: Truth) -> tuple[Beside | None, dict[str, Beside]]:
    """Bradley-Terry by all pairs of each ranking, with Rao and Kupper's ties, which are those of a threshold; what is
    shown first is a covariate. Errors are clustered by group."""
    names = tuple(sorted(name for name in truth.strengths if name is not None))
    at = {name: i for i, name in enumerate(names)}
    rows = []
    for one in said:
        places = [at.get(model or "", -1) for model in one.models]
        for i, j in combinations(range(len(places)), 2):
            if -1 not in (places[i], places[j]) and places[i] != places[j]:
                better = (one.order[i] < one.order[j]) - (one.order[i] > one.order[j])
                rows.append((places[i], places[j], 0.5 + better / 2, one.item, float(i == 0)))
    if len(names) < 2 or not rows:
        return None, {}
    first, second, outcome, items, shown = (np.array(column) for column in zip(*rows, strict=True))
    clusters = np.unique(items, return_inverse=True)[1]
    data = Comparisons(names, first, second, outcome, np.ones(len(rows)), clusters, shown[:, None])
    ties = "rao_kupper" if data.ties and simulation.habits.tie_width > 0 else "half"
    try:
        found = fit(pair_likelihood(data, ties=ties, style_ridge=0.0))
    except ValueError:  # too few judgements for a finite best value
        return None, {}
    scale, error = simulation.habits.noise or 1.0, np.sqrt(np.diag(clustered(found)))
    centre = float(np.mean([truth.strengths[name] for name in names]))
    put_in = [truth.strengths[name] - centre for name in names]
    value, miss = scale * found.parameters, 1.96 * scale * error
    of = {
        name: Beside(put_in[i], *map(float, (value[i], value[i] - miss[i], value[i] + miss[i])))
        for name, i in at.items()
    }
    bias = Beside(simulation.habits.position_bias, *map(float, (value[-1], value[-1] - miss[-1], value[-1] + miss[-1])))
    return bias, of


def _overlap(database: Database, project: Project) -> Overlap:
    had = (
        select(assignment.c.item_id, func.count(func.distinct(assignment.c.account_id)).label("people"))
        .where(assignment.c.project_id == project.id, assignment.c.kind.in_(("label", "imported")))
        .where(assignment.c.status == "done")
        .group_by(assignment.c.item_id)
        .subquery()
    )
    query = (
        select(item.c.wanted, item.c.skips, func.coalesce(had.c.people, 0).label("people"))
        .outerjoin(had, had.c.item_id == item.c.id)
        .where(item.c.project_id == project.id, item.c.gold.is_(None))
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
    short = [row for row in rows if row.people < row.wanted]
    return Overlap(
        exact=sum(row.people == row.wanted for row in rows),
        over=sum(row.people > row.wanted for row in rows),
        short=len(short),
        set_aside=sum(row.skips >= project.settings.skips_to_flag for row in short),
    )
