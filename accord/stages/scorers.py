"""Reward models and classifiers as stages use them: loaded and compared with stock; scores of many groups."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from accord.data.batches import Batch
from accord.data.dialogue import TokenGroup
from accord.models.adapters import bare
from accord.models.heads import score_groups
from accord.models.load import check_vocabulary
from accord.models.logprobs import LanguageModel
from accord.models.scorer import check_scorer, load_scorer
from accord.stages.options import ModelOptions
from accord.stages.setup import Given, Machine, moved, ready
from accord.training.progress import Progress


def scorer_of(
    options: ModelOptions,
    given: Given,
    tokenizer: PreTrainedTokenizerBase,
    groups: Sequence[TokenGroup],
    place: Machine,
) -> LanguageModel:
    """A trained reward model or classifier, compared with stock in float32 on the longest group, ready to be used.

    InputError where it is a language model.
    """
    if (passed := given.get("model")) is not None:
        network = moved(check_scorer(bare(passed)), place.device)
    else:
        network = load_scorer(
            options.model,
            device=place.device,
            trust_remote_code=options.trust_remote_code,
            base_model=options.base_model,
        )
    check_vocabulary(network, tokenizer)
    model = ready(network, groups, options)
    if passed is None:
        moved(network, place.device, place.dtype)
    return model


def scored(name: str, model: LanguageModel, groups: Sequence[TokenGroup], max_tokens: int) -> list[Tensor]:
    """Of each group (K, L) on the CPU, with a progress bar that `name` stands before."""
    done = 0
    with Progress(name, len(groups), unit="group") as progress:

        def advance(batch: Batch) -> None:
            nonlocal done
            done += len(batch.members)
            progress.advance(done, None, None, len(batch.members), batch.token_count)

        found = score_groups(model, groups, max_tokens=max_tokens, advance=advance)
        progress.log()
    return found
