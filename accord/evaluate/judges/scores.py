"""A reward model or classifier as a judge: the answer with the greater score is better, equal scores are a tie.

Scores are those of `accord score`: texts go through the model's own tokenizer and chat template, the prompt computed
once for both answers, held against stock transformers on the longest pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.data.dialogue import Dialogue
from accord.errors import Diverged
from accord.evaluate.verdicts import Matched, Verdict
from accord.models.named import context_of
from accord.records import Completion, Group, Origin
from accord.stages.options import ModelOptions
from accord.stages.reward_model_source import check_context, reading_of
from accord.stages.reward_source_options import RewardEntry
from accord.stages.scorers import scored, scorer_of
from accord.stages.setup import Machine, tokenizer_of


@dataclass(frozen=True)
class ScoreJudge:
    """options: which model. label: of a classifier, the one whose log-odds are the score."""

    name: str
    options: ModelOptions
    place: Machine
    label: str | None = None

    def judge(self, matched: Sequence[Matched]) -> list[Verdict]:
        """InputError: no reward model or classifier, no such label, or texts too long for it. Diverged: a score that is
        not finite."""
        score = self._scores([_group(one) for one in matched]).tolist()
        return [Verdict(_outcome(one, *both), annotator=self.name) for one, both in zip(matched, score, strict=True)]

    def lines(self) -> Sequence[str]:
        return ()

    def _scores(self, groups: Sequence[Group]) -> Tensor:
        """(G, 2) float64."""
        tokenizer = tokenizer_of(self.options, {})
        tokens = Dialogue(tokenizer).many(groups)
        longest = context_of(
            self.options.model,
            trust_remote_code=self.options.trust_remote_code,
            base_model=self.options.base_model,
        )
        for one in tokens:
            check_context(one, longest, self.name)
        model = scorer_of(self.options, {}, tokenizer, tokens, self.place)
        reading = reading_of(model.network, RewardEntry(self.options.model, self.name, label=self.label))
        found = scored("judge", model, tokens, self.place.max_tokens)
        for group, numbers in zip(groups, found, strict=True):
            if not numbers.isfinite().all():
                what = f"the score of {self.name} is not finite ({numbers.flatten().tolist()})"
                fix = "compute in --dtype float32, or take another reward model"
                raise Diverged(what, where=str(group.source), fix=fix)
        return reading.of(torch.cat(found), model.network).reshape(-1, 2)


def _group(one: Matched) -> Group:
    completions = (Completion(one.first.text), Completion(one.second.text))
    return Group(one.id, one.prompt, completions, source=Origin(f"prompt {one.id}", 0))


def _outcome(one: Matched, first: float, second: float) -> float:
    """The same text twice is a tie: its two scores may differ by rounding."""
    same = first == second or one.first.text == one.second.text
    return 0.5 if same else float(first > second)
