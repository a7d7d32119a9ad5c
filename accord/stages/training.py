"""The training of a session, from its first step or the one it was stopped after, to the saved model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from accord.errors import InputError
from accord.models.load import save
from accord.stages.card import model_card
from accord.stages.evaluation import Evaluation
from accord.stages.outcome import Result, report, summarise, write_samples
from accord.stages.session import Session, held_out
from accord.stages.setup import say
from accord.training import checkpoint
from accord.training.loop import StepResult, fit
from accord.training.progress import Progress
from accord.training.schedule import SCHEDULES, warmup_count
from accord.training.window import Window


@dataclass
class State:
    """Where a run stands, beside its weights: all that a checkpoint keeps. Random draws come from (seed, step)."""

    done: int = 0
    seconds: float = 0.0  # of training, earlier processes counted in
    before: Evaluation | None = None  # held-out figures before the first step
    window: Window = field(default_factory=Window)
    latest: dict[str, float] = field(default_factory=dict)  # the last log line


def train(session: Session) -> Result:
    """Trains, evaluates, saves; gives the trained model."""
    folder, run, weights = session.folder, session.config.run, session.begun.weights
    state = resume(session) if run.resume else State()
    if run.report_to == "tensorboard":
        folder.open_tensorboard(state.done)
    if state.done == 0:
        write_samples(session, 0)
        if session.begun.data.held:
            state.before = held_out(session)
            folder.log(0, 0.0, {}, state.before.flat())
    _steps(session, state)
    after = held_out(session) if session.begun.data.held else None
    with weights.averaged():
        write_samples(session, session.total)
        weights.widen()
    session.begun.model.network.eval()
    return _finish(session, state, after)


def _finish(session: Session, state: State, after: Evaluation | None) -> Result:
    folder, begun = session.folder, session.begun
    figures = after.flat() if after else {}
    if after is not None:
        folder.log(session.total, session.total / session.course.per_epoch, {}, figures)
    metrics = state.latest | {f"eval_{name}": value for name, value in figures.items()}
    summary = summarise(session, state.before, after, metrics, state.seconds)
    save(begun.model.network, begun.tokenizer, folder.path)
    folder.write_json("summary.json", summary)
    folder.write_text("README.md", model_card(session.command, session.config, summary))
    folder.draw_curves(f"accord {session.command}: {folder.path.name}")
    report(session, state.before, after, state.seconds)
    return Result(begun.model.network, begun.tokenizer, metrics, folder.path, summary)


def _steps(session: Session, state: State) -> None:
    """The optimiser steps that are left, each logged, evaluated and saved where that is due."""
    options = session.config.train
    steps = (session.course.at(index) for index in range(state.done, session.total))
    with Progress(session.command, session.total, start=state.done) as progress:
        results = fit(
            session.begun.model,
            steps,
            session.begun.weights,
            _rate(session),
            max_grad_norm=options.max_grad_norm,
            seed=options.seed,
            first=state.done,
        )
        for result in results:
            state.done = result.step
            state.seconds += result.seconds
            state.window.add(result)
            epoch = result.step / session.course.per_epoch
            progress.advance(result.step, epoch, result.loss, result.groups, result.tokens)
            _due(session, state, result, epoch, progress)


def _due(session: Session, state: State, result: StepResult, epoch: float, progress: Progress) -> None:
    run, last = session.config.run, result.step == session.total
    logs = result.step % run.logging_steps == 0 or last
    evaluates = bool(session.begun.data.held and run.eval_steps and result.step % run.eval_steps == 0 and not last)
    if logs:
        state.latest, state.window = state.window.read(), Window()
    if logs or evaluates:
        held = held_out(session).flat() if evaluates else {}
        session.folder.log(result.step, epoch, state.latest if logs else {}, held)
    if logs:
        progress.log()
    if result.step % run.save_steps == 0 or last:
        save_checkpoint(session, state)


def _rate(session: Session) -> Callable[[int], float]:
    """step, from 0 -> its learning rate."""
    options = session.config.train
    warmup, schedule = warmup_count(options.warmup_steps, session.total), SCHEDULES[options.lr_scheduler_type]
    return lambda step: options.learning_rate * schedule(step, session.total, warmup)


def save_checkpoint(session: Session, state: State) -> None:
    """Everything that resuming needs."""
    checkpoint.save(
        session.folder.path / "checkpoints",
        state.done,
        session.begun.weights.state_tensors(),
        {
            "fingerprint": session.begun.data.fingerprint,
            "lines": session.folder.marks(),
            "seconds": state.seconds,
            "before": state.before and state.before.to_json(),
            "window": state.window.to_json(),
            "latest": state.latest,
        },
        run=session.folder.id,
        keep=session.config.run.save_total_limit,
    )


def resume(session: Session) -> State:
    """Puts the newest checkpoint into the session; where none is there yet, says so and starts anew."""
    folder = session.folder
    found = _checkpoint(session, folder.path / "checkpoints")
    if found is None:
        folder.take_back({})
        return State()
    if found.run != folder.id or found.state["fingerprint"] != session.begun.data.fingerprint:
        what = "is of another run" if found.run != folder.id else "was trained on other data"
        raise InputError(what, where=str(found.path), fix="resume with the data and folder that the run began with")
    session.begun.weights.load_state_tensors({name: found.tensors(name) for name in found.files})
    folder.take_back(found.state["lines"])
    say(f"resuming after step {found.step} ({found.path})")
    saved = found.state
    before = saved["before"] and Evaluation.from_json(saved["before"])
    return State(found.step, saved["seconds"], before, Window(saved["window"]), saved["latest"])


def _checkpoint(session: Session, place: Path) -> checkpoint.Checkpoint | None:
    checkpoint.sweep(place)
    if isinstance(session.config.run.resume, str):
        return checkpoint.load(Path(session.config.run.resume))
    found, skipped = checkpoint.newest(place)
    for one in skipped:
        say(f"warning: {one.path.name} is damaged and was left out: {one.reason}")
    if found is None:
        say(f"no checkpoint yet in {place}: starting anew")
    return found
