"""What each layout costs: the engine forward and backward over a grid of shapes; 12 M model, random weights.

python bench/layouts.py [--out FILE] [--device cuda] [--dtype bf16] [--loop] [--shapes 32x2x16 ...] [--repeats N]
Needs nothing but Accord: no data, no network, no other trainer. Writes JSON, prints the table of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from cases import SHAPES
from report import layout_lines, layout_table, markdown
from scipy.optimize import nnls
from transformers import LlamaConfig, LlamaForCausalLM

from accord.data.batches import Layout, size
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.models import flex
from accord.models.cost import PRICES, STEP, Prices, by_cost, work_of
from accord.models.device import keep_freed_memory
from accord.models.layout import MICRO_BATCH
from accord.models.logprobs import LanguageModel, logprobs
from accord.records import Completion, Group, Origin


class Cost(NamedTuple):
    """One layout on one shape. memory: the most that tensors took at once beside the weights, in bytes."""

    seconds: float
    memory: int
    tokens: int


class Shape(NamedTuple):
    """Tokens of the prompt, completions, tokens of each."""

    prompt: int
    count: int
    completion: int


LAYOUTS: tuple[Layout, ...] = ("tree", "cache", "rows")
GRID = [
    *(Shape(*one) for one in product((32, 256, 1024), (2, 4, 9), (16, 128, 1024))),
    Shape(32, 1, 1024),
    Shape(1024, 1, 16),
]
MOST = 20_000  # tokens of rows of one group: a shape above is left out
REPEATS = 3
ENOUGH = 20.0  # seconds of all layouts after which a shape is not repeated: what takes so long varies little
MODELS = {**SHAPES, "350m": SHAPES["12m"]._replace(hidden_size=1024, layers=24, heads=16, kv_heads=8)}
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Times the layouts.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / ".bench" / "layouts.json")
    parser.add_argument("--device", choices=MICRO_BATCH, default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--shapes", nargs="+", type=_shape, default=GRID, metavar="PxKxC", help="all unless given")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--threads", type=int, default=None, help="all cores unless given")
    parser.add_argument("--model", choices=MODELS, default="12m")
    parser.add_argument("--loop", action="store_true", help="on a GPU: the tree segment by segment, without its kernel")
    return parser.parse_args()


def _shape(text: str) -> Shape:
    return Shape(*map(int, text.split("x")))


def network(device: str, dtype: torch.dtype, name: str = "12m") -> LlamaForCausalLM:
    """The 12 M model of the other measurements with a longer context, or one that a GPU has something to do with."""
    shape = MODELS[name]
    config = LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.hidden_size * 8 // 3,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    made: Any = LlamaForCausalLM(config)
    return made.to(device=device, dtype=dtype).eval()


def group(shape: Shape, draw: np.random.Generator) -> TokenGroup:
    """Random ids in a shape: attention and output layer cost the same whatever they are."""

    def ids(length: int) -> np.ndarray:
        return draw.integers(0, 32_000, length, dtype=np.int32)

    texts = tuple(Completion(str(i)) for i in range(shape.count))
    made = tuple(TokenCompletion(ids(shape.completion), ((0, shape.completion),)) for _ in texts)
    return TokenGroup(Group(id="", prompt="", completions=texts, source=Origin("bench", 1)), ids(shape.prompt), made)


def passes(model: LanguageModel, groups: list[TokenGroup], device: str) -> Callable[[], None]:
    """Forward and backward of all groups, from micro-batches that lie ready."""
    cut = micro_batches(groups, range(len(groups)), max_tokens=MICRO_BATCH[device], layout=model.layout)
    batches = [batch.to(device) for batch in cut]

    def run() -> None:
        model.network.zero_grad(set_to_none=True)
        with model.segmented():
            for batch in batches:
                logprobs(model, batch).sum.sum().backward()
        if device != "cpu":
            torch.cuda.synchronize()

    return run


def seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def memory(run: Callable[[], None], device: str) -> int:
    """The most bytes that tensors took at once during one pass, gradients included, weights not."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    changes = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    used = np.cumsum([event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns())])
    return int(used.max())


def measure(model: Any, shape: Shape, asked: argparse.Namespace) -> dict[str, Any] | None:
    """All layouts in turn, so that a slower minute of the machine is a slower minute for each. None: too large."""
    draw = np.random.default_rng(0)
    groups = [group(shape, draw)]
    if size(groups[0], "rows") > MOST:
        return None
    most_tokens = MICRO_BATCH[asked.device]
    fill = min(STEP, most_tokens // size(groups[0], "tree"))  # a micro-batch of the tree, but no more than a step
    groups += [group(shape, draw) for _ in range(fill - 1)]
    runs = {layout: passes(LanguageModel(model, layout), groups, asked.device) for layout in LAYOUTS}
    most = {layout: memory(run, asked.device) for layout, run in runs.items()}  # and nothing is cold after it
    taken: dict[str, list[float]] = {layout: [] for layout in LAYOUTS}
    for _ in range(asked.repeats):
        for layout, run in runs.items():
            taken[layout].append(seconds(run))
        if sum(map(sum, taken.values())) > ENOUGH:
            break
    work = {layout: work_of(model, groups, layout, max_tokens=most_tokens) for layout in LAYOUTS}
    costs = {
        layout: Cost(statistics.median(taken[layout]), most[layout], sum(size(made, layout) for made in groups))
        for layout in LAYOUTS
    }
    chosen = by_cost(model, groups, LAYOUTS, max_tokens=most_tokens)[0]
    return {
        **shape._asdict(),
        "groups": len(groups),
        "chosen": chosen,
        "over_best": costs[chosen].seconds / min(cost.seconds for cost in costs.values()),
        **{layout: {**cost._asdict(), "work": work[layout]} for layout, cost in costs.items()},
    }


def prices(rows: list[dict[str, Any]]) -> Prices:
    """Those that explain best by how much layouts differ on a shape; what all have in common falls out.

    Least squares of the differences over the best layout's seconds, so that a short shape counts as a long one does.
    """
    work, taken = [], []
    for row in rows:
        best = min(row[layout]["seconds"] for layout in LAYOUTS)
        for layout in ("cache", "rows"):
            more = np.subtract(row[layout]["work"], row["tree"]["work"])
            work.append(more / best)
            taken.append((row[layout]["seconds"] - row["tree"]["seconds"]) / best)
    found, _ = nnls(np.array(work), np.array(taken))
    return Prices(*found.tolist())


def main() -> None:
    asked = arguments()
    keep_freed_memory()
    if asked.loop:
        flex.available = lambda device: False
    if asked.threads:
        torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    model = network(asked.device, DTYPES[asked.dtype], asked.model)
    rows, left_out = [], []
    asked.out.parent.mkdir(exist_ok=True)
    for shape in asked.shapes:
        row = measure(model, shape, asked)
        if row is None:
            left_out.append(shape)
            continue
        rows.append(row)
        print(*shape, *(f"{layout} {row[layout]['seconds']:.3f}" for layout in LAYOUTS), file=sys.stderr, flush=True)
        found = {"device": asked.device, "dtype": asked.dtype, "torch": torch.__version__, "rows": rows}
        asked.out.write_text(json.dumps(found | {"left_out": left_out}, indent=1), encoding="utf-8")
    print(markdown(*layout_table({"rows": rows})))
    for line in layout_lines({"rows": rows, "left_out": left_out}):
        print(line)
    print(f"PRICES: in use {PRICES.get(asked.device)}; that fit these figures best: {prices(rows)}")


if __name__ == "__main__":
    main()
