"""Makes what both sides are given: the comparisons, the demonstrations and the models. A process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cases import BATCH, RANKED, SHAPES
from comparisons import pairs_of, rankings, rows
from samples import NEW_TOKENS

from accord.models.heads import Head
from accord.models.load import save
from accord.models.pocket import random_model, train_tokenizer
from accord.models.scorer import new_scorer, pad_apart


def texts(row: dict[str, Any]) -> Iterator[str]:
    for name in ("prompt", "chosen", "rejected"):
        yield from (turn["content"] for turn in row[name])


def fits(tokenizer: Any, row: dict[str, Any], context: int) -> bool:
    """Whether both sides are short enough: one trainer drops what is longer, the other cuts it."""
    sides = (row["prompt"] + row[side] for side in ("chosen", "rejected"))
    return all(len(tokenizer.apply_chat_template(side)["input_ids"]) <= context for side in sides)


def fits_plainly(tokenizer: Any, row: dict[str, Any], context: int) -> bool:
    """The same of texts without a template: one token for the end."""
    sides = (row["prompt"] + completion for completion in row["completions"])
    return all(len(tokenizer(side)["input_ids"]) < context for side in sides)


def reward_model(tokenizer: Any, folder: Path) -> None:
    """The small model with a new head, so that both sides begin with the same one."""
    if not (folder / "12m-reward" / "model.safetensors").exists():
        network = new_scorer(str(folder / "12m"), Head(("reward",), seed=0))
        pad_apart(network, tokenizer, set())
        save(network, tokenizer, folder / "12m-reward")


def stretches(tokenizer: Any, found: Sequence[dict[str, Any]], length: int) -> Iterator[str]:
    """Texts of exactly so many tokens, one after the other out of the data's own, whole words, without end."""
    words = " ".join(text for row in found for text in texts(row)).split()
    start = 0
    while True:
        for count in range(length // 4, length + 1):
            text = " ".join(words[start : start + count])
            if (tokens := len(tokenizer(text, add_special_tokens=False)["input_ids"])) >= length:
                break
        start = (start + count) % (len(words) - length)
        if tokens == length:
            yield text


def same_length(row: dict[str, Any], made: Iterator[str]) -> dict[str, Any]:
    """A comparison of the same prompt; its sides are two stretches."""
    chosen, rejected = ([{"role": "assistant", "content": next(made)}] for _ in range(2))
    return {"prompt": row["prompt"], "chosen": chosen, "rejected": rejected}


def write(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def main(source: Path, ranked: Path, folder: Path, steps: int) -> None:
    count = BATCH * steps
    found = list(rows(source))
    shape = SHAPES["12m"]
    tokenizer = train_tokenizer((text for row in found for text in texts(row)), shape.vocab_size, context=shape.context)
    for name, shape in SHAPES.items():
        if not (folder / name / "model.safetensors").exists():
            save(random_model(tokenizer, **shape._asdict()), tokenizer, folder / name)
    fitting = (row for row in found if fits(tokenizer, row, shape.context))
    chosen = [row for row, _ in zip(fitting, range(count), strict=False)]
    if len(chosen) < count:
        sys.exit(f"bench: {source} has {len(chosen)} usable comparisons, {count} are needed: fewer --steps")
    demonstrations = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in chosen]
    prompts = [{"prompt": row["prompt"]} for row in chosen]
    for name, part in (("comparisons", chosen), ("demonstrations", demonstrations), ("prompts", prompts)):
        write(folder / f"{name}-{count}.jsonl", part)
    made = stretches(tokenizer, found, NEW_TOKENS - 1)  # and EOS
    write(folder / f"stretches-{count}.jsonl", (same_length(row, made) for row in chosen))
    reward_model(tokenizer, folder)
    short = (row for row in rankings(ranked) if fits_plainly(tokenizer, row, shape.context))
    groups = [row for row, _ in zip(short, range(RANKED * steps), strict=False)]
    write(folder / f"rankings-{len(groups)}.jsonl", groups)
    write(folder / f"ranked-pairs-{len(groups)}.jsonl", (pair for row in groups for pair in pairs_of(row)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
