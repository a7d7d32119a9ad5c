"""The round that online DPO learns from: sampled, judged, kept over checkpoints, also while people judge it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.data.dialogue import TokenGroup
from accord.data.questions import TO_DO, lines_of
from accord.records import Group, Judgement
from accord.stages.online_file import JUDGED, TO_JUDGE, asked, name_of, read_judged
from accord.stages.online_judging import by_score, drawn, judged, tied
from accord.stages.online_lessons import Lesson, Round, Teacher
from accord.stages.online_samples import Sampler, Scored, check_start, figures_of, gap
from accord.stages.rl_rounds import Clock, Means, Stream, look
from accord.stages.rl_saved import are_of, columns_of, read, samples_of, written
from accord.training.hacking import Hacking
from accord.training.shaping import Shaping, Spread
from accord.training.step import mixed
from accord.training.stop import Waits
from accord.training.watch import Remark

Shown = Callable[[int, Scored, Mapping[str, Tensor]], None]  # steps done, the samples, their figures
SAID = ("ranks", "ratings", "labels")  # of a judgement, what losses learn from


class Judge:
    """Orders the samples of a round by their scores. drawn: draws the order instead, as Bradley-Terry has it."""

    def __init__(self, shaping: Shaping, *, drawn: bool, seed: int) -> None:
        self.shaping, self.drawn, self.seed = shaping, drawn, seed

    def judgements(self, scored: Scored, iteration: int) -> list[Judgement]:
        """Of each group one."""
        assert scored.score is not None
        score = self.shaping.reward(scored.score, scored.answers.ended, Spread())
        count = len(score) // len(scored.answers.groups)
        return drawn(score, count, mixed(self.seed, 2, iteration)) if self.drawn else by_score(score, count)

    def counts(self, scored: Scored) -> Tensor:
        """(C,) bool: which samples are not left out."""
        ended = scored.answers.ended
        return ended if self.shaping.missing_eos == "mask" else torch.ones_like(ended)


class OnlineRounds:
    """One round at a time, made when its first step is asked for."""

    def __init__(
        self,
        sampler: Sampler,
        stream: Stream,
        prompts: Sequence[TokenGroup],
        teacher: Teacher,
        *,
        judge: Judge | None,
        folder: Path,
        beta: float,
        shown: Shown = lambda step, scored, figures: None,
    ) -> None:
        """prompts: those that the stream's places are of. judge: None where people are, through files of the folder.
        beta: of the loss, 0 where it holds the policy to nothing."""
        self.sampler, self.stream, self.prompts, self.teacher = sampler, stream, prompts, teacher
        self.judge, self.folder, self.beta, self.shown = judge, folder, beta, shown
        self.iteration = -1
        self.round: Round | None = None
        self.means, self.hacking = Means(), Hacking()
        self._lesson: Lesson | None = None

    def at(self, iteration: int, step: int) -> Lesson:
        """What the round of this number, from 0, teaches. step: steps done before it. Waits where people judge it."""
        is_new = self.iteration != iteration or self.round is None
        if is_new:
            self._make(iteration, step)
        assert self.round is not None
        if not self.round.judged:
            self.round = self._heard(self.round, is_new=is_new)
        if self._lesson is None:
            self._lesson = self.teacher.lesson(self.round)
        return self._lesson

    def figures(self) -> dict[str, float]:
        """Of the rounds since the last log line."""
        return self.means.read()

    def news(self) -> list[Remark]:
        """What of the rewards is to be said since the last call."""
        return self.hacking.news()

    def _make(self, iteration: int, step: int) -> None:
        clock = Clock()
        scored = self.sampler.sampled([self.prompts[place] for place in self.stream.at(iteration)], iteration, clock)
        passed = self.sampler.passed(scored.answers.groups, clock)
        if self.sampler.own and step == 0:
            check_start(passed, self.sampler.writer.policy.network.dtype)
        figures = figures_of(scored, passed, self.beta)
        self.means.add({name: float(column.mean()) for name, column in figures.items()})
        self.means.add({"sampler/logp_difference": gap(scored, passed), **clock.figures})
        everyone = torch.ones(len(scored.answers.samples), dtype=torch.bool)
        self.iteration, self.round, self._lesson = iteration, None, None
        made = Round(scored.answers.groups, passed.anchor, everyone, False)
        if self.judge is not None:
            judgements = [[one] for one in self.judge.judgements(scored, iteration)]
            made = made._replace(counts=self.judge.counts(scored))
            made = self._judged(made, scored.answers.texts, judgements)
            self._look(step, scored, figures)
        self.round = made
        self.shown(step, scored, figures)

    def _look(self, step: int, scored: Scored, figures: Mapping[str, Tensor]) -> None:
        look(
            self.hacking,
            step,
            groups=scored.answers.groups,
            score=figures["objective/scores"],
            length=figures["completions/mean_length"],
            ended=figures["completions/ended"],
            kl=figures["objective/kl"],
            watched=scored.watched,
        )

    def _judged(self, made: Round, texts: Iterable[Group], judgements: Sequence[Sequence[Judgement]]) -> Round:
        """The same with what was said of each group."""
        groups = tuple(judged(*one) for one in zip(made.groups, texts, judgements, strict=True))
        self.means.add({"pairs/tied": tied(groups)})
        return made._replace(groups=groups, judged=True)

    def _heard(self, made: Round, *, is_new: bool) -> Round:
        """With what people have said by now. Waits while they have not."""
        number, count = self.iteration + 1, made.each
        texts = [self.sampler.writer.texts(group) for group in made.groups]
        questions = asked(texts, number, self.sampler.writer.sampling.seed)
        found = read_judged(self.folder, number, questions) if questions else {}
        if found is None:
            what = _said(number, len(questions), self.folder)
            raise Waits(what, name_of(TO_JUDGE, number), lines_of([one.group for one in questions]), is_new=is_new)
        by_place = {one.place: found[one.id] for one in questions}
        equal = [Judgement(ranks=(1,) * count)]  # of samples that all say the same
        return self._judged(made, texts, [by_place.get(place, equal) for place in range(len(texts))])

    def state_tensors(self) -> Mapping[str, Tensor]:
        """For a checkpoint."""
        held = self.round
        about: dict[str, Any] = {
            "iteration": self.iteration if held else -1,
            "judged": held is not None and held.judged,
            "judgements": [[_said_of(one) for one in group.group.judgements] for group in held.groups] if held else [],
            "means": self.means.to_json(),
            "hacking": self.hacking.to_json(),
        }
        columns = {"anchor": held.anchor, "counts": held.counts, **dict(columns_of(held.groups))} if held else {}
        return {"about": written(about), **columns}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """The reverse of `state_tensors`, exact to the bit."""
        about = read(tensors["about"])
        self.means, self.hacking = Means(about["means"]), Hacking(about["hacking"])
        self.iteration, self.round, self._lesson = -1, None, None
        if about["iteration"] < 0 or not (about["judged"] or self.judge is None):
            return
        prompts = [self.prompts[place] for place in self.stream.at(about["iteration"])]
        if not are_of(prompts, tensors):  # the order was allowed to be another one
            return
        self.iteration = about["iteration"]
        groups = samples_of(prompts, tensors)
        if about["judged"]:
            said = [[_judgement(one) for one in of_group] for of_group in about["judgements"]]
            texts = map(self.sampler.writer.texts, groups)
            groups = tuple(judged(*one) for one in zip(groups, texts, said, strict=True))
        self.round = Round(groups, tensors["anchor"].clone(), tensors["counts"].clone(), about["judged"])


def _said(number: int, count: int, folder: Path) -> str:
    asked, wanted = (folder / name_of(name, number) for name in (TO_JUDGE, JUDGED))
    return (
        f"round {number} waits to be judged, {count} prompt{'s' * (count > 1)} in {asked}: {TO_DO}, save it as "
        f"{wanted}, and run the same command with --resume"
    )


def _said_of(judgement: Judgement) -> dict[str, list[float]]:
    """For JSON."""
    return {name: list(values) for name in SAID if (values := getattr(judgement, name)) is not None}


def _judgement(said: Mapping[str, Any]) -> Judgement:
    ranks, ratings, labels = ((name in said and tuple(said[name])) or None for name in SAID)
    return Judgement(ranks=ranks, ratings=ratings, labels=labels)
