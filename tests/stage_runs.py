"""Quick runs of the stages for tests: their options, the files they read and write, and what stock transformers says.

The fixtures `workshop` and `quick` (conftest.py) are made of this.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import tiny
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from accord.cli import main

COMPARISONS = tiny.comparisons(24)
QUICK: dict[str, Any] = {"samples": 0, "report_to": "none", "logging_steps": 1, "batch_size": 8, "max_tokens": 300}
Run = Callable[..., int]


def write_lines(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def words(stage: str, options: Mapping[str, object]) -> list[str]:
    return [stage, *(f"--{key}={str(value).lower() if value is True else value}" for key, value in options.items())]


def furnish(place: Path) -> None:
    """model (a Llama), other (another one), gpt2, pairs.jsonl, chats.jsonl, texts.jsonl."""
    tiny.write_model(place / "model")
    tiny.write_model(place / "other", tiny.llama(vocab_size=300, seed=1))
    tiny.write_model(place / "gpt2", tiny.gpt2(vocab_size=300, n_positions=64))
    write_lines(place / "pairs.jsonl", COMPARISONS)
    chats = [
        [
            {"role": ("user", "assistant")[turn % 2], "content": tiny.sentence(900 + 5 * i + turn, 3)}
            for turn in range(4)
        ]
        for i in range(12)
    ]
    write_lines(place / "chats.jsonl", ({"messages": chat} for chat in chats))
    write_lines(place / "texts.jsonl", tiny.texts(20))


def quick_run(workshop: Path, output: Path) -> Run:
    """run("dpo", beta=0.2): a quick run of that command into `output`; its exit code."""

    def run(stage: str, **options: object) -> int:
        files = {"pretrain": "texts.jsonl", "sft": "chats.jsonl", "dpo": "pairs.jsonl"}
        usual = {"model": workshop / "model", "data": workshop / files[stage], "output_dir": output, **QUICK}
        return main(words(stage, {**usual, **options}))

    return run


def ids_of(tokenizer: Any, row: Mapping[str, str], side: str) -> tuple[list[int], int]:
    """The ids of prompt and completion with EOS, and how many are the prompt's (a completion begins with a blank)."""
    prompt = tokenizer(row["prompt"]).input_ids
    whole = [*tokenizer(row["prompt"] + row[side]).input_ids, tokenizer.eos_token_id]
    assert whole[: len(prompt)] == prompt
    return whole, len(prompt)


@torch.no_grad()
def stock_logprob(network: Any, tokenizer: Any, row: Mapping[str, str], side: str) -> tuple[float, int]:
    """(log P(completion | prompt), its tokens) by stock transformers alone."""
    ids, start = ids_of(tokenizer, row, side)
    logp = network(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return sum(float(logp[place - 1, ids[place]]) for place in range(start, len(ids))), len(ids) - start


def loaded(directory: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)


def dpo_loss(policy: Path, reference: Path, rows: Iterable[Mapping[str, str]], beta: float) -> float:
    (one, tokenizer), (other, _) = loaded(policy), loaded(reference)
    losses = []
    for row in rows:
        h = [
            stock_logprob(one, tokenizer, row, side)[0] - stock_logprob(other, tokenizer, row, side)[0]
            for side in ("chosen", "rejected")
        ]
        losses.append(math.log1p(math.exp(-beta * (h[0] - h[1]))))
    return sum(losses) / len(losses)


def assert_stock_loads(directory: Path, network: Any) -> None:
    """Stock transformers load the directory, and their logits are those of the network that Python got."""
    again, tokenizer = loaded(directory)
    ids = torch.tensor([tokenizer("the cat sat on a mat").input_ids])
    with torch.no_grad():
        assert torch.equal(again(ids).logits, network(ids).logits)
