"""How many tokens a run has trained on, from its log lines: the same for a run that was stopped and went on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def tokens_seen(lines: Iterable[Mapping[str, Any]]) -> int:
    """Tokens of all steps, of each completion with its prompt, however they were laid out; from metrics.jsonl.

    A log line has means over the steps since the line before; tokens_per_second times seconds_per_step are the tokens
    of a step, and without what sharing prompts saved they are those of whole rows. Steps without groups, as rounds of
    reinforcement learning may have, would be counted like the others. 0 where nothing was logged.
    """
    tokens, before = 0.0, 0
    for line in lines:
        if "tokens_per_second" not in line:
            continue
        each = line["tokens_per_second"] * line["seconds_per_step"] / (1 - line["tokens_saved"])
        tokens += each * (line["step"] - before)
        before = line["step"]
    return round(tokens)
