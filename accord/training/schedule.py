"""The learning rate over a run: pure functions of the step, with the values of transformers' `get_scheduler`.

Steps count from 0: a schedule gives the factor of optimiser step number `step` out of `total`, the first `warmup` of
which rise as step / warmup. Without warm-up the first factor is 1; with it, it is 0, and that step changes nothing but
the optimiser's state: the ecosystem's convention, kept so that curves can be laid over those of other programs.
"""

import math
from collections.abc import Callable

Schedule = Callable[[int, int, int], float]


def warmup_count(warmup_steps: float, total: int) -> int:
    """The number of warm-up steps: `warmup_steps` itself or, below 1, that fraction of `total`, rounded up."""
    return int(warmup_steps) if warmup_steps >= 1 else math.ceil(total * warmup_steps)


def linear(step: int, total: int, warmup: int) -> float:
    """Down to 0 at `total` in a straight line."""
    if step < warmup:
        return step / warmup
    return max(0.0, (total - step) / max(1, total - warmup))


def cosine(step: int, total: int, warmup: int) -> float:
    """Down to 0 at `total` along half a cosine. Loshchilov & Hutter 2017, Eq. 5, without restarts."""
    if step < warmup:
        return step / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress))))


def constant(step: int, total: int, warmup: int) -> float:
    """1 after the warm-up, whatever `total` is."""
    return step / warmup if step < warmup else 1.0


def inverse_sqrt(step: int, total: int, warmup: int) -> float:
    """sqrt(warmup / step) after the warm-up, whatever `total` is; without one, as if 10,000 steps had gone before."""
    if step < warmup:
        return step / warmup
    timescale = warmup or 10_000
    return 1.0 / math.sqrt((step + timescale - warmup) / timescale)


SCHEDULES: dict[str, Schedule] = {
    "linear": linear,
    "cosine": cosine,
    "constant": constant,
    "inverse_sqrt": inverse_sqrt,
}
