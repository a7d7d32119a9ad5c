"""Makes what both sides are given: the comparisons, the demonstrations and the models. A process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cases import SHAPES
from comparisons import rows

from accord.models.load import save
from accord.models.pocket import random_model, train_tokenizer


def texts(row: dict[str, Any]) -> Iterator[str]:
    for name in ("prompt", "chosen", "rejected"):
        yield from (turn["content"] for turn in row[name])


def fits(tokenizer: Any, row: dict[str, Any], context: int) -> bool:
    """Whether both sides are short enough: one trainer drops what is longer, the other cuts it."""
    sides = (row["prompt"] + row[side] for side in ("chosen", "rejected"))
    return all(len(tokenizer.apply_chat_template(side)["input_ids"]) <= context for side in sides)


def main(source: Path, folder: Path, count: int) -> None:
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
    for name, part in (("comparisons", chosen), ("demonstrations", demonstrations)):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in part)
        (folder / f"{name}-{count}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
