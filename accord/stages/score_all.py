"""One pass over all groups with a progress bar: the log-probability of every completion."""

from __future__ import annotations

from collections.abc import Sequence

from accord.data.dialogue import TokenGroup
from accord.models.logprobs import LanguageModel
from accord.models.reference import ReferenceLogprobs, reference_logprobs
from accord.training.progress import Progress


def score_all(name: str, model: LanguageModel, groups: Sequence[TokenGroup], max_tokens: int) -> ReferenceLogprobs:
    """As `reference_logprobs`; `name` stands before the bar."""
    done = 0
    with Progress(name, len(groups), unit="group") as progress:

        def advance(count: int, tokens: int) -> None:
            nonlocal done
            done += count
            progress.advance(done, None, None, count, tokens)

        found = reference_logprobs(model, groups, max_tokens=max_tokens, advance=advance)
        progress.log()
    return found
