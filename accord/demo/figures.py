"""How good answers are, in numbers that the world makes exact, each with its 95 % interval over the questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from accord.demo.answers import Answer
from accord.demo.world import Prompt, is_grammatical, preference, sentences, sentiment
from accord.maths.divergence import k1
from accord.maths.statistics import Estimate, mean_interval, proportion_interval
from accord.stages.evaluation import Evaluation

Answers = Sequence[Sequence[Answer]]  # question by question


class Example(NamedTuple):
    """One question with what the model answered before and after training on comparisons."""

    question: str
    before: str
    after: str
    reward_before: float
    reward_after: float


class Outcome(NamedTuple):
    """What the demo found out: all of its table, and of summary.json.

    ceiling: the accuracy on the held-out comparisons that one who knows the sentiment may expect.
    """

    before: Evaluation
    after: Evaluation
    change: Evaluation
    ceiling: float
    examples: tuple[Example, ...]
    counts: dict[str, int]
    seconds: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """For summary.json."""
        return {
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "change": self.change.to_json(),
            "ceiling": self.ceiling,
            "examples": [example._asdict() for example in self.examples],
            "counts": self.counts,
            "seconds": self.seconds,
        }


def judged(answered: Answers, accuracy: Estimate) -> Evaluation:
    """Reward, share of grammatical sentences, share of answers that ended and length of one model's answers."""
    flat, question = _flat(answered)
    grammar = [[is_grammatical(sentence) for sentence in sentences(answer.text)] or [False] for answer in flat]
    spread = np.repeat(question, [len(said) for said in grammar])
    figures = {
        "reward": mean_interval([sentiment(answer.text) for answer in flat], question),
        "accuracy": accuracy,
        "grammatical": proportion_interval(np.concatenate(grammar), spread),
        "ended": proportion_interval([answer.ended for answer in flat], question),
        "length": mean_interval([len(answer.ids) for answer in flat], question),
    }
    return Evaluation(figures, len(answered))


def compared(before: Answers, after: Answers, policy: Tensor, reference: Tensor) -> Evaluation:
    """The second model against the first, question by question.

    policy, reference: (n,) log-probabilities of the second model's answers under it and under the first, in nats.
    reward: the gain. preferred: how probably an annotator prefers the second model's answer, over all pairs of a
    question. kl: KL(second || first) in nats an answer. It is estimated by k1: over whole answers, e^(log-ratio) makes
    k3 the noisier one.
    """
    gain = [_reward(new) - _reward(old) for old, new in zip(before, after, strict=True)]
    wins = [
        np.mean([preference(y.text, x.text) for y in new for x in old]) for old, new in zip(before, after, strict=True)
    ]
    figures = {
        "reward": mean_interval(gain),
        "preferred": mean_interval(wins),
        "kl": mean_interval(k1(policy.double(), reference.double()).numpy(), _flat(after)[1]),
    }
    return Evaluation(figures, len(after))


def recorded(row: Mapping[str, Any]) -> Estimate:
    """A figure of a stage's summary.json."""
    return Evaluation.from_json({"groups": 0, "figures": {"it": row}}).estimates["it"]


def examples(asked: Sequence[Prompt], before: Answers, after: Answers, count: int) -> tuple[Example, ...]:
    """The first questions with the first answer of each model: not chosen."""
    firsts = list(zip(asked, before, after, strict=True))[:count]
    return tuple(
        Example(prompt.text, old[0].text, new[0].text, sentiment(old[0].text), sentiment(new[0].text))
        for prompt, old, new in firsts
    )


def _reward(given: Sequence[Answer]) -> float:
    return float(np.mean([sentiment(answer.text) for answer in given]))


def _flat(answered: Answers) -> tuple[list[Answer], np.ndarray]:
    """All answers, and the number of the question of each."""
    flat = [answer for given in answered for answer in given]
    return flat, np.repeat(np.arange(len(answered)), [len(given) for given in answered])
