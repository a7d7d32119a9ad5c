"""Python functions that see every line of a run's metrics as it is written, and may end the training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from accord.errors import InputError

# step, epoch, time, and the figures, held-out ones as eval_... -> False ends the training; anything else goes on
Callback = Callable[[dict[str, Any]], object]


def callbacks_of(given: Mapping[str, object]) -> Sequence[Callback]:
    """What was passed as `callback=`: one function, or several. InputError where it is something else."""
    found = given.get("callback", ())
    several = list(found) if isinstance(found, Iterable) else [found]
    for one in several:
        if not callable(one):
            what = f"{one!r} is not a function"
            raise InputError(what, where="callback", fix="give a function of one dict, or a list of such functions")
    return cast(Sequence[Callback], several)


def go_on(callbacks: Sequence[Callback], line: Mapping[str, Any]) -> bool:
    """Shows a line to each; False where one of them returned False (nothing else counts as that)."""
    answers = [callback(dict(line)) for callback in callbacks]
    return not any(answer is False for answer in answers)
