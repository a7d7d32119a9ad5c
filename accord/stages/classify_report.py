"""What a classifier gets right on held-out texts: accuracy, F1, AUC and calibration, beside what guessing gets.

N labelled texts, L labels. Intervals are of 95 %, and texts of one group count as one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from accord.data.classified import Vocabulary
from accord.maths.calibration import Calibration, Confusion, auc_interval, brier, calibration, confusion
from accord.maths.statistics import Estimate, mean_interval, proportion_interval

Numbers = NDArray[np.float64]


class Row(NamedTuple):
    """One labelled text: the head's numbers, what is true of each label, what was said at all, and whose it is."""

    score: Sequence[float]  # (L,)
    target: Sequence[float]  # (L,)
    said: Sequence[float]  # (L,)
    weight: float
    group: int


class LabelReport(NamedTuple):
    """One label against all others. texts: of which it was said whether it holds; base: how often it does."""

    name: str
    texts: int
    base: float
    confusion: Confusion
    auc: Estimate
    calibration: Calibration
    brier: float

    def to_json(self) -> dict[str, Any]:
        made = self.confusion
        return {
            "label": self.name,
            "texts": self.texts,
            "share": known(self.base),
            "precision": known(made.precision),
            "recall": known(made.recall),
            "f1": known(made.f1),
            "auc": shown(self.auc),
            "brier": known(self.brier),
            "calibration": self.calibration.to_json(),
        }


class ClassReport(NamedTuple):
    """On held-out texts. accuracy: of texts; where several labels may hold, of what was said of each.

    majority: the accuracy of always saying the most frequent label, or of each label what is more frequent; ahead:
    the accuracy less that. all_right: texts of which every label is right, where several may hold. table (L, L): by
    true label and by what was said, weights; where one label holds.
    """

    texts: int
    several: bool
    accuracy: Estimate
    majority: Estimate
    ahead: Estimate
    all_right: Estimate | None
    macro_f1: float
    labels: tuple[LabelReport, ...]
    table: Numbers | None
    calibration: Calibration  # of the label that was said, or of all labels

    def to_json(self) -> dict[str, Any]:
        """None stands for what the data cannot say."""
        return {
            "texts": self.texts,
            "accuracy": shown(self.accuracy),
            "majority": shown(self.majority),
            "ahead_of_majority": shown(self.ahead),
            **({"all_right": shown(self.all_right)} if self.all_right else {}),
            "macro_f1": known(self.macro_f1),
            "labels": [label.to_json() for label in self.labels],
            **({"confusion": self.table.tolist()} if self.table is not None else {}),
            "calibration": self.calibration.to_json(),
        }

    def lines(self) -> list[str]:
        """For the terminal."""
        what = f"labels of {self.texts:,} texts" if self.several else f"{self.texts:,} texts"
        lines = [
            f"held-out accuracy on {what}: {_percent(self.accuracy)}; the most frequent label: "
            f"{_percent(self.majority)}; ahead by {_points(self.ahead)}"
        ]
        if self.all_right:
            lines.append(f"texts of which every label is right: {_percent(self.all_right)}")
        lines.append(f"macro F1 {_number(self.macro_f1)}, expected calibration error {self._error()}")
        return [*lines, *(_line(label) for label in self.labels)]

    def _error(self) -> str:
        return f"{_number(self.calibration.ece)} (by chance about {_number(self.calibration.ece_by_chance)})"

    def markdown(self) -> list[str]:
        """For the model card."""
        head = [
            f"Accuracy {_percent(self.accuracy)}; the most frequent label gets {_percent(self.majority)}. "
            f"Macro F1 {_number(self.macro_f1)}. Expected calibration error {self._error()}.",
            "",
            "| label | texts | share | precision | recall | F1 | AUC | 95 % interval |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        return [*head, *(_cells(label) for label in self.labels)]


def report(rows: Sequence[Row], labels: Vocabulary) -> ClassReport:
    """At least one row."""
    score, target, said = (np.array([getattr(row, name) for row in rows]) for name in ("score", "target", "said"))
    weight, group = np.array([row.weight for row in rows]), np.array([row.group for row in rows])
    make = _several if labels.several else _one_of
    return make(score, target, said, weight, group, labels)


def _one_of(
    score: Numbers, target: Numbers, said: Numbers, weight: Numbers, group: Numbers, labels: Vocabulary
) -> ClassReport:
    """Exactly one label holds of a text."""
    chance = _softmax(score)
    guess, true = chance.argmax(1), target.argmax(1)
    most = int((weight[:, None] * target).sum(0).argmax())
    right, plain = (guess == true).astype(float), (true == most).astype(float)
    size = len(labels.names)
    table = np.zeros((size, size))
    np.add.at(table, (true, guess), weight)
    one_hot = np.eye(size)[guess]
    odds = np.log(chance.clip(1e-300)) - np.log((1 - chance).clip(1e-300))
    found = tuple(
        _label(labels.names[i], chance[:, i], odds[:, i], one_hot[:, i], target[:, i], weight, group)
        for i in range(size)
    )
    # Of two labels the second one's chance says all; of more, the chance of what is said.
    sure = chance[:, 1] if size == 2 else chance.max(1)
    happened = target[:, 1] if size == 2 else right
    return ClassReport(
        len(score),
        False,
        proportion_interval(right, group, weight),
        proportion_interval(plain, group, weight),
        mean_interval(right - plain, group, weight),
        None,
        _macro(found),
        found,
        table,
        calibration(sure, happened, weight, clusters=group),
    )


def _several(
    score: Numbers, target: Numbers, said: Numbers, weight: Numbers, group: Numbers, labels: Vocabulary
) -> ClassReport:
    """Any number of labels holds of a text, and of some it may not be known."""
    chance, guess = 1 / (1 + np.exp(-score.clip(-700, 700))), (score > 0).astype(float)
    own = weight[:, None] * said
    often = 2 * (own * target).sum(0) > own.sum(0)
    hit, plain = (guess == target).astype(float), (target == often).astype(float)
    clusters = np.repeat(group, score.shape[1])
    found = tuple(
        _label(name, chance[:, i], score[:, i], guess[:, i], target[:, i], own[:, i], group)
        for i, name in enumerate(labels.names)
    )
    flat = own.ravel()
    every = ((hit > 0) | (said == 0)).all(1).astype(float)
    return ClassReport(
        len(score),
        True,
        proportion_interval(hit.ravel(), clusters, flat),
        proportion_interval(plain.ravel(), clusters, flat),
        mean_interval((hit - plain).ravel(), clusters, flat),
        proportion_interval(every, group, weight),
        _macro(found),
        found,
        None,
        calibration(chance.ravel(), target.ravel(), flat, clusters=clusters),
    )


def _label(
    name: str, chance: Numbers, odds: Numbers, guess: Numbers, true: Numbers, weight: Numbers, group: Numbers
) -> LabelReport:
    total = weight.sum()
    return LabelReport(
        name,
        int((weight > 0).sum()),
        float((weight * true).sum() / total) if total > 0 else math.nan,
        confusion(guess, true, weight),
        auc_interval(odds, true, group, weight),
        calibration(chance, true, weight, clusters=group),
        brier(chance, true, weight),
    )


def _macro(labels: Sequence[LabelReport]) -> float:
    """The mean F1 of the labels that occur on either side; NaN of none."""
    found = [label.confusion.f1 for label in labels if not math.isnan(label.confusion.f1)]
    return sum(found) / len(found) if found else math.nan


def _softmax(score: Numbers) -> Numbers:
    power = np.exp(score - score.max(1, keepdims=True))
    made: Numbers = power / power.sum(1, keepdims=True)
    return made


def known(value: float) -> float | None:
    """None for what is no number."""
    return float(value) if math.isfinite(value) else None


def shown(estimate: Estimate) -> Mapping[str, Any]:
    """As JSON."""
    return {"mean": known(estimate.mean), "interval": [known(end) for end in estimate.interval]}


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "unknown"


def _percent(estimate: Estimate) -> str:
    low, high = estimate.interval
    between = f" ({100 * low:.1f} to {100 * high:.1f} %)" if math.isfinite(low) else ""
    return f"{100 * estimate.mean:.1f} %{between}"


def _points(estimate: Estimate) -> str:
    low, high = estimate.interval
    between = f" ({100 * low:+.1f} to {100 * high:+.1f})" if math.isfinite(low) else ""
    return f"{100 * estimate.mean:+.1f} points{between}"


def _line(label: LabelReport) -> str:
    made, (low, high) = label.confusion, label.auc.interval
    between = f" ({low:.3f} to {high:.3f})" if math.isfinite(low) else ""
    return (
        f"  {label.name}: {100 * label.base:.1f} % of {label.texts:,}; precision {_number(made.precision)}, recall "
        f"{_number(made.recall)}, F1 {_number(made.f1)}, AUC {_number(label.auc.mean)}{between}"
    )


def _cells(label: LabelReport) -> str:
    made, (low, high) = label.confusion, label.auc.interval
    between = f"{low:.3f} to {high:.3f}" if math.isfinite(low) else "unknown"
    name = label.name.replace("|", "\\|")
    numbers = (made.precision, made.recall, made.f1, label.auc.mean)
    cells = [name, f"{label.texts:,}", f"{100 * label.base:.1f} %", *map(_number, numbers), between]
    return f"| {' | '.join(cells)} |"
