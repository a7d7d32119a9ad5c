"""Texts or demonstrations that are learnt beside samples: PPO-ptx, and the same beside other losses on samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, cast

from accord.data.choose import demonstration
from accord.data.dialogue import TokenGroup
from accord.data.sources import Source
from accord.data.table import fingerprint, mark_of
from accord.stages.course import Cut, Turn, largest_of
from accord.stages.intake import Intake, fitting
from accord.stages.online_config import SampledConfig
from accord.stages.pretrain import INTAKE as TEXTS
from accord.stages.pretrain import blocks
from accord.stages.session import Begun
from accord.stages.setup import Given, say
from accord.training.objectives import Likelihood, Objective
from accord.training.step import Part


class Mix(NamedTuple):
    """Equation 17's second term."""

    groups: Sequence[TokenGroup]
    turn: Turn
    objective: Objective
    coefficient: float

    def part(self, cut: Cut, step: int) -> Part:
        """Of this step."""
        return Part(list(cut(self.groups, self.turn.at(step))), self.objective, self.coefficient, "ptx/")

    def largest(self, cut: Cut) -> Part:
        """The largest micro-batches that it has."""
        return Part(largest_of(self.groups, self.turn, cut), self.objective, self.coefficient, "ptx/")


def mix_of(config: SampledConfig, given: Given, begun: Begun) -> Mix | None:
    """What the options ask for; the run's data are then those with it."""
    options, data = config.ptx, begun.data
    if options.ptx is None and "ptx" not in given:
        return None
    of_texts = options.ptx_kind == "texts"
    intake = TEXTS if of_texts else Intake("sft", demonstration, fitting(config.length))
    preparation = replace(begun.preparation, intake=intake, length=None if of_texts else config.length)
    found = preparation.of(cast(Source, given.get("ptx", options.ptx)), config.data.split)
    groups = blocks(found.groups, preparation.options) if of_texts else found.groups
    begun.data = data._replace(fingerprint=fingerprint([data.fingerprint.encode(), *map(mark_of, groups)]))
    say(f"ptx: {found.report.summary()}")
    turn = Turn(
        range(len(groups)), options.ptx_batch_size or config.train.batch_size, config.data, config.train.seed + 1
    )
    return Mix(groups, turn, Likelihood(), options.ptx_coef)
