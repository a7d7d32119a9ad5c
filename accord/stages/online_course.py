"""The steps of online DPO: rounds of judged samples, each learnt from in passes and minibatches."""

from __future__ import annotations

from collections.abc import Sequence

from accord.data.batches import Batch
from accord.data.dialogue import TokenGroup
from accord.data.order import order
from accord.stages.course import Course, Turn, largest_of
from accord.stages.online_config import OnlineDpoConfig
from accord.stages.online_lessons import Lesson, blank_round
from accord.stages.online_rounds import OnlineRounds
from accord.stages.rl_mix import Mix
from accord.stages.session import Begun
from accord.training.step import Part, Step, mixed


class OnlineCourse:
    """Which step is what: a function of its number, of the round that was sampled and judged, and of the seed."""

    def __init__(self, config: OnlineDpoConfig, begun: Begun, rounds: OnlineRounds, mix: Mix | None) -> None:
        self.config, self.begun, self.rounds, self.mix = config, begun, rounds, mix
        self.minis = config.rollout.num_mini_batches
        self.a_round = config.epochs * self.minis  # steps
        self.turn = Turn(begun.data.train, config.train.batch_size, config.data, config.train.seed)

    @property
    def course(self) -> Course:
        prompts, data = self.config.train.batch_size * self.minis, self.begun.data
        per_epoch = max(1, round(len(data.train) * self.a_round / prompts))
        return Course(per_epoch, self.blank if self.config.run.dry_run else self.at, self.largest)

    def at(self, step: int) -> Step:
        """No parts where there is nothing to learn: the samples of all its prompts were tied."""
        iteration, within = divmod(step, self.a_round)
        lesson = self.rounds.at(iteration, step)
        epoch, mini = divmod(within, self.minis)
        every = order(
            len(lesson.groups), seed=mixed(self.config.train.seed, 1), epoch=iteration * self.config.epochs + epoch
        )
        places = every[mini :: self.minis].tolist()
        if not places:
            return []
        return [self._part(lesson, places), *([self.mix.part(self.begun.cut, step)] if self.mix else [])]

    def _part(self, lesson: Lesson, places: Sequence[int]) -> Part:
        return Part(list(self.begun.cut(lesson.groups, places)), lesson.objective)

    def largest(self) -> Step:
        """The largest micro-batches that there can be, with blanks in the place of samples."""
        lesson = self.blanks(self.begun.data.groups[:1])
        taken = len(lesson.groups[0].completions)
        groups = [_first(group, taken) for group in self.begun.data.groups]
        parts = self._blank(largest_of(groups, self.turn, self.begun.cut))
        return [*parts, *([self.mix.largest(self.begun.cut)] if self.mix else [])]

    def blank(self, step: int) -> Step:
        """As large as a step can be; nothing is sampled."""
        groups = self.begun.data.groups
        parts = self._blank(list(self.begun.cut(groups, self.turn.at(step))))
        return [*parts, *([self.mix.part(self.begun.cut, step)] if self.mix else [])]

    def _blank(self, batches: Sequence[Batch]) -> list[Part]:
        members = [self.begun.data.groups[place] for batch in batches for place in batch.indices]
        lesson = self.blanks(members)
        return [self._part(lesson, range(len(lesson.groups)))]

    def blanks(self, groups: Sequence[TokenGroup]) -> Lesson:
        """What blanks in the place of samples teach."""
        return self.rounds.teacher.lesson(blank_round(groups))


def _first(group: TokenGroup, count: int) -> TokenGroup:
    """With so many of its blanks, which are all alike."""
    return TokenGroup(group.group, group.prompt, group.completions[:count])
