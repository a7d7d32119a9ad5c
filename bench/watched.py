"""A stage as Python calls it, watched: its name and options come as JSON by standard input, what was seen goes out.

Of every step the seconds from its micro-batches to new weights, and the tokens that the policy reads; the lines of the
run's metrics.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import accord
from accord.models import sample
from accord.training import loop

fit = loop.fit
seconds: list[float] = []
tokens: list[int] = []
began = [0.0]


def given(steps: Iterable[Any]) -> Iterator[Any]:
    """The steps; each is noted as it is begun with."""
    for step in steps:
        tokens.append(sum(batch.token_count for batch in step[0].batches))
        began[0] = time.perf_counter()
        yield step


def watched(model: Any, steps: Iterable[Any], *rest: Any, **options: Any) -> Iterator[Any]:
    for result in fit(model, given(steps), *rest, **options):
        seconds.append(time.perf_counter() - began[0])
        yield result


def main() -> None:
    loop.fit = watched  # the stages import these names when they are first called
    sample.ends_of = lambda network, tokenizer: frozenset()  # no token ends a sample: all are of one length
    name, options = json.load(sys.stdin)
    getattr(accord, name)(**options)
    written = Path(options["output_dir"], "metrics.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in written.splitlines()]
    print(json.dumps({"seconds": seconds, "tokens": tokens, "lines": lines}))


if __name__ == "__main__":
    main()
