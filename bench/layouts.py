"""What the tree saves: the engine forward and backward in both layouts over a grid of shapes; 12 M model, float32."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch

from accord.data.batches import Layout, micro_batches, size
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.models.load import keep_freed_memory, load_network
from accord.models.logprobs import LanguageModel, logprobs
from accord.records import Completion, Group, Origin

PROMPTS, COUNTS, COMPLETIONS = (32, 127, 512), (2, 4, 8), (16, 64, 256)
FILL = 2048  # tokens of tree: as many groups as fill it, at least one
MAX_TOKENS = 4096
REPEATS = 3


def group(prompt: int, count: int, completion: int, draw: np.random.Generator) -> TokenGroup:
    """Random ids in a shape: attention and output layer cost the same whatever they are."""

    def ids(length: int) -> np.ndarray:
        return draw.integers(0, 32_000, length, dtype=np.int32)

    texts = tuple(Completion(str(i)) for i in range(count))
    made = tuple(TokenCompletion(ids(completion), ((0, completion),)) for _ in range(count))
    return TokenGroup(Group(id="", prompt="", completions=texts, source=Origin("bench", 1)), ids(prompt), made)


def seconds(model: LanguageModel, groups: list[TokenGroup]) -> float:
    """The median of forward and backward of all groups, after one that is not counted."""
    taken = []
    for _ in range(1 + REPEATS):
        model.network.zero_grad(set_to_none=True)
        batches = list(micro_batches(groups, range(len(groups)), max_tokens=MAX_TOKENS, layout=model.layout))
        began = time.perf_counter()
        with model.segmented():
            for batch in batches:
                logprobs(model, batch).sum.sum().backward()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def main(directory: str, out: Path) -> None:
    keep_freed_memory()
    torch.set_num_threads(os.cpu_count() or 1)
    network = load_network(directory)
    draw = np.random.default_rng(0)
    rows = []
    for prompt, count, completion in product(PROMPTS, COUNTS, COMPLETIONS):
        one = prompt + count * completion
        groups = [group(prompt, count, completion, draw) for _ in range(max(1, FILL // one))]
        row: dict[str, object] = {"prompt": prompt, "count": count, "completion": completion, "groups": len(groups)}
        layouts: tuple[Layout, ...] = ("tree", "rows")
        for layout in layouts:
            row[layout] = {
                "seconds": seconds(LanguageModel(network, layout), groups),
                "tokens": sum(size(made, layout) for made in groups),
            }
        rows.append(row)
        out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
