"""Reward models and classifiers in and out: a decoder's body with a score head, whole or as an adapter.

What is written is `AutoModelForSequenceClassification` with `score.weight`. An adapter's config has no room for what
its head means; `score_head.json` beside it has.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from accord.errors import InputError
from accord.models.adapter_files import adapter_directory, base_of, load_adapter
from accord.models.adapters import bare, merged
from accord.models.directory import Stored, read_object
from accord.models.heads import BESIDE, LAYER, MEAN, MULTI, STD, Head, has_head, headless
from accord.models.load import load_whole
from accord.models.logprobs import body_of
from accord.models.named import config_of, stored_tensors


class Normalisation(NamedTuple):
    """Mean and standard deviation of a reward model's scores of demonstrations, or of chosen completions."""

    mean: float
    std: float


def is_scorer(name: str) -> bool:
    """Whether this directory, adapter or cached name has a score head in its weights."""
    adapter = adapter_directory(name)
    return _head_in(stored_tensors(str(adapter) if adapter else name)) is not None


def check_scores(name: str, *, trust_remote_code: bool = False) -> None:
    """Before anything is loaded. InputError: no such directory, or no head in its weights."""
    config_of(name, trust_remote_code)
    adapter = adapter_directory(name)
    stored = stored_tensors(str(adapter) if adapter else name)
    if stored and _head_in(stored) is None:
        raise headless(name)


def check_label(name: str, label: str | None, *, trust_remote_code: bool = False) -> None:
    """As `check_scores`, and as `as_reward` of its scores; the labels of an adapter are known once it is loaded."""
    check_scores(name, trust_remote_code=trust_remote_code)
    if adapter_directory(name) is None and (head := _head_in(stored_tensors(name))) is not None:
        config = config_of(name, trust_remote_code)
        config.num_labels = head.shape[0]
        as_reward(torch.zeros(1, head.shape[0]), config, label)


def load_scorer(
    name: str,
    *,
    device: torch.device | str = "cpu",
    trust_remote_code: bool = False,
    dtype: torch.dtype = torch.float32,
    base_model: str | None = None,
    in_4bit: bool = False,
    merge: bool = False,
) -> PreTrainedModel:
    """A trained reward model or classifier, dropout off. InputError where its head is not in its weights.

    merge: of an adapter, its changes in the weights of the base, as for one who trains them all.
    """
    adapter = adapter_directory(name)
    stored = stored_tensors(str(adapter) if adapter else name)
    if stored and _head_in(stored) is None:
        raise headless(name)
    if adapter is None:
        _check_decoder(name, trust_remote_code)
        network: PreTrainedModel = load_whole(name, device, trust_remote_code, dtype, in_4bit, Head())
        _check_layer(network, name)
        return network
    base = base_of(adapter, base_model)
    network = base_with_head(adapter, base, device, trust_remote_code, dtype, in_4bit)
    wrapped = load_adapter(network, adapter)
    adapted: PreTrainedModel = (merged(wrapped) if merge else bare(wrapped)).eval()
    return adapted


def base_with_head(
    adapter: Path,
    base: str,
    device: torch.device | str = "cpu",
    trust_remote_code: bool = False,
    dtype: torch.dtype = torch.float32,
    in_4bit: bool = False,
) -> PreTrainedModel:
    """What a scorer's adapter is put into: its base with a head of the same size, and what is said of that.

    The weights of this head are of no account, as the adapter brings its own.
    """
    _check_decoder(base, trust_remote_code)
    head, told = head_beside(adapter)
    network = load_whole(base, device, trust_remote_code, dtype, in_4bit, head)
    for key, value in told.items():
        setattr(network.config, key, value)
    return network


def head_beside(adapter: Path) -> tuple[Head, dict[str, Any]]:
    """Of a scorer's adapter its head, and what the config is to keep of its scores. InputError where it has none."""
    told = read_object(adapter / BESIDE) if (adapter / BESIDE).is_file() else {}
    head = _head_in(stored_tensors(str(adapter)))
    if head is None:
        raise headless(str(adapter))
    named = told.get("id2label") or {}
    if not isinstance(named, dict):
        what, fix = "id2label must name a label for each number of the head", "take it out, or bring back a copy"
        raise InputError(what, where=str(adapter / BESIDE), fix=fix)
    labels = tuple(str(named.get(str(place), place)) for place in range(head.shape[0]))
    return Head(labels, told.get("problem_type"), 0), {key: told[key] for key in (MEAN, STD) if key in told}


def new_scorer(
    name: str,
    head: Head,
    *,
    device: torch.device | str = "cpu",
    trust_remote_code: bool = False,
    dtype: torch.dtype = torch.float32,
    in_4bit: bool = False,
) -> PreTrainedModel:
    """A language model whose output layer is replaced by a new head."""
    _check_decoder(name, trust_remote_code)
    network = load_whole(name, device, trust_remote_code, dtype, in_4bit, head)
    _check_layer(network, name)
    return network


def with_new_head(network: PreTrainedModel, head: Head) -> PreTrainedModel:
    """The body of a loaded language model, not copied, with a new head."""
    head.describe(network.config)
    made = on_body(network, network.config, next(network.parameters()).dtype)
    head.begin(made)
    return made


def on_body(network: PreTrainedModel, config: Any, dtype: torch.dtype) -> PreTrainedModel:
    """The body of a loaded language model, not copied, under a head as `config` describes it, its weights not set."""
    if network.config.is_encoder_decoder:
        raise _no_decoder(str(network.name_or_path))
    with torch.device("meta"):
        made: Any = AutoModelForSequenceClassification.from_config(config)
    _check_layer(made, str(network.name_or_path))
    made.config = config
    setattr(made, network.base_model_prefix, body_of(network))
    width = getattr(made, LAYER).in_features
    setattr(made, LAYER, torch.nn.Linear(width, config.num_labels, bias=False, device=network.device, dtype=dtype))
    made.num_labels = config.num_labels
    made.name_or_path = network.name_or_path
    headed: PreTrainedModel = made
    return headed


def check_scorer(network: PreTrainedModel) -> PreTrainedModel:
    """The network itself, if it has a head. InputError where it is a language model."""
    if not has_head(network):
        raise headless(str(network.name_or_path))
    return network


def normalisation_of(network: PreTrainedModel) -> Normalisation | None:
    """What its config keeps of the scores of demonstrations; None where it keeps nothing.

    InputError where that is no number.
    """
    mean, std = getattr(network.config, MEAN, None), getattr(network.config, STD, None)
    if mean is None or std is None:
        return None
    if not all(isinstance(one, int | float) and math.isfinite(one) for one in (mean, std)):
        what, where = f"{MEAN} and {STD} must be numbers, not {mean!r} and {std!r}", str(network.name_or_path)
        raise InputError(what, where=where, fix="take them out of its config, or train a model with accord reward")
    return Normalisation(float(mean), float(std))


def normalise(network: PreTrainedModel, found: Normalisation) -> None:
    """Keeps it in the config."""
    setattr(network.config, MEAN, found.mean)
    setattr(network.config, STD, found.std)


def pad_apart(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ends: set[int]) -> str | None:
    """Gives both a pad token that ends no completion, as stock pooling looks for the last token that is not padding.

    ends: the last tokens of completions. Gives the token where the tokenizer's own could not be kept.
    """
    ends = ends | {int(tokenizer.eos_token_id)}
    if tokenizer.pad_token_id is not None and int(tokenizer.pad_token_id) not in ends:
        network.config.get_text_config().pad_token_id = network.config.pad_token_id = int(tokenizer.pad_token_id)
        return None
    embedding: Any = network.get_input_embeddings()
    place = _free(tokenizer, ends, min(len(tokenizer), embedding.weight.shape[0]))
    token = str(tokenizer.convert_ids_to_tokens(place))
    tokenizer.pad_token = token
    network.config.get_text_config().pad_token_id = network.config.pad_token_id = place
    return token


def _free(tokenizer: PreTrainedTokenizerBase, ends: set[int], count: int) -> int:
    """A token below `count` and not in `ends` that can become special: one that is, or else a rare one.

    From then on its spelling is found in every text before anything else is. So it is one whose spelling is not what
    it stands for, as with a byte-level blank: "!" would take "!!" apart.
    """
    special = [tokenizer.unk_token_id, tokenizer.bos_token_id, *tokenizer.all_special_ids]
    special += sorted(tokenizer.added_tokens_decoder)
    for one in special:
        if one is not None and one not in ends and one < count:
            return int(one)
    others = [one for one in reversed(range(count)) if one not in ends]
    return next((one for one in others if not _stands_for_its_spelling(tokenizer, one)), others[0])


def _stands_for_its_spelling(tokenizer: PreTrainedTokenizerBase, one: int) -> bool:
    spelling = str(tokenizer.convert_ids_to_tokens(one))
    found: list[int] = tokenizer.encode(spelling, add_special_tokens=False)
    return len(spelling) < 3 or found == [one]


def as_reward(score: Tensor, config: Any, label: str | None = None) -> Tensor:
    """(C, L) -> (C,): a reward model's score; of a classifier the log-odds of `label`.

    One label of several: z_l - log sum_{j != l} exp z_j; each for itself (multi-label): z_l. InputError for a label
    that the classifier does not have.
    """
    if score.shape[-1] == 1 and label is None:
        return score[:, 0]
    names = [str(config.id2label[place]) for place in range(score.shape[-1])]
    if label not in names:
        what = f"{label!r} is none of its labels" if label else "a classifier has a score for each label"
        fix = "leave it out: a reward model has one score" if len(names) == 1 else f"name one of {', '.join(names)}"
        raise InputError(what, where="label", fix=fix)
    place = names.index(label)
    if config.problem_type == MULTI or len(names) == 1:
        return score[:, place]
    others = [other for other in range(len(names)) if other != place]
    return score[:, place] - score[:, others].logsumexp(-1)


def _head_in(stored: dict[str, Stored]) -> Stored | None:
    """The head's weight among the tensors of a directory; of an adapter its copy."""
    return next((found for key, found in stored.items() if f".{key}".endswith(f".{LAYER}.weight")), None)


def _no_decoder(name: str) -> InputError:
    what = "has an encoder; a score is read at the last token of a decoder"
    return InputError(what, where=name, fix="take a model that only decodes")


def _check_decoder(name: str, trust_remote_code: bool) -> None:
    if config_of(name, trust_remote_code).is_encoder_decoder:
        raise _no_decoder(name)


def _check_layer(network: PreTrainedModel, name: str) -> None:
    """InputError where stock's class has another kind of head than one linear layer called score."""
    layer = getattr(network, LAYER, None)
    if not isinstance(layer, torch.nn.Linear):
        what = f"{type(network).__name__} has no linear layer {LAYER!r} for its head"
        raise InputError(what, where=name, fix="take a model that transformers has one for, as Llama, Qwen or Gemma")
