"""The demo's own charts: worth against KL with the frontier of the world, and score and truth while PPO trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from accord.demo.measured import Figures
from accord.demo.outcome import Outcome
from accord.evaluate.report.chart import Chart, Line
from accord.evaluate.report.ran import Ran
from accord.evaluate.report.values import number
from accord.maths.statistics import Estimate

FRONTIER, CHECK, BEST_OF, IDEAL = 6, 5, 4, 3  # places in the palette; the models have those from 0 on
TRUTH, PROXY = 0, 1


def against_kl(outcome: Outcome) -> tuple[Chart, Chart]:
    """Exact worth, and what the reward model makes of it, against KL: what every way of training has bought."""
    bought, models = outcome.bought, outcome.measured.models
    edge = Line(
        "frontier: the most that this KL can buy",
        [0.0, *(one.kl for one in bought.frontier)],
        [bought.best_of[0].worth.mean, *(one.worth for one in bought.frontier)],
        colour=FRONTIER,
        dashed=True,
    )
    check = Line(
        "the same, question by question",
        [one.kl for one in bought.apart],
        [one.worth for one in bought.apart],
        colour=CHECK,
        dashed=True,
    )
    ideal = Line(
        "best of n, by the truth",
        [one.kl for one in bought.best_of],
        [one.ideal.mean for one in bought.best_of],
        colour=IDEAL,
        dashed=True,
    )
    worths = [
        edge,
        check,
        ideal,
        _best_of(outcome, "worth"),
        *(_point(one, place, "worth") for place, one in _sampled(models)),
    ]
    proxies = [_best_of(outcome, "proxy"), *(_point(one, place, "proxy") for place, one in _sampled(models))]
    said = "; ".join(f"{one.model} {one.worth.mean:z.2f} at {_nats(one):.1f} nats" for _, one in _sampled(models))
    last = bought.frontier[-1] if bought.frontier else None
    top = f" The frontier reaches {last.worth:z.2f} at {last.kl:.1f} nats." if last else ""
    return (
        Chart("the truth", worths, KL, "exact worth of an answer", f"Exact worth against KL: {said}.{top}"),
        Chart("what the reward model sees", proxies, KL, "score by the reward model", f"Score against KL: {said}."),
    )


KL = "KL from the SFT model, nats an answer"


def _sampled(models: Sequence[Figures]) -> list[tuple[int, Figures]]:
    """Those whose KL was measured, and the SFT model itself; each with its place."""
    return [(place, one) for place, one in enumerate(models) if not isinstance(one.kl, float)]


def _nats(one: Figures) -> float:
    return one.kl.mean if isinstance(one.kl, Estimate) else 0.0


def _point(one: Figures, place: int, figure: str) -> Line:
    found: Estimate = getattr(one, figure)
    low, high = found.interval
    return Line(one.model, [_nats(one)], [found.mean], low=[low], high=[high], marks=True, colour=place)


def _best_of(outcome: Outcome, figure: str) -> Line:
    found = [(one.kl, getattr(one, figure), one.n) for one in outcome.bought.best_of]
    return Line(
        "best of n, by the reward model",
        [kl for kl, _, _ in found],
        [estimate.mean for _, estimate, _ in found],
        low=[estimate.interval.low for _, estimate, _ in found],
        high=[estimate.interval.high for _, estimate, _ in found],
        marks=True,
        labels=[str(n) if n in (4, found[-1][2]) else "" for _, _, n in found],
        colour=BEST_OF,
    )


def of_rounds(ppo: Ran, world: str) -> Iterator[Chart]:
    """What rose while PPO trained: the score that it was rewarded with, and the truth, which only we see."""
    panels = (
        ("the truth, which nothing was trained on", f"rewards/watched/{world}", "exact worth of the samples", TRUTH),
        ("what PPO is rewarded with", "objective/scores", "score by the reward model", PROXY),
    )
    for title, name, y_label, colour in panels:
        points = [(line["step"], value) for line in ppo.lines if (value := number(line.get(name))) is not None]
        if points:
            x, y = zip(*points, strict=True)
            alt = f"{y_label}: {y[0]:z.2f} in the first round, {y[-1]:z.2f} in the last."
            yield Chart(title, [Line("", x, y, colour=colour)], "step", y_label, alt)
