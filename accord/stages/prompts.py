"""The prompts that a model answers before and after training."""

from __future__ import annotations

from accord.data.encode import Ids
from accord.stages.load_data import Data


def prompts_of(data: Data, most: int = 64) -> list[Ids]:
    """The first different prompts, of held-out groups where there are any."""
    found: dict[bytes, Ids] = {}
    for group in data.groups[data.trained :] or data.groups:
        found.setdefault(group.prompt.tobytes(), group.prompt)
        if len(found) == most:
            break
    return list(found.values())
