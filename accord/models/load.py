"""Hugging Face directories in and out: safetensors only, no remote code unless asked, nothing filled in silently."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from accord.errors import InputError, StorageError
from accord.models import manifest
from accord.models.adapter_files import adapter_directory, base_of, load_adapter, write_adapter
from accord.models.adapters import adapter_tensors, bare, is_adapted
from accord.models.directory import CONFIG
from accord.models.finite import check_finite
from accord.models.heads import LAYER, Head, has_head, headless, write_beside
from accord.models.named import check_name, config_of, loaded, stored_tensors
from accord.models.quantize import four_bits
from accord.models.weights import check_extent, check_weights
from accord.models.writing import check_room, free, sync, told


def load_tokenizer(
    name: str, *, chat_template: str | None = None, trust_remote_code: bool = False, base_model: str | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of a directory or name; of an adapter without one that of its base.

    chat_template: a Jinja file that takes the place of its own. base_model: as for `load_network`.
    """
    adapter = adapter_directory(name)
    if adapter is not None and not (adapter / "tokenizer_config.json").is_file():
        name = base_of(adapter, base_model)
    check_name(name, trust_remote_code)
    tokenizer: PreTrainedTokenizerBase = loaded(
        lambda: AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code), name, "tokenizer"
    )
    if tokenizer.eos_token_id is None:
        what, where = "eos_token is not set: no text would ever end", f"{name}/tokenizer_config.json"
        raise InputError(what, where=where, fix="set it to the token that ends a turn")
    if chat_template is not None:
        try:
            if not Path(chat_template).is_file():
                raise InputError("no such file", where=chat_template, fix="check --chat_template")
            tokenizer.chat_template = Path(chat_template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot be read ({error})", where=chat_template, fix="check --chat_template") from error
    return tokenizer


def load_network(
    name: str,
    *,
    device: torch.device | str = "cpu",
    trust_remote_code: bool = False,
    dtype: torch.dtype = torch.float32,
    base_model: str | None = None,
    in_4bit: bool = False,
) -> PreTrainedModel:
    """A decoder or encoder-decoder, in float32 unless told otherwise, dropout off.

    Of an adapter: its base with the adapter's layers in it, all frozen. base_model: the base, where it is not the one
    that the adapter's config names. in_4bit: the base is quantised. InputError where weights are missing or not finite,
    IntegrityError where they are not those that Accord wrote.
    """
    adapter = adapter_directory(name)
    base = name if adapter is None else base_of(adapter, base_model)
    network = load_whole(base, device, trust_remote_code, dtype, in_4bit)
    return network if adapter is None else bare(load_adapter(network, adapter)).eval()


def load_whole(
    name: str,
    device: torch.device | str,
    trust_remote_code: bool,
    dtype: torch.dtype,
    in_4bit: bool = False,
    head: Head | None = None,
) -> PreTrainedModel:
    """A model that is no adapter. head: with that in the place of its output layer (accord.models.scorer)."""
    config = config_of(name, trust_remote_code, weights=True)
    kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    stored = stored_tensors(name)
    if head is not None:
        kind = AutoModelForSequenceClassification
        head.describe(config)
    elif f"{LAYER}.weight" in stored:
        what, fix = "a reward model or classifier, which gives scores and no text", "give a language model"
        raise InputError(what, where=str(stored[f"{LAYER}.weight"].file), fix=fix)
    # Code of its own may make anything of a config, and quantised weights are packed.
    if not trust_remote_code and getattr(config, "quantization_config", None) is None:
        with torch.device("meta"):
            empty = loaded(lambda: kind.from_config(copy.deepcopy(config)), name, "model")
        check_extent(empty, stored, name)
    with _quietly():
        network, info = loaded(
            lambda: kind.from_pretrained(
                name,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below, and refused
                **({"quantization_config": four_bits(dtype), "device_map": {"": device}} if in_4bit else {}),
            ),
            name,
            "model",
        )
    if head is not None:
        info = _with_head(network, info, head, name)
    check_weights(network, info, stored, name)
    checked: PreTrainedModel = network.eval() if in_4bit else network.to(device).eval()
    return checked


def _with_head(network: PreTrainedModel, info: dict[str, Any], head: Head, name: str) -> dict[str, Any]:
    """The same without what a head brings with it: an output layer that is left, a new head that is missing.

    InputError where a head that should be there is missing.
    """
    body = f"{network.base_model_prefix}."
    left = {key for key in info.get("unexpected_keys", ()) if key.startswith((body, f"{LAYER}."))}
    missing = set(info.get("missing_keys", ()))
    if f"{LAYER}.weight" in missing and head.seed is None:
        raise headless(name)
    if f"{LAYER}.weight" in missing:
        head.begin(network)
        missing.discard(f"{LAYER}.weight")
    return {**info, "unexpected_keys": left, "missing_keys": missing}


@contextmanager
def _quietly() -> Iterator[None]:
    """Without transformers' progress bar, and its report of what does not fit, which is an error or a note of ours."""
    bar, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()


def check_vocabulary(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """InputError where the tokenizer can give an id that the embedding does not have."""
    embedding: Any = network.get_input_embeddings()
    rows, words = embedding.weight.shape[0], len(tokenizer)
    if words > rows:
        raise InputError(
            f"the tokenizer has {words} words, the embedding {rows} rows (vocab_size in {CONFIG})",
            where=f"{tokenizer.name_or_path}/tokenizer.json",
            fix="use the tokenizer that belongs to the model, or resize its embedding",
        )


def save(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: str | Path) -> list[str]:
    """Writes what stock transformers loads: config, safetensors, tokenizer, chat template; and a manifest of them.

    No file is there in part, and files of two saves are never taken for one model: the manifest comes first. Of an
    adapted network only the adapter, as stock peft loads it. Gives the names of the files; all are on the disk.
    StorageError where the disk is full or not writable: what was there before is untouched. Diverged where a weight is
    not finite.
    """
    transformers_logging.disable_progress_bar()
    place = Path(directory)
    aside = place / ".model.tmp"
    check_finite(network.named_parameters(), where=str(place))
    needed = sum(tensor.nbytes for tensor in _saved(network))
    try:
        shutil.rmtree(aside, ignore_errors=True)
        check_room(place, needed)
        if is_adapted(network):
            write_adapter(network, aside)
            if has_head(network):
                write_beside(network, aside)
        else:
            network.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        names = sorted(path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file())
        manifest.write(aside, names, {})
        for name in (manifest.NAME, *names):
            (place / name).parent.mkdir(exist_ok=True)
            os.replace(aside / name, place / name)
        for folder in {(place / name).parent for name in (manifest.NAME, *names)}:
            sync(folder)
        shutil.rmtree(aside)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        what = f"the model cannot be written ({told(error)}): {needed} bytes needed, {free(place)} free"
        raise StorageError(what, where=str(place), fix="make room there") from error
    return [manifest.NAME, *names]


def _saved(network: PreTrainedModel) -> Iterable[torch.Tensor]:
    """What of a network takes room on the disk."""
    return adapter_tensors(network).values() if is_adapted(network) else network.parameters()
