"""The parts of `accord theory`, in the order of its table. A new part is a row here."""

from __future__ import annotations

from accord.evaluate.theory import (
    best_of,
    engine_checks,
    engine_learning,
    frequencies,
    kl_estimates,
    modified,
    offline,
    online,
    reinforcement,
    reward_models,
    sampled,
)
from accord.evaluate.theory.parts import Part
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
    "reinforcement": Part(reinforcement.KIND, reinforcement.tasks),
    "reinforcement_more": Part(reinforcement.KIND, reinforcement.long_tasks, long=True),
    "network": Part(engine_learning.KIND, engine_learning.tasks),
    "network_more": Part(engine_learning.KIND, engine_learning.long_tasks, long=True),
    "online": Part(online.KIND, online.tasks),
    "rewards": Part(reward_models.KIND, reward_models.tasks),
    "rewards_more": Part(reward_models.KIND, reward_models.long_tasks, long=True),
    "best": Part(best_of.KIND, best_of.tasks),
    "estimates": Part(kl_estimates.KIND, kl_estimates.tasks),
    "engine": Part(engine_checks.KIND, engine_checks.tasks),
    "frequencies": Part(frequencies.KIND, frequencies.tasks),
    "sampled": Part(sampled.KIND, sampled.long_tasks, long=True),
}
