"""The parts of `accord theory`, in the order of its table. A new part is a row here."""

from __future__ import annotations

from collections.abc import Sequence

from accord.evaluate.theory import (
    modified,
    offline,
)
from accord.evaluate.theory.parts import Part, Task
from accord.evaluate.theory.world import World
from accord.maths.f_divergence import DIVERGENCES
from accord.maths.preference import PAIR_LOSSES
from accord.maths.ranking import RANKING_LOSSES
from accord.maths.unpaired import UNPAIRED_LOSSES

PARTS: dict[str, Part] = {
    "pairs": Part("losses of pairs", offline.tasks(PAIR_LOSSES, offline.pair_method)),
    "labels": Part("losses of labels", offline.tasks(UNPAIRED_LOSSES, offline.unpaired_method)),
    "rankings": Part("losses of rankings", offline.tasks(RANKING_LOSSES, offline.ranking_method)),
    "divergences": Part("f-divergences", offline.tasks(DIVERGENCES, offline.divergence_method)),
    "modified": Part("losses, modified", offline.tasks(modified.MODIFIED, modified.make)),
}


def tasks_of(worlds: Sequence[World], *, full: bool) -> list[Task]:
    """All tasks, in the order of the parts."""
    return [task for part in PARTS.values() if full or not part.long for task in part.tasks(worlds)]
