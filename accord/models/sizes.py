"""What a config.json may ask for: checked as it stands in the file, before anything is made of it.

A config of -1 layers gives a model without any, one of 2,000,000,000 takes all memory before the first weight is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from accord.errors import InputError

# The names that transformers' configs have for the same size, and the most that any model is known to need, tenfold.
LAYERS = (
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers",
    "decoder_num_hidden_layers", "num_encoder_layers",
)  # fmt: skip
WIDTHS = (
    "hidden_size", "d_model", "n_embd", "embed_dim", "emb_dim", "hidden_dim", "dim", "decoder_hidden_size",
    "encoder_hidden_size", "embedding_size", "word_embed_proj_dim", "head_dim", "d_kv", "kv_channels", "v_head_dim",
    "qk_rope_head_dim", "qk_nope_head_dim", "q_lora_rank", "kv_lora_rank", "intermediate_size", "d_ff", "ffn_dim",
    "n_inner", "ffn_hidden_size", "encoder_ffn_dim", "decoder_ffn_dim", "moe_intermediate_size", "state_size",
)  # fmt: skip
COUNTS = (
    "num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads", "encoder_attention_heads",
    "decoder_attention_heads", "decoder_num_attention_heads", "num_key_value_heads", "decoder_num_key_value_heads",
    "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "n_shared_experts",
    "num_experts_per_tok", "num_labels", "type_vocab_size", "num_nextn_predict_layers", "num_mtp_layers",
)  # fmt: skip
VOCABULARIES = ("vocab_size", "tgt_vocab_size", "n_vocab", "vocab_size_per_layer_input", "decoder_vocab_size")
POSITIONS = (
    "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "context_length", "max_source_positions",
    "max_target_positions",
)  # fmt: skip
MOST = {
    **dict.fromkeys(LAYERS, 1_000),
    **dict.fromkeys(COUNTS, 10_000),
    **dict.fromkeys(WIDTHS, 1_000_000),
    **dict.fromkeys(VOCABULARIES, 10_000_000),
    **dict.fromkeys(POSITIONS, 100_000_000),
}
AT_LEAST_1 = {"num_hidden_layers", "n_layer", "hidden_size", "d_model", "n_embd", "vocab_size"}
KERNELS = ("attn_implementation", "experts_implementation")  # beginning with _ or not


def check_sizes(config: Mapping[str, Any], path: Path) -> None:
    """InputError names the key that is out of range, at any depth of the config. path: its file, for the message."""
    for key, value in _numbers(config, ""):
        name = key.rpartition(".")[2]
        least = 1 if key in AT_LEAST_1 else 0
        if name in MOST and not least <= value <= MOST[name]:
            fix = f"a number from {least} to {MOST[name]}"
            raise InputError(f"{key} is {_short(value)}", where=str(path), fix=fix)


def check_layers(config: Mapping[str, Any], path: Path, tensors: int) -> None:
    """InputError where there are more layers than tensors, of which each layer has at least one."""
    for key, value in _numbers(config, ""):
        if key.removeprefix("text_config.") in LAYERS and value > tensors:
            what = f"{key} is {value}, and the weights are {tensors} tensors"
            raise InputError(what, where=str(path), fix="use the config that belongs to the weights")


def check_code(config: Mapping[str, Any], path: Path) -> None:
    """InputError where the config would have transformers fetch and run code from the hub, or read other weights."""
    for key, value in _texts(config, ""):
        if any(part.lstrip("_") in KERNELS for part in key.split(".")) and "/" in value:
            what = f"{key} is {value!r}: code that would be fetched from the hub"
            raise InputError(what, where=str(path), fix="remove the key, or run with --trust_remote_code")
    if config.get("transformers_weights") is not None:
        what = "transformers_weights names another file of weights"
        raise InputError(what, where=str(path), fix="name the weights model.safetensors, and remove the key")


def _numbers(value: Any, key: str) -> Iterator[tuple[str, int | float]]:
    for name, leaf in _leaves(value, key):
        if isinstance(leaf, int | float) and not isinstance(leaf, bool):
            yield name, leaf


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    for name, leaf in _leaves(value, key):
        if isinstance(leaf, str):
            yield name, leaf


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """("text_config.vocab_size", 32000) of everything in a config; what stands in lists is not looked at."""
    if not isinstance(value, Mapping):
        yield key, value
        return
    for name, inner in value.items():
        yield from _leaves(inner, f"{key}.{name}" if key else str(name))


def _short(value: int | float) -> str:
    return str(value) if abs(value) < 1e15 else f"{value:.3g}" if isinstance(value, float) else "beyond 1e15"
