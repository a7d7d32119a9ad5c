"""Learning rates: worked values, and those of transformers at every step."""

import pytest
import torch
from transformers import get_scheduler

from accord.training.schedule import SCHEDULES, warmup_count


@pytest.mark.parametrize(
    ("name", "warmup", "expected"),
    [
        ("linear", 0, [1.0, 0.75, 0.5, 0.25, 0.0]),
        ("linear", 2, [0.0, 0.5, 1.0, 0.5, 0.0]),
        ("cosine", 0, [1.0, 0.5 + 0.5 * 0.5**0.5, 0.5, 0.5 - 0.5 * 0.5**0.5, 0.0]),
        ("constant", 0, [1.0, 1.0, 1.0, 1.0, 1.0]),
        ("constant", 4, [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("inverse_sqrt", 1, [0.0, 1.0, 0.5**0.5, 3**-0.5, 0.5]),
    ],
)
def test_values_by_hand(name: str, warmup: int, expected: list[float]) -> None:
    assert [SCHEDULES[name](step, 4, warmup) for step in range(5)] == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("linear", "linear"),
        ("cosine", "cosine"),
        ("constant", "constant_with_warmup"),
        ("inverse_sqrt", "inverse_sqrt"),
    ],
)
def test_every_step_equals_transformers(name: str, theirs: str, warmup: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = get_scheduler(theirs, optimizer, num_warmup_steps=warmup, num_training_steps=20)
    for step in range(20):
        assert SCHEDULES[name](step, 20, warmup) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_past_the_end_the_falling_schedules_stay_at_zero() -> None:
    assert [SCHEDULES[name](25, 20, 2) for name in ("linear", "cosine")] == [0.0, 0.0]


def test_warmup_is_a_number_of_steps_or_a_fraction_of_the_run() -> None:
    assert [warmup_count(given, 25) for given in (0, 10, 1, 0.1, 0.5)] == [0, 10, 1, 3, 13]


def test_the_first_step_without_warmup_has_the_full_rate() -> None:
    assert {name: schedule(0, 1, 0) for name, schedule in SCHEDULES.items()} == dict.fromkeys(SCHEDULES, 1.0)
