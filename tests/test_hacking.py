"""A reward that is exploited or says nothing: when it is said, and how rarely where nothing is the matter."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from accord.training.hacking import Course, Hacking

Figures = dict[str, Any]
Curve = Callable[[int], float]


def noise(seed: int, count: int, kind: str = "normal") -> np.ndarray:
    """(count,) with a variance of about 1: normal, Student's t with 3 degrees of freedom, or with neighbours that
    correlate by 0.3."""
    draw = np.random.default_rng(seed)
    if kind == "heavy":
        return draw.standard_t(3, count)
    found = draw.normal(size=count)
    if kind == "slow":
        for place in range(1, count):
            found[place] += 0.3 * found[place - 1]
    return found


def course(count: int, seed: int = 0, **changes: Curve) -> list[Figures]:
    """A healthy run: the score rises from 0 and levels off at 1, the KL at 6 nats; the rest only fluctuates."""
    usual: dict[str, Curve] = {
        "score": lambda i: 1 - math.exp(-i / 40),
        "length": lambda i: 60.0,
        "ended": lambda i: 0.9,
        "kl": lambda i: 6 * (1 - math.exp(-i / 40)) ** 2,
        "gold": lambda i: 0.7,
        "distinct": lambda i: 0.6 - 0.15 * (1 - math.exp(-i / 40)),  # samples grow surer in every run
    }
    size = {"score": 0.06, "length": 3.0, "ended": 0.02, "kl": 0.05, "gold": 0.06, "distinct": 0.02}
    found: list[Figures] = [{"spread": 0.5} for _ in range(count)]
    for number, (name, curve) in enumerate({**usual, **changes}.items()):
        for i, error in enumerate(noise(100 * seed + number, count)):
            found[i][name] = curve(i) + size[name] * error
    return [{**{k: v for k, v in one.items() if k != "gold"}, "second": {"gold": one["gold"]}} for one in found]


def said(figures: Sequence[Figures], hacking: Hacking | None = None) -> list[tuple[int, str]]:
    """Step and kind of each warning; an iteration is 4 steps."""
    hacking = hacking or Hacking()
    kinds = {"mean length": "length", "end by themselves": "ended", "KL": "kl", "gold": "gold", "same": "flat"}
    kinds["pairs of tokens"] = "distinct"
    for number, one in enumerate(figures, start=1):
        hacking.see(4 * number, **one)
    return [(step, next(kind for words, kind in kinds.items() if words in what)) for step, what in hacking.warnings]


def test_a_healthy_course_is_not_warned_of() -> None:
    for seed in range(50):
        assert said(course(200, seed)) == []


def ramp(start: float, end: float, *, first: int = 60, over: int = 40) -> Curve:
    return lambda i: start + (end - start) * min(1.0, max(0.0, (i - first) / over))


@pytest.mark.parametrize(
    ("name", "curve", "kind"),
    [
        ("length", ramp(60, 130), "length"),
        ("length", ramp(60, 12), "length"),
        ("ended", ramp(0.9, 0.3), "ended"),
        ("kl", ramp(1, 60), "kl"),
        ("gold", ramp(0.7, -0.3), "gold"),
        ("distinct", ramp(0.6, 0.1), "distinct"),
    ],
)
def test_what_runs_away_while_the_score_rises_is_told_once(name: str, curve: Curve, kind: str) -> None:
    for seed in range(10):
        ((step, found),) = said(course(200, seed, **{name: curve}))
        assert found == kind
        assert 4 * 60 < step <= 4 * 105  # after it began, and before it was over by long


def test_nothing_is_said_while_the_score_has_not_risen() -> None:
    """Length, KL and a second scorer may go where they like: then it is no reward that is exploited."""
    away = {"length": ramp(60, 130), "ended": ramp(0.9, 0.3), "kl": ramp(1, 60), "gold": ramp(0.7, -0.3)}
    assert said(course(200, score=lambda i: 0.5, **away)) == []
    assert said(course(200, score=lambda i: -i / 40, **away)) == []
    assert {kind for _, kind in said(course(200, **away))} == {"length", "ended", "kl", "gold"}


def test_drifts_within_the_limits_are_not_told() -> None:
    within = {"length": ramp(60, 75), "ended": ramp(0.9, 0.8), "kl": ramp(1, 9), "gold": ramp(0.7, 0.9)}
    assert said(course(200, **within)) == []
    assert said(course(200, kl=ramp(1, 25)), Hacking(kl=30.0)) == []
    assert [kind for _, kind in said(course(200, kl=ramp(1, 25)))] == ["kl"]
    assert said(course(200, kl=lambda i: 25.0)) == []  # as far from the reference as it began


def test_two_odd_iterations_say_nothing() -> None:
    figures = course(200)
    for place in (100, 102, 150, 151):
        figures[place] |= {"length": 500.0, "ended": 0.0, "kl": 400.0, "second": {"gold": -50.0}}
    assert said(figures) == []


def test_a_rise_in_the_first_iterations_hides_nothing() -> None:
    """The score rises fastest at first, by 30 times its noise in ten iterations; what is usual is still known."""
    fast = {"score": lambda i: 2 * (1 - math.exp(-i / 10)), "kl": lambda i: 0.1 * i * i}
    assert [kind for _, kind in said(course(60, **fast))] == ["kl"]


@pytest.mark.parametrize(("kind", "most"), [("normal", 2), ("heavy", 5), ("slow", 7)])
def test_noise_alone_is_hardly_ever_told(kind: str, most: int) -> None:
    """The hardest case, in 200 runs of 500 iterations: the score rises in any case, a second scorer only fluctuates."""
    assert sum(falls(noise(seed, 500, kind)) for seed in range(200)) <= most


def falls(second: np.ndarray) -> bool:
    course = Course()
    return any(course.has_fallen for value in second.tolist() if course.add(value) is None)


def test_figures_that_never_change_are_not_told() -> None:
    """The mean of ten times 0.7 is not 0.7 to the last bit."""
    same = {"spread": 1.0, "length": 33.3, "ended": 0.7, "kl": 11.1, "second": {"gold": 0.7}}
    assert said([{"score": 0.1 * i, **same} for i in range(100)]) == []
    assert said([{"score": 0.7, **same} for _ in range(100)]) == []


def test_equal_rewards_are_told_at_the_second_iteration_running() -> None:
    figures = course(12)
    for place in (2, 4, 5, 6, 9, 10):
        figures[place]["spread"] = 0.0
    assert said(figures) == [(4 * 6, "flat")]


def test_what_is_said_names_the_figures() -> None:
    hacking = Hacking()
    for step in range(1, 31):
        hacking.see(step, score=float(step > 10), spread=1.0, length=50.0 if step <= 10 else 100.0, ended=1.0, kl=0.5)
    (remark,) = hacking.news()
    assert str(remark) == (
        "step 15: the score rose from 0 to 1 while the mean length went from 50 to 100 tokens: the reward may be "
        "exploited: read the samples, and see whether they are better"
    )
    assert hacking.news() == []


@pytest.mark.parametrize("stop", [1, 9, 10, 12, 75, 90])
def test_a_resumed_run_warns_as_one_that_was_left_alone(stop: int) -> None:
    figures = course(200, length=ramp(60, 130), gold=ramp(0.7, -0.3, first=90))
    for place in (20, 21):
        figures[place]["spread"] = 0.0
    whole = Hacking()
    assert len(said(figures, whole)) == 3
    before = Hacking()
    said(figures[:stop], before)
    after = Hacking(json.loads(json.dumps(before.to_json())))
    assert after.news() == []  # what was told before is not told again
    for number, one in enumerate(figures[stop:], start=stop + 1):
        after.see(4 * number, **one)
    assert after.warnings == whole.warnings
    assert after.to_json() == whole.to_json()
