"""A run whose gradient is dead, whose loss stands still or runs away: when it is said, and when it is not."""

import json
import math
from collections.abc import Sequence

import pytest
import tiny
from test_guards import trees
from test_loop import PAIRS, moved, reference_of
from test_preference_objectives import term

from accord.maths.preference import PAIR_LOSSES
from accord.models.logprobs import LanguageModel
from accord.training.loop import fit
from accord.training.optimizer import Weights, recipe
from accord.training.preferences import PairObjective
from accord.training.step import Part
from accord.training.watch import Watch


def watched(losses: Sequence[float], *, norm: float = 1.0, watch: Watch | None = None) -> list[tuple[int, str]]:
    """The steps at which a run with these losses is warned of, and the first words of it."""
    watch = watch or Watch()
    for step, loss in enumerate(losses, start=1):
        watch.see(step, loss, norm)
    return [(step, " ".join(what.split()[:4])) for step, what in watch.warnings]


def wave(count: int, *, level: float = 2.0, size: float = 0.5) -> list[float]:
    return [level + size * math.sin(3.0 * step) for step in range(count)]


def test_a_gradient_of_zero_is_dead_after_20_steps_in_a_row() -> None:
    watch = Watch()
    for step in range(1, 20):
        watch.see(step, 1.0, 0.0)
    assert not watch.is_dead
    watch.see(20, 1.0, 1e-30)  # one that is not: the count begins anew
    for step in range(21, 40):
        watch.see(step, 1.0, 0.0)
    assert not watch.is_dead
    watch.see(40, 1.0, 0.0)
    assert watch.is_dead


def test_a_loss_that_stands_still_is_told_once_each_time() -> None:
    still, other = "the loss has been", [0.5, 0.6]
    assert watched([0.6931] * 19 + other * 10) == []
    assert watched([0.6931] * 100) == [(20, still)]
    assert watched([0.6931] * 30 + other + [0.1] * 30) == [(20, still), (52, still)]
    assert watched([0.6931 * (1 + 4e-7 * (-1) ** step) for step in range(20)]) == [(20, still)]
    assert watched([0.6931 * (1 + 2e-6 * step) for step in range(50)]) == []  # it creeps, and is not the same
    assert watched([0.0] * 20) == [(20, still)]


def test_a_loss_that_explodes_is_told_once_each_time() -> None:
    usual, loud = wave(15), "the loss is 26,"
    assert watched([*usual, *wave(40, level=20.0)]) == []  # 2.5 at most at first: 25 is the limit
    assert watched([*usual, 26.0, *usual]) == [(16, loud)]
    assert watched([*usual, 26.0, 2.0, 26.0, *usual]) == [(16, loud)]  # up and down again is one
    assert watched([*usual, 26.0, *wave(20), 26.0]) == [(16, loud), (37, loud)]


def test_a_loss_that_explodes_within_the_first_ten_steps_is_told_at_the_tenth() -> None:
    loud = "the loss was 0.6931"
    assert watched([0.6931, *wave(30, level=40.0, size=25.0)]) == [(10, loud)]
    assert watched([0.6931, 0.6, 40.0, 0.7, 40.0, 0.5, *wave(30)]) == []  # single batches that are hard
    assert watched([0.6931, *wave(30, level=8.0)]) == []


@pytest.mark.parametrize(
    "losses",
    [
        [*wave(15, level=0.01, size=0.005), *wave(20, level=0.9)],  # near 0 at first: any step is ten times as much
        [*wave(15, level=-3.0), *wave(20, level=4.0)],  # below 0 at first
        [*[0.0] * 10, *wave(20, level=4.0)],
        wave(60, level=5000.0, size=3000.0),
    ],
)
def test_a_loss_near_zero_or_below_does_not_explode(losses: list[float]) -> None:
    assert watched(losses) == []


@pytest.mark.parametrize("at", range(0, 80, 7))
def test_a_resumed_run_warns_as_one_that_was_left_alone(at: int) -> None:
    losses = [*wave(12), *[1.5] * 25, *wave(8), 80.0, 2.0, 80.0, *wave(30), 80.0]
    whole = Watch()
    assert len(watched(losses, watch=whole)) == 3
    first = Watch()
    watched(losses[:at], watch=first)
    second = Watch(json.loads(json.dumps(first.to_json())))
    assert second.news() == []  # what was told before the checkpoint is not told again
    for step, loss in enumerate(losses[at:], start=at + 1):
        second.see(step, loss, 1.0)
    assert second.to_json() == whole.to_json()


@pytest.mark.parametrize("name", ["sigmoid", "ipo", "robust", "sppo_hard", "exponential", "aot"])
def test_losses_of_every_size_and_sign_train_without_a_word(name: str) -> None:
    """From 25 down, below 0, from 500,000: what is usual is taken from the run itself."""
    network = moved(tiny.llama())
    chosen = term(PAIR_LOSSES, name, **({"label_smoothing": 0.2} if name == "robust" else {}))
    step = [Part(trees(PAIRS, 1000), PairObjective([chosen], reference_of(PAIRS)))]
    watch, weights = Watch(), Weights.of(network, recipe())
    how = {"max_grad_norm": 1.0, "seed": 0}
    steps = list(fit(LanguageModel(network), [step] * 24, weights, lambda _: 2e-3, watch=watch, **how))
    assert (watch.warnings, watch.zeros) == ([], 0)
    assert steps[-1].loss < steps[0].loss


def test_a_held_out_loss_that_is_no_number_is_said_once_each_time_it_begins() -> None:
    watch = Watch()
    assert [watch.hear(step, loss) for step, loss in enumerate([1.0, math.nan, math.nan, 2.0, math.inf])] == [
        False, True, False, False, True,
    ]  # fmt: skip
    assert [remark.step for remark in watch.warnings] == [1, 4]
    assert Watch(watch.to_json()).hear(5, math.nan) is False
