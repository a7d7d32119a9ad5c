"""What a run watches over beside its training: memory before the first step, and what a step went wrong by."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from accord.data.encode import Ids
from accord.stages.session import Session
from accord.training.optimizer import Weights
from accord.training.step import backward
from accord.training.suspects import StepDiverged, Suspect

DIVERGED = "diverged.json"
LONG = 20_000  # characters of a text that are kept
KEPT = {"adamw": 2, "adam": 2, "momentum": 1, "rmsprop": 1}  # tensors that an optimiser makes with its first step


def try_largest(session: Session) -> None:
    """Computes the run's largest micro-batches, forward and backward, where that is asked for; nothing is changed.

    StorageError where memory does not suffice for one of their groups alone.
    """
    options, begun = session.config.train, session.begun
    if not options.longest_first:
        return
    coming = [one for each in session.trained.every for one in _coming(each, KEPT.get(options.optimizer, 0))]
    devices = [begun.model.device] if begun.model.device.type == "cuda" else []
    with torch.random.fork_rng(devices), begun.model.segmented():
        backward(
            begun.model,
            session.course.largest(),
            session.trained,
            seed=(options.seed, 0),
            room=begun.room,
            where="before the first step",
        )
    session.trained.zero_grad()
    del coming


def _coming(weights: Weights, count: int) -> list[Tensor]:
    """Memory as large as what the optimiser will hold and does not yet; on CPUs none, where only use takes it."""
    state = weights.optimizer.state
    masters = [one for one in weights.parameters() if one.device.type == "cuda" and not state.get(one)]
    return [torch.empty_like(one) for one in masters for _ in range(count)]


@contextmanager
def kept(session: Session) -> Iterator[None]:
    """The groups of a step that diverges are kept in the run folder; those of an earlier attempt are gone."""
    (session.folder.path / DIVERGED).unlink(missing_ok=True)
    try:
        yield
    except StepDiverged as error:
        rows = [_row(one, session.begun.tokenizer) for one in error.suspects]
        figures = {name: _number(value) for name, value in error.moment._asdict().items()}
        session.folder.write_json(DIVERGED, {**figures, "what": error.what, "groups": rows})
        where = f"their texts: {session.folder.path / DIVERGED}"
        error.others = [*error.others, where]
        raise


def _row(suspect: Suspect, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    group = suspect.group
    return {
        "source": str(group.group.source),
        "id": group.group.id,
        "part": suspect.part,
        "loss": _number(suspect.loss),
        "grad_norm": _number(suspect.grad_norm),
        "weight": group.group.weight,
        "tokens": {"prompt": len(group.prompt), "completions": [len(one.ids) for one in group.completions]},
        "prompt": _text(group.prompt, tokenizer),
        "completions": [_text(one.ids, tokenizer) for one in group.completions],
    }


def _text(ids: Ids, tokenizer: PreTrainedTokenizerBase) -> str:
    """As the model read it; of a very long text the beginning and the end, and how much lies between."""
    text = str(tokenizer.decode(ids))
    if len(text) <= LONG:
        return text
    half = LONG // 2
    return f"{text[:half]} [... {len(text) - LONG:,} characters ...] {text[-half:]}"


def _number(value: float) -> float | str:
    """JSON knows neither nan nor inf."""
    return value if math.isfinite(value) else str(value)
