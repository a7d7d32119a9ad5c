"""Hugging Face directories in and out: safetensors only, no remote code unless asked, nothing filled in silently."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from accord.errors import InputError, StorageError
from accord.models.adapter_files import CONFIG as ADAPTER_CONFIG
from accord.models.adapter_files import adapter_directory, base_of, load_adapter, write_adapter
from accord.models.adapters import bare, is_adapted
from accord.models.quantize import four_bits

NOT_LOADABLE = (
    OSError,
    ValueError,
    KeyError,
    ImportError,
    RuntimeError,
    AttributeError,
    TypeError,
    json.JSONDecodeError,
)


def load_tokenizer(
    name: str, *, chat_template: str | None = None, trust_remote_code: bool = False, base_model: str | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of a directory or name; of an adapter without one that of its base.

    chat_template: a Jinja file that takes the place of its own. base_model: as for `load_network`.
    """
    adapter = adapter_directory(name)
    if adapter is not None and not (adapter / "tokenizer_config.json").is_file():
        name = base_of(adapter, base_model)
    _directory(name)
    tokenizer: PreTrainedTokenizerBase = _loaded(
        lambda: AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code), name, "tokenizer"
    )
    if chat_template is not None:
        try:
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
    that the adapter's config names. in_4bit: the base is quantised. InputError where weights are missing or not finite.
    """
    adapter = adapter_directory(name)
    base = name if adapter is None else base_of(adapter, base_model)
    network = _load_whole(base, device, trust_remote_code, dtype, in_4bit)
    return network if adapter is None else bare(load_adapter(network, adapter)).eval()


def _load_whole(
    name: str, device: torch.device | str, trust_remote_code: bool, dtype: torch.dtype, in_4bit: bool
) -> PreTrainedModel:
    config = _config(name, trust_remote_code)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    _check_config(config, name)
    quiet = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        network, info = _loaded(
            lambda: kind.from_pretrained(
                name,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
                **({"quantization_config": four_bits(dtype), "device_map": {"": device}} if in_4bit else {}),
            ),
            name,
            "model",
        )
    finally:
        if quiet:
            transformers_logging.enable_progress_bar()
    _check_weights(network, info, name)
    checked: PreTrainedModel = network.eval() if in_4bit else network.to(device).eval()
    return checked


def context_of(
    name: str,
    network: PreTrainedModel | None = None,
    *,
    trust_remote_code: bool = False,
    base_model: str | None = None,
) -> int | None:
    """The longest text that a model takes, in tokens, by its config; None where the config knows no limit.

    base_model: as for `load_network`.
    """
    config = _config(name, trust_remote_code, base_model) if network is None else network.config
    longest = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(longest) if longest else None


def has_encoder(
    name: str,
    network: PreTrainedModel | None = None,
    *,
    trust_remote_code: bool = False,
    base_model: str | None = None,
) -> bool:
    """Whether the model reads its prompt with an encoder, by its config. base_model: as for `load_network`."""
    config = _config(name, trust_remote_code, base_model) if network is None else network.config
    return bool(config.is_encoder_decoder)


def _config(name: str, trust_remote_code: bool, base_model: str | None = None) -> Any:
    if (adapter := adapter_directory(name)) is not None:
        name = base_of(adapter, base_model)
    _directory(name)
    return _loaded(lambda: AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code), name, "config.json")


def stored_dtype(name: str, *, trust_remote_code: bool = False) -> torch.dtype:
    """The number type that a model's config names for its weights; float32 where it names none."""
    _directory(name)
    config = _loaded(lambda: AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code), name, "config.json")
    found = getattr(config, "dtype", None)
    return found if isinstance(found, torch.dtype) else torch.float32


def check_vocabulary(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """InputError where the tokenizer can give an id that the embedding does not have."""
    embedding: Any = network.get_input_embeddings()
    rows, words = embedding.weight.shape[0], len(tokenizer)
    if words > rows:
        raise InputError(
            f"the tokenizer has {words} words, the embedding {rows} rows",
            where=str(tokenizer.name_or_path),
            fix="use the tokenizer that belongs to the model, or resize its embedding",
        )


def save(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: str | Path) -> list[str]:
    """Writes what stock transformers loads: config, safetensors, tokenizer, chat template. No file is there in part.

    Of an adapted network only the adapter, as stock peft loads it. Gives the names of the files. StorageError where the
    disk is full or not writable: what was there before is untouched.
    """
    transformers_logging.disable_progress_bar()
    place = Path(directory)
    aside = place / ".model.tmp"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        if is_adapted(network):
            write_adapter(network, aside)
        else:
            network.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        names = sorted(file.name for file in aside.iterdir())
        for name in names:
            os.replace(aside / name, place / name)
        aside.rmdir()
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise StorageError(f"the model cannot be written ({error})", where=str(place), fix="make room there") from error
    return names


def _directory(name: str) -> None:
    """What can be told of a path before transformers tries it, and then takes it for a name on the hub."""
    path = Path(name)
    if path.is_file():
        raise InputError("is a file", where=name, fix="name the directory of a model")
    if not path.is_dir():
        if path.is_absolute() or name.startswith(".") or name.count("/") > 1:
            raise InputError("no such directory", where=name, fix="check the path")
        return
    if (path / ADAPTER_CONFIG).is_file():
        return
    if not (path / "config.json").is_file():
        raise InputError("no config.json", where=name, fix="name the directory of a Hugging Face model")
    weights = [file.name for file in path.iterdir() if file.suffix in (".bin", ".pt", ".pth", ".pkl")]
    if weights and not any(path.glob("*.safetensors")):
        raise InputError(
            "pickled weights, which can run code, are not loaded",
            where=str(path / sorted(weights)[0]),
            fix="convert the model to safetensors",
        )


def _loaded(load: Callable[[], Any], name: str, what: str) -> Any:
    try:
        return load()
    except NOT_LOADABLE as error:
        line = " ".join(str(error).split())[:300]
        fix = "check the name; without a network only directories and cached names load"
        if Path(name).is_dir():
            fix = "check the directory"
        raise InputError(f"{what} cannot be loaded ({type(error).__name__}: {line})", where=name, fix=fix) from error


def _check_config(config: Any, name: str) -> None:
    text = config.get_text_config()
    for key, most in (("num_hidden_layers", 10_000), ("vocab_size", 10_000_000), ("hidden_size", 1_000_000)):
        value = getattr(text, key, None)
        if isinstance(value, int) and not 0 < value <= most:
            raise InputError(f"{key} is {value}", where=f"{name}/config.json", fix=f"a number from 1 to {most}")


def _check_weights(network: PreTrainedModel, info: dict[str, Any], name: str) -> None:
    missing = sorted(info.get("missing_keys", ()))
    if missing:
        raise InputError(
            f"{len(missing)} tensors are missing, the first {missing[0]}",
            where=name,
            fix="the weights do not belong to this config; random values are never filled in",
        )
    if wrong := sorted(str(key) for key in info.get("mismatched_keys", ())):
        raise InputError(
            f"shape differs from the config: {wrong[0]}", where=name, fix="use matching weights and config"
        )
    for key, tensor in network.named_parameters():
        if tensor.is_floating_point() and not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
            raise InputError("has values that are not finite", where=f"{name}: {key}", fix="use undamaged weights")
