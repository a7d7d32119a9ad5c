"""A frozen model in 4 bits: QLoRA (Dettmers et al. 2023), through bitsandbytes."""

from __future__ import annotations

import importlib.util

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel

from accord.errors import InputError


def check_bitsandbytes() -> None:
    """InputError where bitsandbytes is not installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            "needs bitsandbytes, which is not installed", where="load_in_4bit", fix="pip install bitsandbytes"
        )


def four_bits(dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 with doubly quantised scales; products are computed in `dtype`."""
    check_bitsandbytes()
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def is_quantized(network: PreTrainedModel) -> bool:
    """Whether its weights are of another kind than numbers of its dtype, and stay as they were loaded."""
    return bool(getattr(network, "is_quantized", False))
