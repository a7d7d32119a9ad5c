"""What commands that make a model without training give back, and the folder that they write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accord.errors import InputError


@dataclass
class NewModel:
    """What `accord init` and `accord merge` give back to Python."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    output_dir: Path


def empty_folder(name: str) -> Path:
    """The folder of this name. InputError where something is in it; it need not exist."""
    place = Path(name)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise InputError("exists and is not empty", where=name, fix="take another --output_dir")
    return place
