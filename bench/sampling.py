"""Samples beside transformers.generate, in one process and in turn; and the drawing by itself.

python bench/sampling.py [--rounds 3] [--threads N] [--dtype bf16] [--out FILE]
Needs nothing but Accord: the 12 M model has random weights, prompts are random words. No sample ends early on either
side, and nothing is cut off the distribution. Writes JSON, prints the table of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import SHAPES
from report import markdown, sampling_table
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from accord.models.device import keep_freed_memory
from accord.models.draw import WHOLE, draw
from accord.models.logprobs import LanguageModel
from accord.models.sample import sample

PROMPTS, LENGTH, SAMPLES, NEW = 64, 127, 4, 64
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
DRAWINGS = 7  # of which the quickest counts


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Times samples beside transformers.generate.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / ".bench" / "sampling.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None, help="all cores unless given")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--new", type=int, default=NEW, help=f"tokens of a sample ({NEW})")
    return parser.parse_args()


def network(dtype: torch.dtype) -> LlamaForCausalLM:
    shape = SHAPES["12m"]
    config = LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=round(shape.hidden_size * 8 / 3 / 64) * 64,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    made: LlamaForCausalLM = LlamaForCausalLM(config).eval().to(dtype)
    made.generation_config = GenerationConfig(pad_token_id=0)
    return made


class Sides:
    """Both sides on the same model and prompts; each returns the tokens that it made."""

    def __init__(self, dtype: torch.dtype, new: int) -> None:
        self.network, self.new = network(dtype), new
        self.prompts = np.random.default_rng(0).integers(3, SHAPES["12m"].vocab_size, (PROMPTS, LENGTH))

    def ours(self) -> int:
        rows = list(self.prompts.astype(np.int32))
        made = sample(LanguageModel(self.network), rows, count=SAMPLES, max_new_tokens=self.new, ends=(), seed=0)
        return sum(len(one.ids) for samples in made for one in samples)

    @torch.no_grad()
    def theirs(self) -> int:
        ids = torch.from_numpy(self.prompts)
        wanted = GenerationConfig(
            do_sample=True, num_return_sequences=SAMPLES, max_new_tokens=self.new, top_k=0, pad_token_id=0
        )
        made = self.network.generate(ids, attention_mask=torch.ones_like(ids), generation_config=wanted)
        return made[:, LENGTH:].numel()


def timed(side: Callable[[], int]) -> dict[str, float]:
    """Tokens a second, and a second of the processor."""
    began, used = time.perf_counter(), time.process_time()
    tokens = side()
    return {
        "rate": tokens / (time.perf_counter() - began),
        "processor": tokens / (time.process_time() - used),
    }


@torch.no_grad()
def drawing() -> dict[str, float]:
    """Milliseconds for one token of each row, from logits on: ours and torch's."""
    rows, words = PROMPTS * SAMPLES, SHAPES["12m"].vocab_size
    logits, uniform = torch.randn(rows, words), torch.rand(rows, dtype=torch.float64)
    scratch = torch.empty_like(logits)
    took: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(DRAWINGS):
        scratch.copy_(logits)
        began = time.perf_counter()
        draw(scratch, uniform, WHOLE)
        took["ours"].append(time.perf_counter() - began)
        began = time.perf_counter()
        torch.multinomial(logits.softmax(-1), 1)
        took["theirs"].append(time.perf_counter() - began)
    return {name: 1e3 * min(times) for name, times in took.items()}


def measured(asked: argparse.Namespace) -> dict[str, Any]:
    sides = Sides(DTYPES[asked.dtype], asked.new)
    for side in (sides.ours, sides.theirs):  # the first use of every kernel
        kept, sides.new = sides.new, 4
        side()
        sides.new = kept
    rounds = [{"ours": timed(sides.ours), "theirs": timed(sides.theirs)} for _ in range(asked.rounds)]
    middle = {
        f"{side} {what}": statistics.median(one[side][what] for one in rounds)
        for side in ("ours", "theirs")
        for what in ("rate", "processor")
    }
    ratio = statistics.median(one["ours"]["rate"] / one["theirs"]["rate"] for one in rounds)
    about = {"prompts": PROMPTS, "length": LENGTH, "samples": SAMPLES, "new": asked.new, "dtype": asked.dtype}
    return {**about, **middle, "ratio": ratio, "rounds": rounds, "drawing": drawing()}


def main() -> None:
    asked = arguments()
    keep_freed_memory()
    if asked.threads is not None:
        torch.set_num_threads(asked.threads)
    found = measured(asked)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(markdown(*sampling_table(found)))


if __name__ == "__main__":
    main()
