"""Completions sampled from a network: each prompt is read once, and its samples go on from there, each by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accord.data.encode import Ids
from accord.models.decoding import Way, pass_tokens, room_of
from accord.models.draw import WHOLE, Drawing
from accord.models.logprobs import LanguageModel, resting
from accord.models.next_token import Reader
from accord.models.sample_rows import Rules, Wanted, together
from accord.models.stop_strings import StopStrings
from accord.models.ways import way_of
from accord.models.written import Sampled

__all__ = ["Drawing", "Sampled", "StopStrings", "ends_of", "sample"]


def sample(
    model: LanguageModel,
    prompts: Sequence[Ids],
    *,
    count: int = 1,
    max_new_tokens: int,
    ends: Collection[int],
    seed: int,
    drawing: Drawing = WHOLE,
    stop: StopStrings | None = None,
    max_rows: int = 256,
    first: Sequence[int] = (),
    advance: Callable[[int, int], None] = lambda samples, tokens: None,
) -> list[list[Sampled]]:
    """`count` samples of each prompt, by the network alone: nothing that its generation_config wishes, no dropout.

    Each draws from a stream that follows from (seed, the prompt's ids, k); where a prompt comes again, k goes on. So
    what else is sampled, and in how many rows at a time (`max_rows` at most), changes a sample only where rounding
    decides. A sample ends with one of `ends` or a stop string, or is cut after `max_new_tokens`, or where the model's
    context ends (an encoder-decoder's holds the completion alone).

    first: the k that each prompt begins with, where earlier calls have made some of its samples; not given: 0. advance:
    is told, step by step, how many samples came to an end and how many tokens were drawn. InputError for an empty
    prompt, Diverged where logits are not finite.
    """
    assert count > 0 and max_rows > 0
    wanted = _wanted(model.network, prompts, count, max_new_tokens, first or [0] * len(prompts))
    rules = Rules(np.array(sorted(ends), dtype=np.int64), seed, drawing, stop, advance)
    made = [Sampled(np.zeros(0, np.int32), np.zeros(0, np.float32), False)] * len(wanted)
    order = sorted((i for i, one in enumerate(wanted) if one.most > 0), key=lambda i: _rank(wanted[i]))
    with torch.no_grad(), resting(model.network), model.acting():
        while order:
            ask, way = way_of(model, prompts)
            count_now = _rows(ask, way, [wanted[i] for i in order[:max_rows]])
            now, order = order[:count_now], order[count_now:]
            with way.within(model.network):
                samples = together(ask, way, [wanted[i] for i in now], rules)
            for i, one in zip(now, samples, strict=True):
                made[i] = one
    return [made[start : start + count] for start in range(0, len(made), count)]


def ends_of(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that end a text: the tokenizer's EOS, and the generation_config's (Llama 3 has three)."""
    own = getattr(network.generation_config, "eos_token_id", None)
    named = own if isinstance(own, list | tuple) else [own]
    return frozenset(int(i) for i in (tokenizer.eos_token_id, *named) if i is not None)


def _wanted(
    network: PreTrainedModel, prompts: Sequence[Ids], count: int, max_new_tokens: int, first: Sequence[int]
) -> list[Wanted]:
    before: Counter[bytes] = Counter()
    wanted = []
    for i, (prompt, begin) in enumerate(zip(prompts, first, strict=True)):
        room, number = room_of(network, prompt, f"prompt {i + 1}"), begin + before[prompt.tobytes()]
        wanted += [Wanted(prompt, number + k, min(max_new_tokens, room)) for k in range(count)]
        before[prompt.tobytes()] += count
    return wanted


def _rank(one: Wanted) -> tuple[int, bytes, int]:
    """Long prompts first, and the samples of a prompt one after the other."""
    return -len(one.prompt), one.prompt.tobytes(), one.number


def _rows(ask: Reader, way: Way, wanted: Sequence[Wanted]) -> int:
    """How many of these samples, in their order, are made together."""
    longest, distinct = len(wanted[0].prompt), set[bytes]()
    for i, one in enumerate(wanted):
        distinct.add(one.prompt.tobytes())
        full = way.at_once and len(distinct) > 1 and len(distinct) * longest > pass_tokens(ask)
        if full or (way.equal and len(one.prompt) < longest):
            return i
    return len(wanted)
