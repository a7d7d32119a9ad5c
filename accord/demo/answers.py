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
from accord.models.sample import sample
from accord.records import Group, Message
from accord.training.progress import Progress

AT_ONCE = 256  # answers that are sampled together
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
    dialogue, end = Dialogue(tokenizer), int(tokenizer.eos_token_id)
    prompts = [ids for prompt in asked for ids in [dialogue.prompt_ids((Message("user", prompt.text),))] * each]
    made: list[Answer] = []
    with Progress("sample", len(prompts), unit="answer") as progress:
        while len(made) < len(prompts):
            part = prompts[len(made) : len(made) + AT_ONCE]
            draw = random.Random(f"{seed} {len(made)}").getrandbits(32)
            drawn = sample(network, part, max_new_tokens=longest, end=end, seed=draw, batch_size=AT_ONCE)
            made += [_answer(tokenizer, prompt, ids, end) for prompt, ids in zip(part, drawn, strict=True)]
            progress.advance(len(made), None, None, len(part) // each, sum(map(len, drawn)))
        progress.log()
    return [made[start : start + each] for start in range(0, len(made), each)]


def _answer(tokenizer: PreTrainedTokenizerBase, prompt: Ids, ids: Ids, end: int) -> Answer:
    ended = len(ids) > 0 and int(ids[-1]) == end
    # Control tokens other than the end stay visible: a review with one in it is no review.
    return Answer(prompt, ids, str(tokenizer.decode(ids[: len(ids) - ended])), ended)


def answer_logprobs(network: PreTrainedModel, given: Sequence[Answer]) -> Tensor:
    """(n,) log-probabilities in nats of the sampled tokens themselves, the EOS included where it came."""
    groups = [
        TokenGroup(Group("", "", ()), answer.prompt, (TokenCompletion(answer.ids, ((0, len(answer.ids)),)),))
        for answer in given
    ]
    return reference_logprobs(LanguageModel(network), groups, max_tokens=MAX_TOKENS).sum
