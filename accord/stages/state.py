"""Where a run stands, into checkpoints and out of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from accord.errors import InputError
from accord.stages.best import ALL, Best, tidy
from accord.stages.evaluation import Evaluation
from accord.stages.session import Session
from accord.stages.setup import say
from accord.training import checkpoint
from accord.training.window import Window


@dataclass
class State:
    """Where a run stands, beside its weights: all that a checkpoint keeps. Random draws come from (seed, step)."""

    done: int = 0
    seconds: float = 0.0  # of training, earlier processes counted in
    before: Evaluation | None = None  # held-out figures before the first step
    window: Window = field(default_factory=Window)
    latest: dict[str, float] = field(default_factory=dict)  # the last log line
    best: Best = field(default_factory=Best)
    pending: bool = False  # the evaluation after the last step done was left, and is still due


def save_checkpoint(session: Session, state: State) -> None:
    """Everything that resuming needs."""
    extra = {name: one.state_tensors() for name, one in session.extra_state.items()}
    checkpoint.save(
        session.folder.path / "checkpoints",
        state.done,
        {**session.begun.weights.state_tensors(), **extra},
        {
            "fingerprint": session.begun.data.fingerprint,
            "lines": session.folder.marks(),
            "seconds": state.seconds,
            "before": state.before and state.before.to_json(),
            "window": state.window.to_json(),
            "latest": state.latest,
            "best": state.best.to_json(),
            "pending": state.pending,
        },
        run=session.folder.id,
        keep=session.config.run.save_total_limit or ALL,
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
    for name, one in session.extra_state.items():
        one.load_state_tensors(found.tensors(name))
    folder.take_back(found.state["lines"])
    say(f"resuming after step {found.step} ({found.path})")
    saved = found.state
    before = saved["before"] and Evaluation.from_json(saved["before"])
    best = Best.from_json(saved["best"])
    tidy(session, best)
    window = Window(saved["window"])
    return State(found.step, saved["seconds"], before, window, saved["latest"], best, saved["pending"])


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
