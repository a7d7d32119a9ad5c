"""The network that a run trains: the whole model, or a LoRA adapter on a frozen one."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accord.errors import InputError
from accord.models.adapter_files import adapter_directory, place_of
from accord.models.adapters import Lora, add_adapter, bare, is_adapted, make_trainable
from accord.models.heads import MULTI, SINGLE, Head, has_head
from accord.models.load import check_vocabulary, load_network
from accord.models.quantize import check_bitsandbytes
from accord.models.scorer import is_scorer, load_scorer, new_scorer, with_new_head
from accord.stages.adapter_options import AdapterOptions
from accord.stages.config import TrainingConfig
from accord.stages.setup import Given, Machine, moved, network_of, say


def check_adapter(config: TrainingConfig, given: Given) -> None:
    """InputError where the adapter's options do not fit the model; before anything is loaded."""
    options, adapted = config.adapter, _begins_adapted(config, given)
    if adapted and options.lora_r is not None:
        what = "the model is a trained adapter, and a run trains one adapter"
        fix = "leave lora_r out to train that one further, or merge it first (accord merge) for a new one"
        raise InputError(what, where="lora_r", fix=fix)
    if config.model.base_model is not None and ("model" in given or not adapted):
        what = "would not be used, as the model is no adapter directory"
        raise InputError(what, where="base_model", fix="leave it out, or give an adapter as the model")
    if not adapted and options.lora_r is None:
        for key in ("load_in_4bit", "lora_dropout"):
            if getattr(options, key):
                raise InputError(
                    "needs an adapter", where=key, fix="give lora_r (16 is usual), or an adapter as the model"
                )
    if options.load_in_4bit:
        check_bitsandbytes()
        if "model" in given:
            what = "a loaded model is not quantised any more"
            raise InputError(what, where="load_in_4bit", fix="load it in 4-bit yourself, or give its directory or name")


def policy_of(
    config: TrainingConfig,
    given: Given,
    tokenizer: PreTrainedTokenizerBase,
    place: Machine,
    head: Head | None = None,
) -> PreTrainedModel:
    """The whole model in float32, all trainable; or a frozen one in the machine's precision with an adapter.

    A new adapter's weights come from the seed; it as yet changes nothing. head: what takes the place of the output
    layer; a model that has such a head keeps it.
    """
    options = config.adapter
    if options.lora_r is None and not _begins_adapted(config, given):
        if head is None:
            network = network_of(config.model.model, given.get("model"), tokenizer, config.model, place)
        else:
            network = _headed(config, given, place._replace(dtype=torch.float32), head)
            check_vocabulary(network, tokenizer)
        # The masters are float32; `weights_of` makes the rest.
        return moved(network, place.device, torch.float32)
    network = _base(config, given, place) if head is None else _headed(config, given, place, head)
    check_vocabulary(network, tokenizer)
    if options.lora_r is not None:
        base = place_of(str(network.name_or_path))
        network = add_adapter(network, _lora(options, options.lora_r), base=base, seed=config.train.seed)
        _say_rate(config)
    make_trainable(network, dropout=options.lora_dropout)
    trained, everything = trained_parameters(network)
    say(f"adapter: {trained:,} of {everything:,} parameters are trained")
    return network


def trained_parameters(network: PreTrainedModel) -> tuple[int, int]:
    """(how many parameters are trained, how many there are)."""
    return network.num_parameters(only_trainable=True), network.num_parameters()


def _begins_adapted(config: TrainingConfig, given: Given) -> bool:
    if "model" in given:
        return is_adapted(bare(given["model"]))
    return adapter_directory(config.model.model) is not None


def _base(config: TrainingConfig, given: Given, place: Machine) -> PreTrainedModel:
    """With its trained adapter, where the model is one."""
    if "model" in given:
        network = bare(given["model"])
        return moved(network, place.device)
    return load_network(
        config.model.model,
        device=place.device,
        trust_remote_code=config.model.trust_remote_code,
        dtype=place.dtype,
        base_model=config.model.base_model,
        in_4bit=config.adapter.load_in_4bit,
    )


def _headed(config: TrainingConfig, given: Given, place: Machine, head: Head) -> PreTrainedModel:
    """A body with a head: the model's own, or a new one. InputError where its own is for something else."""
    options = config.model
    if "model" in given:
        network = bare(given["model"])
        network = moved(network if has_head(network) else with_new_head(network, head), place.device)
    elif is_scorer(options.model):
        network = load_scorer(
            options.model,
            device=place.device,
            trust_remote_code=options.trust_remote_code,
            dtype=place.dtype,
            base_model=options.base_model,
            in_4bit=config.adapter.load_in_4bit,
        )
    elif _begins_adapted(config, given):
        what = "is an adapter of a language model, and a score head would be trained on its base alone"
        raise InputError(what, where=options.model, fix="merge it first (accord merge), and give the result")
    else:
        network = new_scorer(
            options.model,
            head,
            device=place.device,
            trust_remote_code=options.trust_remote_code,
            dtype=place.dtype,
            in_4bit=config.adapter.load_in_4bit,
        )
    wanted, there = len(head.labels or ()), network.config.num_labels
    if wanted != there:
        what = f"its head gives {there} number{'s' if there != 1 else ''}, and this needs {wanted}"
        raise InputError(what, where=options.model or "model", fix="begin with the language model, for a new head")
    own: Any = network.config
    if head.problem is None and own.problem_type in (SINGLE, MULTI):
        what = f"a classifier ({own.id2label[0]}), and this trains a reward model"
        raise InputError(what, where=options.model or "model", fix="begin with the language model, for a new head")
    return network


def _lora(options: AdapterOptions, r: int) -> Lora:
    return Lora(r, options.lora_alpha, options.targets, options.use_rslora, options.use_dora)


def _say_rate(config: TrainingConfig) -> None:
    rate = config.train.learning_rate
    if rate == type(config).defaults["learning_rate"]:
        say(
            f"note: learning_rate {rate:g} is the default for training whole models; adapters want about ten times that"
        )
