"""Early warnings: are a model's answers poorer than its reference's, longer, cut, empty, or do they repeat themselves?

Made of the answers alone, without a judge: what over-optimisation and collapse look like before a win rate falls. None
is proof; each is a reason to read answers. A warning wants two things: an interval of the difference that leaves out 0,
and a difference that matters, by the limits below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from accord.data.diversity import Words, cut_alike, distinct, repetition, self_bleu, words_of
from accord.evaluate.verdicts import Answer
from accord.maths.jackknife import LeftOut, jackknife
from accord.maths.statistics import Estimate, mean_interval, proportion_interval
from accord.records import Text
from accord.training.hacking import LONGER

POORER = 0.8  # of the reference's distinct n-grams
ALIKE = 1.25  # times the reference's self-BLEU
MORE = 0.02  # of all answers: empty, cut, repeating
REPEATS = 0.2  # of a text's 4-grams stood in it before: then it repeats itself


class Drift(NamedTuple):
    """A figure of the model, of its reference, and the difference, prompt by prompt. warning: in words, or empty."""

    name: str
    model: Estimate
    reference: Estimate
    difference: Estimate
    share: bool
    warning: str = ""

    def to_json(self) -> dict[str, Any]:
        """null stands for what the answers cannot say."""
        sides = {name: _shown(getattr(self, name)) for name in ("model", "reference", "difference")}
        return {"figure": self.name, **sides, "warning": self.warning or None}


class EarlyWarnings(NamedTuple):
    """All figures of one model against its reference, on n prompts."""

    model: str
    reference: str
    n: int
    drifts: tuple[Drift, ...]

    @property
    def warnings(self) -> list[str]:
        """What is to be looked at, in words."""
        return [drift.warning for drift in self.drifts if drift.warning]

    def rows(self) -> list[dict[str, str]]:
        """The table as people read it."""
        reference = self.reference if self.reference != self.model else f"{self.reference} (reference)"
        return [
            {
                "figure": drift.name,
                self.model: _words(drift.model, drift.share),
                reference: _words(drift.reference, drift.share),
                "difference": _words(drift.difference, drift.share, signed=True),
                "": "warning" if drift.warning else "",
            }
            for drift in self.drifts
        ]

    def to_json(self) -> dict[str, Any]:
        figures = [drift.to_json() for drift in self.drifts]
        return {"model": self.model, "reference": self.reference, "n": self.n, "figures": figures}


def early_warnings(
    answers: Sequence[Answer], reference: Sequence[Answer], *, level: float = 0.95, seed: int = 0
) -> EarlyWarnings:
    """The answers of a model and of its reference to the same prompts, in the same order: one of each to each prompt.

    seed: of which pairs of answers self-BLEU compares, the same pairs of prompts for both.
    """
    if len(answers) != len(reference) or not answers:
        raise ValueError(f"{len(answers)} answers and {len(reference)} of the reference: not of the same prompts")
    own, others = ([words_of(_text(one.text)) for one in side] for side in (answers, reference))
    equal = [cut_alike(one, other) for one, other in zip(own, others, strict=True)]
    one, two = ([pair[i] for pair in equal] for i in (0, 1))
    drifts = [
        _together("distinct 1-grams", (distinct(one, 1), distinct(two, 1)), level, _poorer),
        _together("distinct 2-grams", (distinct(one, 2), distinct(two, 2)), level, _poorer),
        _together("self-BLEU", (self_bleu(one, seed=seed), self_bleu(two, seed=seed)), level, _alike),
        _each("words", (_lengths(own), _lengths(others)), level, _longer),
        _each("repeat themselves", (_repeating(own), _repeating(others)), level, _more, share=True),
        _each("empty", (_empty(own), _empty(others)), level, _more, share=True),
    ]
    if (cut := _cut(answers, reference)) is not None:
        drifts.append(_each("cut", cut, level, _more, share=True))
    return EarlyWarnings(answers[0].model, reference[0].model, len(answers), tuple(drifts))


Warn = Callable[[str, Estimate, Estimate, Estimate], str]


def _together(name: str, sides: tuple[LeftOut, LeftOut], level: float, warn: Warn) -> Drift:
    """A figure of all answers at once."""
    own, other = sides
    model, reference = jackknife(own, level), jackknife(other, level)
    difference = jackknife(own.minus(other), level)
    return Drift(name, model, reference, difference, False, warn(name, model, reference, difference))


def _each(name: str, sides: tuple[list[float], list[float]], level: float, warn: Warn, *, share: bool = False) -> Drift:
    """The mean of a number that every answer has; of yes and no the share."""
    one, two = (np.array(side, dtype=np.float64) for side in sides)
    make = proportion_interval if share else mean_interval
    model, reference = make(one, level=level), make(two, level=level)
    difference = mean_interval(one - two, level=level)
    return Drift(name, model, reference, difference, share, warn(name, model, reference, difference))


def _poorer(name: str, model: Estimate, reference: Estimate, difference: Estimate) -> str:
    if difference.interval.high < 0 and model.mean < POORER * reference.mean:
        what = f"fewer {name} than the reference: {_against(model, reference, 3)} of all, on equally many words"
        return f"{what}: the answers grow alike"
    return ""


def _alike(name: str, model: Estimate, reference: Estimate, difference: Estimate) -> str:
    if difference.interval.low > 0 and model.mean > ALIKE * reference.mean:
        said = f"self-BLEU {_against(model, reference, 3)}"
        return f"answers to different prompts are more alike than the reference's: {said}"
    return ""


def _longer(name: str, model: Estimate, reference: Estimate, difference: Estimate) -> str:
    low, high = difference.interval
    if low > 0 and model.mean > LONGER * reference.mean:
        return f"answers are longer than the reference's: {_against(model, reference, 1)} words"
    if high < 0 and model.mean < reference.mean / LONGER:
        return f"answers are shorter than the reference's: {_against(model, reference, 1)} words"
    return ""


def _more(name: str, model: Estimate, reference: Estimate, difference: Estimate) -> str:
    # Where all answers of both sides are the same, the error is 0 and the interval a point; 0 is then no rise.
    if difference.interval.low > 0 and difference.mean > MORE:
        now, was = (f"{100 * one.mean:.1f} %" for one in (model, reference))
        return f"more answers {'are ' if name != 'repeat themselves' else ''}{name}: {now} against {was}"
    return ""


def _against(model: Estimate, reference: Estimate, digits: int) -> str:
    return f"{model.mean:.{digits}f} against {reference.mean:.{digits}f}"


def _lengths(texts: Sequence[Words]) -> list[float]:
    return [float(len(text)) for text in texts]


def _repeating(texts: Sequence[Words]) -> list[float]:
    return [float(repetition(text) >= REPEATS) for text in texts]


def _empty(texts: Sequence[Words]) -> list[float]:
    return [float(not text) for text in texts]


def _cut(answers: Sequence[Answer], reference: Sequence[Answer]) -> tuple[list[float], list[float]] | None:
    """Of the prompts of which both know whether they ended; None where there is none."""
    known = [
        (one.ended, other.ended)
        for one, other in zip(answers, reference, strict=True)
        if one.ended is not None and other.ended is not None
    ]
    return ([float(not one) for one, _ in known], [float(not other) for _, other in known]) if known else None


def _text(content: Text) -> str:
    return content if isinstance(content, str) else "\n".join(turn.content for turn in content)


def _words(estimate: Estimate, share: bool, *, signed: bool = False) -> str:
    mean, _, (low, high) = estimate
    if math.isnan(mean):
        return "unknown"
    times, unit = (100.0, " points" if signed else " %") if share else (1.0, "")
    digits = 1 if share or abs(mean) >= 10 else 3
    sign = "+" if signed else ""
    numbers = [f"{times * one:{sign}.{digits}f}" for one in (mean, low, high)]
    return f"{numbers[0]}{unit}" + ("" if math.isnan(low) else f" ({numbers[1]} to {numbers[2]})")


def _shown(estimate: Estimate) -> dict[str, Any]:
    known = [value if math.isfinite(value) else None for value in (estimate.mean, *estimate.interval)]
    return {"mean": known[0], "interval": known[1:]}
