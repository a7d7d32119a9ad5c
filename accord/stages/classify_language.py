"""Equation 2's auxiliary language-model term of a classifier: the output layer that its own network has no more."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from accord.errors import InputError
from accord.models.adapters import bare
from accord.models.heads import has_head
from accord.models.load import load_network
from accord.models.logprobs import LanguageModel, output_layer
from accord.models.output import OutputLayer
from accord.models.scorer import is_scorer
from accord.stages.config import ClassifyConfig
from accord.stages.setup import Given, say
from accord.training.classification import LanguageTerm


def language_term(config: ClassifyConfig, given: Given, model: LanguageModel) -> LanguageTerm:
    """The term, with the embedding as output layer where the language model ties the two; else with its own, frozen.

    InputError: the model is a classifier already, or its hidden states are not to be had.
    """
    alpha = config.classify.lm_alpha
    if model.head == "stock":
        what = "this network's hidden states cannot be used, as the start-up comparison showed"
        raise InputError(what, where="lm_alpha", fix="leave it out")
    stock = _language_model(config, given)
    layer = output_layer(stock)
    embedding: Any = stock.get_input_embeddings()
    if layer.weight is embedding.weight:
        say(f"lm_alpha {alpha:g}: the output layer is the embedding, which is tied to it, and both terms train it")
        return LanguageTerm(alpha, _tied(model.network, layer))
    own = next(model.network.parameters())
    dtype = own.dtype if own.is_floating_point() else torch.float32
    bias = None if layer.bias is None else layer.bias.detach().to(device=model.device, dtype=dtype, copy=True)
    weight = layer.weight.detach().to(device=model.device, dtype=dtype, copy=True)
    frozen = layer._replace(weight=weight, bias=bias)
    say(f"lm_alpha {alpha:g}: the output layer is the language model's own, which stays as it is")
    return LanguageTerm(alpha, lambda: frozen)


def _tied(network: PreTrainedModel, layer: OutputLayer) -> Any:
    def now() -> OutputLayer:
        embedding: Any = network.get_input_embeddings()
        bias = None if layer.bias is None else layer.bias.detach().to(embedding.weight)
        return layer._replace(weight=embedding.weight, bias=bias)

    return now


def _language_model(config: ClassifyConfig, given: Given) -> PreTrainedModel:
    """The language model that the run began with."""
    passed = bare(given["model"]) if "model" in given else None
    if has_head(passed) if passed is not None else is_scorer(config.model.model):
        what = "the model is a classifier already, and has no output layer of a language model"
        raise InputError(what, where="lm_alpha", fix="begin with the language model, or leave it out")
    if passed is not None:
        return passed
    return load_network(config.model.model, trust_remote_code=config.model.trust_remote_code)
