"""Where a run stands, into checkpoints and out of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from accord.stages.best import Best, tidy
from accord.stages.entering import CHECKPOINTS
from accord.stages.evaluation import Evaluation
from accord.stages.resuming import options_of
from accord.stages.session import Session
from accord.stages.setup import say
from accord.training import checkpoint
from accord.training.watch import Watch
from accord.training.window import Window

ALL = 1 << 30  # checkpoints that are kept; more than a run has


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
    watch: Watch = field(default_factory=Watch)
    saved: int = 0  # the step of the last checkpoint


def save_checkpoint(session: Session, state: State) -> None:
    """Everything that resuming needs, written while training goes on; after the last step it is waited for."""
    extra = {name: one.state_tensors() for name, one in session.extra_state.items()}
    lines, entered = session.folder.marks(), session.begun.entered
    session.saver.save(
        session.folder.path / CHECKPOINTS,
        state.done,
        {**session.begun.weights.state_tensors(), **extra},
        {
            "config": options_of(session.config),
            "changes": entered.history,
            "data": entered.data,
            "frozen": session.begun.frozen,
            "fingerprint": session.begun.data.fingerprint,
            "lines": lines,
            "seconds": state.seconds,
            "before": state.before and state.before.to_json(),
            "window": state.window.to_json(),
            "watch": state.watch.to_json(),
            "room": session.begun.room.limit,
            "latest": state.latest,
            "best": state.best.to_json(),
            "pending": state.pending,
        },
        run=session.folder.id,
        keep=session.config.run.save_total_limit or ALL,
        about=entered.about(session.begun.data.fingerprint),
        counts_on=[session.folder.path / name for name in lines],
        beside=state.done < session.total,
    )
    state.saved = state.done


def resume(session: Session) -> State:
    """Puts the checkpoint that was found into the session; where none is there yet, the run starts anew.

    InputError where the run cannot go on from it: its folder is then as it was.
    """
    entered = session.begun.entered
    found = entered.found
    if not entered.continues:
        return State()
    if found is None:
        _go_on(session, {})
        return State()
    if found.state["data"] == entered.data:  # else it has been allowed to differ; what is left are texts mixed in
        entered.check_data(found.state["fingerprint"], session.begun.data.fingerprint)
    entered.check_frozen(found.state["frozen"], session.begun.frozen)
    entered.check_end(session.total)
    session.begun.weights.load_state_tensors({name: found.tensors(name) for name in found.files})
    for name, one in session.extra_state.items():
        one.load_state_tensors(found.tensors(name))
    _go_on(session, found.state["lines"])
    say(f"resuming after step {found.step} ({found.path})")
    saved = found.state
    best = Best.from_json(saved["best"])
    tidy(session, best)
    session.begun.room.limit = saved["room"]
    return State(
        done=found.step,
        seconds=saved["seconds"],
        before=saved["before"] and Evaluation.from_json(saved["before"]),
        window=Window(saved["window"]),
        latest=saved["latest"],
        best=best,
        pending=saved["pending"],
        watch=Watch(saved["watch"]),
        saved=found.step,
    )


def _go_on(session: Session, lines: Mapping[str, int]) -> None:
    """The last that may refuse, then the folder is that of a run that goes on, with so many lines in its logs."""
    gone = session.folder.missing(lines)
    session.begun.entered.go_on()
    for name, count in gone.items():
        place = session.folder.path / name
        say(f"warning: {count} of {lines[name]} lines that the checkpoint counts are gone from {place}")
    session.folder.take_back(lines)
    checkpoint.sweep(session.folder.path / CHECKPOINTS)
