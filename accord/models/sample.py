"""Completions sampled from a network, seeded, through transformers' own generation."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import GenerationConfig, PreTrainedModel

from accord.models.logprobs import resting

Ids = npt.NDArray[np.int32]


@torch.no_grad()
def sample(
    network: PreTrainedModel,
    prompts: Sequence[Ids],
    *,
    max_new_tokens: int,
    end: int,
    seed: int,
    temperature: float = 1.0,
    batch_size: int = 64,
) -> list[Ids]:
    """One completion of each prompt, its EOS `end` included where it came; temperature 0 is greedy.

    A completion also ends where the model's context does; an encoder-decoder's context holds the completion alone. The
    draws of a batch come from (seed, batch), so the same call gives the same samples.
    """
    ordered = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    context = getattr(network.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize
    found: dict[int, Ids] = {}
    for start in range(0, len(ordered), batch_size):
        chosen = ordered[start : start + batch_size]
        before = 1 if network.config.is_encoder_decoder else len(prompts[chosen[0]])
        room = min(max_new_tokens, context - before)
        if room < 1:
            found.update((i, prompts[i][:0]) for i in chosen)
            continue
        with resting(network), torch.random.fork_rng(devices=[network.device] if network.device.type == "cuda" else []):
            torch.manual_seed(seed * 1_000_003 + start)
            made = _generate(network, [prompts[i] for i in chosen], room, end, temperature)
        found.update(zip(chosen, made, strict=True))
    return [found[i] for i in range(len(prompts))]


def _generate(
    network: PreTrainedModel, prompts: Sequence[Ids], max_new_tokens: int, end: int, temperature: float
) -> list[Ids]:
    width, start = max(len(prompt) for prompt in prompts), None
    tokens = np.full((len(prompts), width), end, dtype=np.int64)
    mask = np.zeros_like(tokens)
    for row, prompt in enumerate(prompts):
        first = 0 if network.config.is_encoder_decoder else width - len(prompt)
        tokens[row, first : first + len(prompt)] = prompt
        mask[row, first : first + len(prompt)] = 1
    if network.config.is_encoder_decoder:
        width, start = 1, network.config.decoder_start_token_id  # what comes back begins with this one token
    drawing = (
        {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        if temperature
        else {"do_sample": False}
    )
    wanted = GenerationConfig(
        max_new_tokens=max_new_tokens,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        use_cache=True,
        **drawing,
    )
    generate: Any = network.generate
    with _own_wishes_aside(network):
        output = generate(
            torch.from_numpy(tokens).to(network.device),
            attention_mask=torch.from_numpy(mask).to(network.device),
            generation_config=wanted,
        )
    return [_until(row, end) for row in output[:, width:].cpu().numpy().astype(np.int32)]


@contextmanager
def _own_wishes_aside(network: PreTrainedModel) -> Iterator[None]:
    """Without the model's own generation_config, which transformers takes what is left open from (a penalty on
    repetition, an end that is forced): the samples would not be the model's."""
    own = network.generation_config
    network.generation_config = GenerationConfig()
    try:
        yield
    finally:
        network.generation_config = own


def _until(ids: Ids, end: int) -> Ids:
    """The ids up to the first EOS, that one included."""
    stops = np.flatnonzero(ids == end)
    return ids[: stops[0] + 1] if len(stops) else ids
