"""`--dry_run`: what would be trained, how long it would take and how much memory, measured on two micro-batches."""

from __future__ import annotations

import resource
import time

import torch

from accord.data.batches import size
from accord.models.layout import share_saved
from accord.stages.outcome import Result
from accord.stages.policy import trained_parameters
from accord.stages.session import Session
from accord.stages.setup import say
from accord.stages.training import train
from accord.training.step import Step, backward


def carry_out(session: Session) -> Result | None:
    """Trains; or, in a dry run, only says what would be trained."""
    if not session.config.run.dry_run:
        return train(session)
    describe(session)
    return None


def describe(session: Session) -> None:
    """Says it all; trains nothing and writes nothing."""
    begun, data, options = session.begun, session.begun.data, session.config.train
    layout = begun.model.layout
    train = [data.groups[i] for i in data.train]
    tokens = sum(size(group, layout) for group in train)
    loss = sum(end - start for group in train for c in group.completions for start, end in c.loss)
    epochs = session.total / session.course.per_epoch
    say(f"dry run of accord {session.command}: nothing is trained, nothing is written")
    say(f"  data          {data.report.summary()}")
    say(f"  groups        {data.trained} to train on, {len(data.held)} held out")
    say(f"  tokens        {tokens:,} an epoch, {loss:,} with loss; longest group {max(g.length for g in train):,}")
    say(f"  prompts once  {share_saved(train, layout):.0%} of the tokens saved ({layout} layout)")
    trained, parameters = trained_parameters(begun.model.network)
    say(f"  parameters    {trained:,} trained of {parameters:,} ({trained / parameters:.2%})")
    say(f"  steps         {session.total} of {options.batch_size} groups: {epochs:.2f} epochs")
    seconds, memory = _measure(session)
    whole = seconds * tokens * epochs
    say(f"  memory        about {memory / 1e9:.1f} GB (measured on the largest micro-batch)")
    say(f"  time          about {whole / 60:.1f} minutes of training ({1 / seconds:,.0f} tokens/s measured)")
    for line in session.dry:
        say(f"  {line}")


def _measure(session: Session) -> tuple[float, float]:
    """(seconds a token, peak bytes): the largest micro-batches and the first step, forward and backward, no update."""
    _pass(session, session.course.largest())
    began = time.perf_counter()
    tokens = _pass(session, session.course.at(0))
    seconds = (time.perf_counter() - began) / tokens
    optimiser = sum(2 * master.nbytes for one in session.trained.every for master in one.parameters())
    return seconds, _peak(session.begun.model.device) + optimiser


def _pass(session: Session, step: Step) -> int:
    begun = session.begun
    with begun.model.segmented():
        backward(
            begun.model, step, session.trained, seed=(session.config.train.seed, 0), room=begun.room, where="dry run"
        )
    session.trained.zero_grad()
    return sum(batch.token_count for part in step for batch in part.batches)


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
