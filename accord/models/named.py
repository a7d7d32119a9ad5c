"""What a model's directory or name says before it is loaded: its config, its tensors, whether it may be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError, StrictDataclassError
from transformers import AutoConfig, PreTrainedModel

from accord.errors import InputError
from accord.models import directory as model_directory
from accord.models.adapter_files import adapter_directory, base_of
from accord.models.directory import ADAPTER, CONFIG, Stored

NOT_LOADABLE = (
    OSError,
    ValueError,
    KeyError,
    ImportError,
    RuntimeError,
    AttributeError,
    TypeError,
    AssertionError,  # torch's, as of a pad token beyond the embedding
    json.JSONDecodeError,
    StrictDataclassError,
)


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
    config = config_of(name, trust_remote_code, base_model) if network is None else network.config
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
    config = config_of(name, trust_remote_code, base_model) if network is None else network.config
    return bool(config.is_encoder_decoder)


def config_of(name: str, trust_remote_code: bool, base_model: str | None = None, *, weights: bool = False) -> Any:
    """The config, once all that lies beside it may be read and its numbers make a model."""
    if (adapter := adapter_directory(name)) is not None:
        name = base_of(adapter, base_model)
    check_name(name, trust_remote_code, weights=weights)
    found = loaded(lambda: AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code), name, CONFIG)
    for key in ("num_hidden_layers", "vocab_size", "hidden_size"):  # by transformers' own names for them
        value = getattr(found.get_text_config(), key, None)
        if isinstance(value, int) and value < 1:
            raise InputError(f"{key} is {value}", where=f"{name}/{CONFIG}", fix="a number from 1 on")
    return found


def stored_dtype(name: str, *, trust_remote_code: bool = False) -> torch.dtype:
    """The number type that a model's config names for its weights; float32 where it names none."""
    found = getattr(config_of(name, trust_remote_code), "dtype", None)
    return found if isinstance(found, torch.dtype) else torch.float32


def check_name(name: str, trust_remote_code: bool, *, weights: bool = False) -> None:
    """What can be told of a path before transformers tries it, and then takes it for a name on the hub."""
    path = Path(name)
    if path.is_file():
        raise InputError("is a file", where=name, fix="name the directory of a model")
    if not path.is_dir() and (path.is_absolute() or name.startswith(".") or name.count("/") > 1):
        raise InputError("no such directory", where=name, fix="check the path")
    place = _place(name)
    if place is not None:
        model_directory.check(place, weights=weights, trust_remote_code=trust_remote_code)


def _place(name: str) -> Path | None:
    """The directory of this path, or what the cache of the hub has under this name; None where that is nothing yet."""
    if Path(name).is_dir():
        return Path(name)
    try:
        kept = [try_to_load_from_cache(name, file) for file in (CONFIG, ADAPTER)]
    except HFValidationError:  # transformers says what is wrong with the name
        return None
    return next((Path(path).parent for path in kept if isinstance(path, str)), None)


def loaded(load: Callable[[], Any], name: str, what: str) -> Any:
    try:
        return load()
    except NOT_LOADABLE as error:
        line = " ".join(str(error).split())[:300]
        fix = "check the name; without a network only directories and cached names load"
        if Path(name).is_dir():
            fix = "check the directory"
        raise InputError(f"{what} cannot be loaded ({type(error).__name__}: {line})", where=name, fix=fix) from error


def stored_tensors(name: str) -> dict[str, Stored]:
    """The tensors of a directory, or of a name that the cache has; empty where they are not there yet."""
    place = _place(name)
    return model_directory.tensors_of(place) if place is not None else {}
