"""How surprising a model finds texts: the log-probability of every token, in sliding windows, and where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from accord.data.dialogue import Dialogue, TokenGroup
from accord.data.encode import Encoder
from accord.data.sliding import Covered, Window, covered, window_group, windows
from accord.errors import Diverged, InputError
from accord.models.reference import ReferenceLogprobs
from accord.records import Group
from accord.stages.options import ModelOptions
from accord.stages.perplexity_options import PerplexityOptions
from accord.stages.score_all import score_all
from accord.stages.setup import Given, Machine, apart, context, moved, network_of, ready, say, tokenizer_of
from accord.stages.tables import visible

CHUNK = 512  # documents tokenised in one call
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Setting(NamedTuple):
    """How one model reads texts: windows of max_length tokens, each `stride` after the last."""

    max_length: int
    stride: int
    before: tuple[int, ...]  # ids that a window of plain text begins with
    named: str  # what these are, for people


@dataclass(frozen=True)
class Surprise:
    """One document under one model. T tokens are predicted; a document of one token may have none that is."""

    id: str
    source: str
    nats: Floats  # (T,) -log p
    end: Ints  # (T,) the character of the text that each token reaches
    start: int  # the character at which the first predicted token begins
    bytes_to: Ints  # (characters + 1,) UTF-8 bytes before each character
    ids: bytes  # the tokens: two models with the same ones can be compared token by token

    @property
    def characters(self) -> int:
        """Of the text that is predicted."""
        return len(self.bytes_to) - 1 - self.start if len(self.nats) else 0

    @property
    def bytes(self) -> int:
        """Of the text that is predicted."""
        return int(self.bytes_to[-1] - self.bytes_to[self.start]) if len(self.nats) else 0


def surprises(
    options: ModelOptions, given: Given, texts: Sequence[Group], asked: PerplexityOptions, place: Machine
) -> tuple[Setting, list[Surprise]]:
    """Every document under one model.

    InputError: an encoder-decoder, a stride or a first token that the model cannot have, nothing to predict. Diverged:
    numbers that are none.
    """
    if apart(options, given):
        what = "has an encoder: the perplexity of a text is that of a model that only decodes"
        raise InputError(what, where=options.model, fix="accord logprobs, with prompts and completions")
    tokenizer = tokenizer_of(options, given)
    dialogue = Dialogue(tokenizer, template_kwargs=options.chat_template_kwargs)
    setting = _setting(options, given, tokenizer, dialogue.encoder, asked)
    cut = [(one, list(_windows(one, setting))) for one in _documents(texts, dialogue, setting, asked)]
    groups = [window_group(document, window) for document, found in cut for window in found]
    if not groups:
        what = "no document has a token to predict: of one token with nothing before it there is none"
        raise InputError(what, where=options.model, fix="give longer texts, or --first eos")
    values = _values(options, given, tokenizer, groups, place)
    return setting, list(_joined(cut, values, options.model))


def _setting(
    options: ModelOptions,
    given: Given,
    tokenizer: PreTrainedTokenizerBase,
    encoder: Encoder,
    asked: PerplexityOptions,
) -> Setting:
    most = context(options, given)
    if most is None and asked.max_length is None:
        raise InputError("not given, and the model's config names no context", where="max_length", fix="give one")
    length = min(limit for limit in (most, asked.max_length) if limit is not None)
    if asked.max_length is not None and length < asked.max_length:
        say(f"max_length {asked.max_length} is more than the context of {options.model}: {length} it is")
    before, named = _before(tokenizer, encoder, asked)
    largest = length - max(1, len(before))
    stride = asked.stride or max(1, length // 2)
    if stride > largest:
        what = f"{stride} is too much for windows of {length} tokens, in which every token has one before it"
        raise InputError(what, where="stride", fix=f"at most {largest}, or a larger max_length")
    return Setting(length, stride, before, named)


def _before(
    tokenizer: PreTrainedTokenizerBase, encoder: Encoder, asked: PerplexityOptions
) -> tuple[tuple[int, ...], str]:
    """What stands before a plain text, and its name."""
    bos, eos, put = tokenizer.bos_token_id, tokenizer.eos_token_id, tuple(encoder.prefix)
    if asked.first == "bos" and bos is None:
        raise InputError("bos, and the tokenizer has none", where="first", fix="auto, eos or nothing")
    if asked.first == "eos":
        return (int(eos),), f"EOS ({visible(str(tokenizer.eos_token))})"
    if asked.first == "auto" and put:
        return put, f"what the tokenizer puts there ({visible(str(tokenizer.decode(list(put))))})"
    if asked.first == "nothing" or bos is None:
        return (), "nothing, so that its first token is not predicted"
    return (int(bos),), f"BOS ({visible(str(tokenizer.bos_token))})"


def _documents(
    texts: Sequence[Group], dialogue: Dialogue, setting: Setting, asked: PerplexityOptions
) -> Iterator[Covered]:
    rest = iter(texts)
    while chunk := list(islice(rest, CHUNK)):
        yield from covered(chunk, dialogue, setting.before, ends=asked.ends)


def _windows(document: Covered, setting: Setting) -> Iterator[Window]:
    room = setting.max_length - len(document.before)
    return windows(len(document.ids), document.first, room, setting.stride)


def _values(
    options: ModelOptions,
    given: Given,
    tokenizer: PreTrainedTokenizerBase,
    groups: Sequence[TokenGroup],
    place: Machine,
) -> ReferenceLogprobs:
    network = network_of(options.model, given.get("model"), tokenizer, options, place)
    model = ready(network, groups, options)
    if "model" not in given:
        moved(network, place.device, place.dtype)
    return score_all(f"perplexity of {options.model}", model, groups, place.max_tokens)


def _joined(cut: Sequence[tuple[Covered, list[Window]]], values: ReferenceLogprobs, name: str) -> Iterator[Surprise]:
    """The windows of each document put together again."""
    nats = -values.token.double().numpy()
    if not np.isfinite(nats).all():
        raise Diverged("a log-probability is not finite", where=name, fix="compute in --dtype float32")
    at = 0
    for document, found in cut:
        count = sum(window.end - window.first for window in found)
        group, first = document.group, document.first
        start = int(document.end[0]) if first and len(document.end) else 0
        place = str(group.source)
        spans = document.end[first:], start, bytes_before(document.text)
        yield Surprise(group.id, place, nats[at : at + count], *spans, document.ids.tobytes())
        at += count


def bytes_before(text: str) -> Ints:
    """(characters + 1,) UTF-8 bytes of what comes before each character, and of the whole."""
    letters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    sizes = 1 + (letters >= 0x80) + (letters >= 0x800) + (letters >= 0x10000)
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
