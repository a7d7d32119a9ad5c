"""What a model answers to the questions of the demo's world, and how good that is; for docs/rl_study.py."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accord.data.dialogue import Dialogue
from accord.data.encode import Ids
from accord.demo.world import Prompt, is_grammatical, sentences, sentiment
from accord.maths.statistics import Estimate, mean_interval, proportion_interval
from accord.models.logprobs import LanguageModel
from accord.models.sample import Sampled, sample
from accord.records import Message
from accord.stages.sample_progress import advancing
from accord.training.progress import Progress

MAX_TOKENS = 4096  # of a micro-batch of log-probabilities


class Answer(NamedTuple):
    """One sampled answer. ids (T,): its tokens, the EOS included where it came; text: the words before it."""

    prompt: Ids
    ids: Ids
    text: str
    ended: bool  # False: the model had not come to an end at the longest length


def answers(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[Prompt],
    *,
    each: int,
    longest: int,
    seed: str,
) -> list[list[Answer]]:
    """`each` answers to each question, at temperature 1, of at most `longest` tokens. seed: any text."""
    dialogue = Dialogue(tokenizer)
    prompts = [dialogue.prompt_ids((Message("user", prompt.text),)) for prompt in asked]
    with Progress("sample", len(prompts) * each, unit="answer") as progress:
        tell = advancing(progress, each)
        made = sample(
            LanguageModel(network),
            prompts,
            count=each,
            max_new_tokens=longest,
            ends={int(tokenizer.eos_token_id)},
            seed=random.Random(seed).getrandbits(32),
            advance=tell,
        )
        progress.log()
    return [[_answer(tokenizer, prompt, one) for one in samples] for prompt, samples in zip(prompts, made, strict=True)]


def _answer(tokenizer: PreTrainedTokenizerBase, prompt: Ids, made: Sampled) -> Answer:
    # Control tokens other than the end stay visible: a review with one in it is no review.
    text = str(tokenizer.decode(made.ids[: len(made.ids) - made.ended]))
    return Answer(prompt, made.ids, text, made.ended)


Answers = Sequence[Sequence[Answer]]  # question by question


def judged(answered: Answers) -> dict[str, Estimate]:
    """Reward, share of grammatical sentences, share of answers that ended and length of one model's answers."""
    flat = [answer for given in answered for answer in given]
    question = np.repeat(np.arange(len(answered)), [len(given) for given in answered])
    grammar = [[is_grammatical(sentence) for sentence in sentences(answer.text)] or [False] for answer in flat]
    spread = np.repeat(question, [len(said) for said in grammar])
    return {
        "reward": mean_interval([sentiment(answer.text) for answer in flat], question),
        "grammatical": proportion_interval(np.concatenate(grammar), spread),
        "ended": proportion_interval([answer.ended for answer in flat], question),
        "length": mean_interval([len(answer.ids) for answer in flat], question),
    }
