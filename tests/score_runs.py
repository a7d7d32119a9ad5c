"""Reward models and classifiers for tests, in tiny, and what stock transformers say of their scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import tiny
import torch
from stage_runs import ids_of
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from accord.models.heads import MULTI, SINGLE, Head
from accord.models.load import save
from accord.models.scorer import Normalisation, normalise, pad_apart, with_new_head

MEAN = 0.25


def write_scorer(directory: Path, head: Head | None = None, *, mean: float | None = None) -> Path:
    """A Llama with a new head of one number unless another is given. mean: of the scores of demonstrations."""
    network, tokenizer = with_new_head(tiny.llama(vocab_size=300), head or Head(("reward",), seed=3)), tiny.tokenizer()
    pad_apart(network, tokenizer, set())
    if mean is not None:
        normalise(network, Normalisation(mean, 2.0))
    save(network, tokenizer, directory)
    return directory


def furnish_scorers(place: Path) -> None:
    """reward, plain (without a normalisation), kinds (one of a, b, c) and flags (toxic, rude, each for itself)."""
    write_scorer(place / "reward", mean=MEAN)
    write_scorer(place / "plain")
    write_scorer(place / "kinds", Head(("a", "b", "c"), SINGLE, seed=4))
    write_scorer(place / "flags", Head(("toxic", "rude"), MULTI, seed=5))


@torch.no_grad()
def stock_logits(directory: Path, rows: Sequence[Mapping[str, str]], sides: Sequence[str]) -> list[list[list[float]]]:
    """Of each row, of each side, the numbers of stock's head; one text at a time."""
    network = AutoModelForSequenceClassification.from_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)

    def logits(row: Mapping[str, str], side: str) -> list[float]:
        ids, _ = ids_of(tokenizer, row, side)
        found: list[float] = network(torch.tensor([ids])).logits[0].tolist()
        return found

    return [[logits(row, side) for side in sides] for row in rows]
