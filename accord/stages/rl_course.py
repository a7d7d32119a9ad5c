"""The steps of reinforcement learning: rounds of samples, each learnt from in passes and minibatches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from accord.data.batches import Batch
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenGroup
from accord.data.order import order
from accord.data.ranges import Ranges
from accord.models.critic import Critic
from accord.models.logprobs import LanguageModel
from accord.stages.config import RlConfig
from accord.stages.course import Course, Turn, largest_of
from accord.stages.rl_mix import Mix
from accord.stages.rl_state import Rounds
from accord.stages.rl_terms import terms_of
from accord.stages.session import Begun
from accord.training.policy import CriticObjective, PolicyObjective, weight_of
from accord.training.rollout import Rollout, Samples, Tokens
from accord.training.step import Part, Step, mixed


class RlCourse:
    """Which step is what: a function of its number, of the round that was sampled, and of the seed."""

    def __init__(self, config: RlConfig, begun: Begun, rounds: Rounds, critic: Critic | None, mix: Mix | None) -> None:
        self.config, self.begun, self.rounds, self.critic, self.mix = config, begun, rounds, critic, mix
        self.minis = config.rollout.num_mini_batches
        self.a_round = config.epochs * self.minis  # steps

    @property
    def course(self) -> Course:
        prompts, data = self.config.train.batch_size * self.minis, self.begun.data
        per_epoch = max(1, round(len(data.train) * self.a_round / prompts))
        return Course(per_epoch, self.blank if self.config.run.dry_run else self.at, self.largest)

    def at(self, step: int) -> Step:
        """Samples where a round begins. No parts where the rest of a round is left."""
        iteration, within = divmod(step, self.a_round)
        rollout = self.rounds.at(iteration, step)
        if self.rounds.left:
            return []
        epoch, mini = divmod(within, self.minis)
        every = order(
            len(rollout.groups), seed=mixed(self.config.train.seed, 1), epoch=iteration * self.config.epochs + epoch
        )
        places = every[mini :: self.minis].tolist()
        warms_up = iteration < self.config.critic.critic_warmup
        return [*self._parts(rollout, places, policy=not warms_up), *self._mixed(step, policy=not warms_up)]

    def _parts(self, rollout: Rollout, places: Sequence[int], *, policy: bool = True) -> list[Part]:
        begun, own = self.begun, []
        if policy:
            batches = list(begun.cut(rollout.groups, places))
            own = [Part(batches, self.objective(rollout, batches))]
        if self.critic is None or self.critic.model is None:
            return own
        cut = list(cut_for(begun, self.critic.model, rollout.groups, places))
        terms = terms_of(self.config, self.rounds.beta)
        return [*own, Part(cut, CriticObjective(rollout, terms, self.critic), terms.vf_coef)]

    def objective(self, rollout: Rollout, batches: Sequence[Batch]) -> PolicyObjective:
        """The policy's, of a step of these micro-batches."""
        terms = terms_of(self.config, float(rollout.samples.beta[0]))
        trunk = self.critic.head if self.critic and self.critic.model is None else None
        tokens = sum(weight_of(rollout, batch, "token_mean") for batch in batches)
        own = sum(weight_of(rollout, batch, terms.aggregate) for batch in batches)
        share = own / tokens if tokens else 0.0
        return PolicyObjective(rollout, terms, trunk=trunk, value_share=share, heard=self.rounds.hear)

    def _mixed(self, step: int, *, policy: bool) -> list[Part]:
        if self.mix is None or not policy:
            return []
        return [self.mix.part(self.begun.cut, step)]

    def largest(self) -> Step:
        """The largest micro-batches that there can be, with blanks in the place of samples."""
        data = self.begun.data
        turn = Turn(data.train, self.config.train.batch_size, self.config.data, self.config.train.seed)
        parts = self._blank(largest_of(data.groups, turn, self.begun.cut))
        return [*parts, *([self.mix.largest(self.begun.cut)] if self.mix else [])]

    def blank(self, step: int) -> Step:
        """As large as a step can be; nothing is sampled."""
        data = self.begun.data
        turn = Turn(data.train, self.config.train.batch_size, self.config.data, self.config.train.seed)
        return [*self._blank(list(self.begun.cut(data.groups, turn.at(step)))), *self._mixed(step, policy=True)]

    def _blank(self, batches: Sequence[Batch]) -> list[Part]:
        groups = tuple(group for batch in batches for group in batch.members)
        return self._parts(blank_rollout(groups), range(len(groups)))


def blank_rollout(groups: tuple[TokenGroup, ...]) -> Rollout:
    """Of blanks: every number is 0 but the count, so that every sample is computed with."""
    ranges = Ranges.of_groups(groups)
    tokens, samples = int(ranges.end[-1]), len(ranges.end)
    columns = Samples(*(torch.zeros(samples, dtype=torch.float64) for _ in Samples._fields))
    counted = columns._replace(counts=torch.ones(samples, dtype=torch.float64))
    return Rollout(groups, ranges, Tokens(*(torch.zeros(tokens) for _ in Tokens._fields)), counted, {})


def cut_all(begun: Begun, model: LanguageModel, groups: Sequence[TokenGroup]) -> Iterator[Batch]:
    """Micro-batches of all of these groups."""
    return cut_for(begun, model, groups, range(len(groups)))


def cut_for(begun: Begun, model: LanguageModel, groups: Sequence[TokenGroup], places: Sequence[int]) -> Iterator[Batch]:
    """Micro-batches in the layout of this model, as large as the run's."""
    cut = micro_batches(groups, places, max_tokens=begun.place.max_tokens, layout=model.layout, start=model.start)
    for batch in cut:
        yield from begun.room.cut([batch])
