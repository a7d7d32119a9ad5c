"""The prompts that a model answers before and after training."""

from __future__ import annotations

from accord.data.encode import Ids
from accord.data.order import prompt_key
from accord.stages.load_data import Data


def prompts_of(data: Data, most: int = 64) -> list[Ids]:
    """The first different prompts, of held-out groups where there are any."""
    found: dict[str, Ids] = {}
    for group in data.groups[data.trained :] or data.groups:
        found.setdefault(prompt_key(group.group), group.prompt)
        if len(found) == most:
            break
    return list(found.values())
