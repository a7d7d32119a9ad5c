"""How far sampling is, on a progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable

from accord.training.progress import Progress

LOGGED = 60.0  # seconds between two lines, where no bar can be shown


def advancing(progress: Progress, each: int) -> Callable[[int, int], None]:
    """What `sample` tells step by step. each: samples of a prompt.

    A step of the bar is a sample that came to its end; the tokens that are drawn until then count with it.
    """
    waiting, logged = 0, time.monotonic()

    def advance(ended: int, tokens: int) -> None:
        nonlocal waiting, logged
        waiting += tokens
        if not ended:
            return
        done = progress.step + ended
        progress.advance(done, None, None, done // each - progress.step // each, waiting)
        waiting = 0
        if time.monotonic() - logged > LOGGED:
            logged = time.monotonic()
            progress.log()

    return advance
