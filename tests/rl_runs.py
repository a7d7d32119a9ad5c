"""Quick runs of reinforcement learning for tests: a tiny model, prompts, a reward that is easily learnt."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tiny
from alike import by_the_clock
from rl_rewards import letters, said
from stage_runs import lines
from torch import Tensor

import accord
from accord.training import curves

PROMPTS = [{"id": row["id"], "prompt": row["prompt"]} for row in tiny.comparisons(24)]
__all__ = ["PROMPTS", "QUICK", "Ran", "letters", "numbers", "run", "said"]

QUICK: dict[str, Any] = {
    "data": PROMPTS, "report_to": "none", "logging_steps": 1, "batch_size": 4, "max_new_tokens": 6, "samples": 0,
    "learning_rate": 1e-2, "lr_scheduler_type": "constant", "kl_coef": 0.02,
}  # fmt: skip


class Ran(NamedTuple):
    result: Any
    place: Path
    lines: list[dict[str, Any]]  # of metrics.jsonl

    def column(self, name: str) -> list[float]:
        return [line[name] for line in self.lines if name in line]

    @property
    def weights(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.result.model.state_dict()
        return found

    @property
    def summary(self) -> dict[str, Any]:
        return dict(self.result.summary)


def run(command: str, place: Path, **options: object) -> Ran:
    """accord.ppo(...) and the like, from Python; no curves are drawn, which take longer than all the rest."""
    usual = {**QUICK, "reward": letters, "output_dir": place}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "draw", lambda *given: False)
        result = getattr(accord, command)(**{**usual, **options})
    return Ran(result, place, lines(place / "metrics.jsonl"))


def numbers(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Log lines without what the clock says."""
    return [{key: value for key, value in line.items() if not by_the_clock(key)} for line in found]
