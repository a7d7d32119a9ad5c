"""`accord merge`: an adapter and its model become one model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accord.errors import InputError, IntegrityError
from accord.models.adapter_files import adapter_directory, base_of, load_adapter
from accord.models.adapters import merged
from accord.models.heads import has_head
from accord.models.layout import ROUNDING
from accord.models.load import load_network, load_tokenizer, save
from accord.models.named import stored_dtype
from accord.models.scorer import base_with_head, is_scorer
from accord.stages.adapter_options import MergeOptions
from accord.stages.config import MergeConfig
from accord.stages.new_model import NewModel, empty_folder
from accord.stages.setup import DTYPES, Given, say

PROBE = 64  # tokens of the comparison of the adapter with what it was merged into


def run(config: MergeConfig, given: Given) -> NewModel:
    """Merges in float32, compares, and writes a whole model in the number type of the base, or the one asked for."""
    options = config.merge
    place = empty_folder(options.output_dir)
    directory = adapter_directory(options.adapter)
    if directory is None:
        raise InputError("no adapter_config.json", where=options.adapter, fix="name the directory of a LoRA adapter")
    base = base_of(directory, options.base_model)
    dtype = DTYPES[options.dtype] if options.dtype else stored_dtype(base, trust_remote_code=options.trust_remote_code)
    tokenizer = load_tokenizer(
        options.adapter, trust_remote_code=options.trust_remote_code, base_model=options.base_model
    )
    network = _merged(directory, base, options)
    to: Any = network.to
    to(dtype=dtype)
    place.mkdir(parents=True, exist_ok=True)
    save(network, tokenizer, place)
    say(f"{options.adapter} merged into {base}, {str(dtype).removeprefix('torch.')}: {place}")
    return NewModel(network, tokenizer, place)


def _merged(directory: Path, base: str, options: MergeOptions) -> PreTrainedModel:
    """In float32. IntegrityError where the merged model's log-probabilities, or scores, are not the adapter's."""
    trusting = options.trust_remote_code
    scorer = is_scorer(str(directory))
    network = (
        base_with_head(directory, base, trust_remote_code=trusting)
        if scorer
        else load_network(base, trust_remote_code=trusting)
    )
    wrapped = load_adapter(network, directory)
    before = _probe(network)
    whole = merged(wrapped)
    largest, _ = ROUNDING[torch.float32]
    gap = (_probe(whole) - before).abs().max().item()
    if not gap <= largest:
        unit = "in its score" if scorer else "nats per token"
        what = f"merged, it differs from the adapter by up to {gap:.2g} {unit}"
        raise IntegrityError(what, where=str(directory), fix="use the adapter as it is; tell us which model it is")
    return whole


@torch.no_grad()
def _probe(network: PreTrainedModel) -> Tensor:
    """After random tokens: (PROBE, V) log-probabilities, or of a network with a head its (L,) scores."""
    ids = torch.randint(
        network.config.get_text_config().vocab_size, (1, PROBE), generator=torch.Generator().manual_seed(0)
    )
    inputs = {"input_ids": ids, **({"decoder_input_ids": ids} if network.config.is_encoder_decoder else {})}
    network.eval()
    logits: Tensor = network(**inputs).logits[0]
    return logits.float() if has_head(network) else logits.float().log_softmax(-1)
