"""Adapter directories in and out: what stock peft writes and loads, safetensors only."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel
from transformers.utils.hub import cached_file
from transformers.utils.peft_utils import find_adapter_config_file

from accord.errors import InputError
from accord.models.adapters import adapter_of, adapter_tensors, bare
from accord.models.directory import ADAPTER as CONFIG
from accord.models.directory import OF_ADAPTER as WEIGHTS
from accord.models.directory import check, read_object


def adapter_directory(name: str) -> Path | None:
    """Where the adapter of this directory or name lies; None where it is none."""
    path = Path(name)
    if path.is_dir():
        return path if (path / CONFIG).is_file() else None
    if path.exists() or path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        return None
    return _from_hub(name)


@lru_cache
def _from_hub(name: str) -> Path | None:
    try:
        config = find_adapter_config_file(name)
    except (OSError, ValueError):  # no such name: the error that the model itself gives says more
        return None
    if config is None:
        return None
    try:
        cached_file(name, WEIGHTS)
    except OSError as error:
        raise InputError(f"an adapter without {WEIGHTS}", where=name, fix="take one with safetensors") from error
    return Path(config).parent


def place_of(name: str) -> str:
    """The absolute path of a directory; any other name as it is."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def base_of(directory: Path, base_model: str | None = None) -> str:
    """The directory (absolute) or name of the model that an adapter belongs to, or `base_model` in its place.

    A relative path is looked for from the current directory, as stock peft does, and then from the adapter's own.
    InputError where the config names none, or one that is not there, or may not be read.
    """
    check(directory, weights=True)
    where = f"{directory / CONFIG}: base_model_name_or_path" if base_model is None else "base_model"
    name = base_model or read_object(directory / CONFIG).get("base_model_name_or_path")
    fix = "name the model that it belongs to with --base_model"
    if not name or not isinstance(name, str):
        raise InputError("names no model", where=where, fix=fix)
    for place in (Path(name), directory / name):
        if place.is_dir():
            if (place / CONFIG).is_file():
                what = f"{name} is an adapter itself"
                raise InputError(what, where=where, fix="merge that one first (accord merge), and name the result")
            return place_of(str(place))
    if Path(name).is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise InputError(f"{name} is not there", where=where, fix=fix if base_model is None else "check the path")
    return name


def load_adapter(network: PreTrainedModel, directory: Path) -> PeftModel:
    """A trained adapter on its base, all frozen; its weights are float32. InputError where it does not fit."""
    check_adapter(directory)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tied layers, and of missing tensors, which are errors here
            config = PeftConfig.from_pretrained(str(directory))
            config.base_model_name_or_path, config.lora_dropout = str(network.name_or_path), 0.0
            wrapped = PeftModel.from_pretrained(
                network, str(directory), config=config, torch_device=str(network.device)
            )
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError, OSError) as error:
        line = " ".join(str(error).split())[:300]
        what = f"the adapter does not fit {network.name_or_path} ({type(error).__name__}: {line})"
        raise InputError(
            what, where=str(directory), fix="is it the model that it was trained on? --base_model"
        ) from error
    _check_tensors(bare(wrapped), directory)
    return wrapped


def check_adapter(directory: Path) -> None:
    """InputError where it is no LoRA adapter, names code to run, or has values that are not finite."""
    named = read_object(directory / CONFIG)
    if (kind := named.get("peft_type")) != "LORA":
        raise InputError(f"peft_type is {kind}, not LORA", where=str(directory / CONFIG), fix="merge it with peft")
    if named.get("megatron_config") is not None:  # peft then imports the module that the config names
        raise InputError("megatron_config names code to run", where=str(directory / CONFIG), fix="take the key out")
    _check_file(directory)


def write_adapter(network: PreTrainedModel, directory: Path) -> None:
    """adapter_config.json and adapter_model.safetensors, in which the base's place is absolute or its name."""
    _, config = adapter_of(network)
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in adapter_tensors(network).items()}
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
    training = config.inference_mode
    config.inference_mode = True  # as stock peft writes it
    try:
        config.save_pretrained(str(directory))
    finally:
        config.inference_mode = training


def _check_file(directory: Path) -> None:
    path = directory / WEIGHTS
    if not path.is_file():
        raise InputError(f"no {WEIGHTS}", where=str(directory), fix="name the directory of a whole adapter")
    try:
        with safe_open(path, "pt") as file:
            for key in file.keys():
                if not torch.isfinite(file.get_tensor(key)).all():
                    raise InputError(
                        "has values that are not finite", where=f"{path}: {key}", fix="use an undamaged one"
                    )
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot be read ({error})", where=str(path), fix="use an undamaged one") from error


def _check_tensors(network: PreTrainedModel, directory: Path) -> None:
    """InputError where the file has not exactly the adapter's tensors: peft only warns, and fills in random ones."""
    own = set(adapter_tensors(network))
    with safe_open(directory / WEIGHTS, "pt") as file:
        there = set(file.keys())
    if missing := sorted(own - there):
        what = f"{len(missing)} tensors are missing, the first {missing[0]}"
        raise InputError(what, where=str(directory / WEIGHTS), fix="use the weights that belong to this config")
    names = dict.fromkeys(network.state_dict())
    strange = [key for key in sorted(there - own) if not _of_base(key, names)]
    if strange:
        what = f"{len(strange)} tensors belong nowhere in {network.name_or_path}, the first {strange[0]}"
        raise InputError(
            what, where=str(directory / WEIGHTS), fix="is it the model that it was trained on? --base_model"
        )


def _of_base(key: str, names: dict[str, None]) -> bool:
    """Whether it is an embedding of the base, of which peft saves a copy beside an adapter of it."""
    return key.removeprefix("base_model.model.") in names
