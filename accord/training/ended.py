"""How the process of a run ended, for its run.json: nothing is there of one that was killed, or that goes on."""

from __future__ import annotations

import time
from typing import Any

from accord.errors import AccordError, Stopped, exit_code


def ending(error: BaseException | None, step: int, waits: str | None = None) -> dict[str, Any]:
    """state, code (of exit), step (the last one done), error (text or None), time (seconds since 1970).

    The state is finished, waiting (for people; `waits` says for what), stopped (by a signal) or failed.
    """
    code = 0 if error is None else exit_code(error)
    state, text = ("waiting", waits) if error is None and waits else (_state(error), _text(error))
    return {"state": state, "code": code, "step": step, "error": text, "time": time.time()}


def _state(error: BaseException | None) -> str:
    if error is None:
        return "finished"
    return "stopped" if isinstance(error, Stopped | KeyboardInterrupt) else "failed"


def _text(error: BaseException | None) -> str | None:
    if error is None or isinstance(error, KeyboardInterrupt):
        return None
    if isinstance(error, Stopped):
        return error.what  # where and what to do is the same for every such run
    return str(error) if isinstance(error, AccordError) else f"{type(error).__name__}: {error}"
