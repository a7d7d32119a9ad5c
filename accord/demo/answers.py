"""What a model answers to the world's questions, and how probable a model finds an answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accord.data.dialogue import Dialogue, TokenCompletion, TokenGroup
from accord.data.encode import Ids
from accord.demo.world import Prompt
from accord.models.logprobs import LanguageModel
from accord.models.reference import reference_logprobs
from accord.models.sample import Sampled, sample
from accord.records import Group, Message
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


def answer_logprobs(network: PreTrainedModel, given: Sequence[Answer]) -> Tensor:
    """(n,) log-probabilities in nats of the sampled tokens themselves, the EOS included where it came."""
    groups = [
        TokenGroup(Group("", "", ()), answer.prompt, (TokenCompletion(answer.ids, ((0, len(answer.ids)),)),))
        for answer in given
    ]
    return reference_logprobs(LanguageModel(network), groups, max_tokens=MAX_TOKENS).sum
