"""What several fallible annotators mean together: Dawid and Skene 1979, and of rankings their pairwise verdicts.

N answers on U units by A annotators, each one of C classes. Applied Statistics 28(1), "Maximum likelihood estimation of
observer error-rates using the EM algorithm".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer[Any]]
BETTER, EQUAL, WORSE = 0, 1, 2  # classes of a verdict on two, of the first against the second
MIRROR = np.array([WORSE, EQUAL, BETTER])


class Estimate(NamedTuple):
    """posterior: (U, C) how likely each unit is of each class. confusion: (A, C, C), of annotator a the probability to
    say l where t is true. prior: (C,). log_likelihood: in nats, with the smoothing's own term. steps: of EM.
    """

    posterior: Floats
    confusion: Floats
    prior: Floats
    log_likelihood: float
    steps: int


def dawid_skene(
    unit: Ints,
    annotator: Ints,
    answer: Ints,
    *,
    classes: int,
    smoothing: float = 1.0,
    tolerance: float = 1e-7,
    most_steps: int = 200,
) -> Estimate:
    """(N,), (N,), (N,) whole numbers from 0 -> the maximum a posteriori by EM, from the shares of votes.

    Each row of a confusion matrix, and the prior, have a Dirichlet prior of `smoothing` + 1 in every class, so that
    `smoothing` answers of each kind are added to what was counted; 0 is the paper's maximum likelihood. EM ends when
    the log-posterior grows by less than `tolerance` an answer. The paper's Eq. 2.3 to 2.5, in logarithms.
    """
    units, annotators = int(unit.max(initial=-1)) + 1, int(annotator.max(initial=-1)) + 1
    votes = np.bincount(unit * classes + answer, minlength=units * classes).reshape(units, classes)
    posterior = votes / np.maximum(votes.sum(-1, keepdims=True), 1)
    posterior[votes.sum(-1) == 0] = 1 / classes
    before, step = -np.inf, 0
    while True:
        step += 1
        confusion, prior = _maximised(annotator, answer, posterior[unit], annotators, smoothing, posterior)
        posterior, value = _expected(unit, annotator, answer, confusion, prior, units)
        value += smoothing * float(np.log(confusion).sum() + np.log(prior).sum()) if smoothing else 0.0
        if step == most_steps or value - before <= tolerance * max(len(answer), 1):
            return Estimate(posterior, confusion, prior, value, step)
        before = value


def _maximised(
    annotator: Ints, answer: Ints, weight: Floats, annotators: int, smoothing: float, posterior: Floats
) -> tuple[Floats, Floats]:
    """(A, C, C), (C,) given (N, C), how likely the unit of each answer is of each class. Eq. 2.3, 2.4."""
    classes = weight.shape[1]
    cell, size = annotator * classes + answer, annotators * classes
    counts = np.stack([np.bincount(cell, weight[:, true], size) for true in range(classes)])
    confusion = counts.reshape(classes, annotators, classes).transpose(1, 0, 2) + smoothing
    total = confusion.sum(-1, keepdims=True)
    shares: Floats = np.where(total > 0, confusion / np.where(total > 0, total, 1.0), 1 / classes)
    prior: Floats = posterior.sum(0) + smoothing
    prior /= prior.sum()
    return shares, prior


def _expected(
    unit: Ints, annotator: Ints, answer: Ints, confusion: Floats, prior: Floats, units: int
) -> tuple[Floats, float]:
    """(U, C) posterior, Eq. 2.5, and the log-likelihood."""
    with np.errstate(divide="ignore"):  # without smoothing a probability may be 0
        said, joint = np.log(confusion), np.log(prior)
    columns = [np.bincount(unit, said[annotator, true, answer], units) for true in range(len(prior))]
    log = np.stack(columns, -1) + joint
    most = log.max(-1, keepdims=True)
    total = most + np.log(np.exp(log - most).sum(-1, keepdims=True))
    return np.exp(log - total), float(total.sum())


def verdicts(unit: Ints, annotator: Ints, answer: Ints, *, smoothing: float = 1.0, most_steps: int = 200) -> Estimate:
    """Of verdicts on two (BETTER, EQUAL, WORSE: the first against the second) as dawid_skene, with nothing depending on
    which of the two is called the first.

    Every verdict is given twice, the second time with the two exchanged, as one on a unit of its own: then the
    estimates are symmetrical, prior[t] = prior[MIRROR[t]] and confusion[a, t, l] = confusion[a, MIRROR[t], MIRROR[l]].
    Smoothing is doubled, so that it weighs as much against twice the answers.
    """
    units = int(unit.max(initial=-1)) + 1
    twice, whose = np.concatenate([unit, unit + units]), np.concatenate([annotator, annotator])
    turned = np.concatenate([answer, MIRROR[answer]])
    found = dawid_skene(twice, whose, turned, classes=3, smoothing=2 * smoothing, most_steps=most_steps)
    return found._replace(posterior=found.posterior[:units], log_likelihood=found.log_likelihood / 2)
