"""The training of a session, from its first step or the one it was stopped after, to the saved model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from accord.errors import AccordError, Diverged, InputError, ServiceError, Stopped
from accord.models.adapters import base_name, is_adapted
from accord.models.device import give_freed_memory_back
from accord.models.load import save
from accord.stages.best import check_figure, choose, observe, patience_ended, summary_of
from accord.stages.callbacks import go_on
from accord.stages.card import model_card
from accord.stages.evaluation import Evaluation
from accord.stages.guards import kept, try_largest
from accord.stages.hub import push
from accord.stages.outcome import Result, Training, report, summarise, write_samples
from accord.stages.resolve import flat
from accord.stages.session import Findings, Session, held_out
from accord.stages.setup import say
from accord.stages.state import State, resume, save_checkpoint
from accord.training.loop import StepResult, fit
from accord.training.progress import Progress
from accord.training.schedule import SCHEDULES, warmup_count
from accord.training.stop import Left, Stop, Waits
from accord.training.suspects import StepDiverged
from accord.training.window import Window

BY_CALLBACK = "a callback returned False"


def train(session: Session) -> Result | None:
    """Trains, evaluates, saves; gives the trained model, or None where people have to do their part first."""
    run, weights = session.config.run, session.begun.weights
    state = resume(session) if run.resume else State()
    state.watch.losses_tell, state.watch.lifeless = session.losses_tell, session.lifeless
    session.folder.step = state.done
    session.folder.record(total=session.total)
    session.folder.report(
        run.report_to,
        state.done,
        name=run.run_name,
        project=run.project,
        config=flat(session.config),
        tell=say,
        again=session.begun.entered.found is not None,
    )
    with Stop() as session.stop, session.saver, kept(session):
        try:
            if state.done < session.total:
                try_largest(session)
            ended = _begin(session, state) if session.begun.entered.found is None else None
            ended = ended or _steps(session, state)
            after = _last_figures(session, state)
        except Left:
            if state.done and state.saved != state.done:  # left while sampling, which began after the last step
                save_checkpoint(session, state)
            session.saver.wait()
            raise stopped(session, state) from None
        except Waits as waits:
            _wait(session, state, waits)
            return None
        except (Diverged, ServiceError, InputError) as error:
            # What was learnt is sound where the gradient is dead, or where a reward was none, or a function failed.
            if not isinstance(error, StepDiverged) or error.moment.grad_norm == 0:
                _save_what_is_done(session, state, error)
            raise
    if session.config.best.load_best_model_at_end:
        after = choose(session, state.best, state.done) or after
    with weights.averaged():
        write_samples(session, state.done)
        weights.widen()
    session.begun.model.network.eval()
    give_freed_memory_back()
    best = summary_of(session.config.best, state.best)
    warnings = [str(remark) for remark in (*state.watch.warnings, *session.warnings())]
    return _finish(session, state, Training(state.done, state.seconds, state.before, after, best, ended, warnings))


def _wait(session: Session, state: State, waits: Waits) -> None:
    """People are asked once all is saved: what they speak of is then what the run goes on with."""
    if waits.is_new:
        save_checkpoint(session, state)
    session.saver.wait()
    if waits.is_new or not (session.folder.path / waits.name).exists():
        session.folder.write_text(waits.name, waits.text)
    session.folder.waits = waits.what
    say(waits.what)


def _save_what_is_done(session: Session, state: State, error: AccordError) -> None:
    if state.done and state.saved != state.done:
        save_checkpoint(session, state)
        session.saver.wait()
    if state.done:
        error.others = [*error.others, f"step {state.done} is saved: --resume goes on from there"]


def _begin(session: Session, state: State) -> str | None:
    """What is said of the model before its first step."""
    write_samples(session, 0)
    if not session.begun.data.held:
        return None
    state.before = held_out(session)
    check_figure(session.config.best, state.before)
    return None if _log(session, state, {}, state.before) else BY_CALLBACK


def _last_figures(session: Session, state: State) -> Evaluation | None:
    """The held-out figures of the weights as they are after the last step; logged, where they were not yet."""
    if not session.begun.data.held:
        return None
    after = held_out(session)
    if state.best.seen != state.done:
        observe(session, state.best, state.done, after)
        _log(session, state, {}, after)
    return after


def _log(session: Session, state: State, train: Mapping[str, float], held: Evaluation | None) -> bool:
    """One line of metrics for the folder, the trackers and the callbacks; False where one of these ends the run."""
    loss = held.estimates.get("loss") if held else None  # there is none where people judge samples
    if loss is not None and state.watch.hear(state.done, loss.mean):
        say(f"warning: {state.watch.news()[-1]}")
    epoch = state.done / session.course.per_epoch
    line = session.folder.log(state.done, epoch, train, held.flat() if held else {})
    return go_on(session.begun.callbacks, line)


def _finish(session: Session, state: State, went: Training) -> Result:
    folder, begun = session.folder, session.begun
    figures = went.after.flat() if went.after else {}
    metrics = state.latest | {f"eval_{name}": value for name, value in figures.items()}
    found = session.at_end(session) if session.at_end else Findings({})
    summary = {**summarise(session, went, metrics), **found.summary}
    network = begun.model.network
    written = save(network, begun.tokenizer, folder.path)
    folder.write_json("summary.json", summary)
    base = base_name(network) if is_adapted(network) else None
    folder.write_text("README.md", model_card(session.command, session.config, summary, base=base, findings=found.card))
    folder.draw_curves(f"accord {session.title}: {folder.path.name}", session.panels)
    report(session, went)
    for line in found.lines:
        say(line)
    if session.config.run.push_to_hub is not None:
        push(session.config.run.push_to_hub, folder.path, [*written, "README.md"])
    return Result(network, begun.tokenizer, metrics, folder.path, summary)


def _steps(session: Session, state: State) -> str | None:
    """The optimiser steps that are left, each logged, evaluated and saved where that is due; why they ended early."""
    options = session.config.train
    steps = (session.course.at(index) for index in range(state.done, session.total))
    ended = patience_ended(session.config.best, state.best)
    if ended is not None:
        return ended
    with Progress(session.title, session.total, start=state.done) as session.progress:
        progress = session.progress
        if state.pending:
            state.pending = False
            ended = _due(session, state, progress)
        elif _is_missing(session, state):
            ended = _make_up(session, state)
        if ended is not None:
            return ended
        results = fit(
            session.begun.model,
            steps,
            session.begun.weights,
            rate_of(session, options.learning_rate),
            max_grad_norm=options.max_grad_norm,
            seed=options.seed,
            first=state.done,
            room=session.begun.room,
            watch=state.watch,
            beside=session.beside,
        )
        for result in results:
            _count(session, state, result, progress)
            ended = _due(session, state, progress)
            if ended is not None:
                return ended
    return None


def _is_missing(session: Session, state: State) -> bool:
    """Whether the evaluation after the last step done was left to the end, where the run is longer now."""
    due = session.begun.data.held and is_due(session.config.run.eval_steps, state.done, session.course.per_epoch)
    return bool(due and 0 < state.done < session.total and state.best.seen != state.done)


def _make_up(session: Session, state: State) -> str | None:
    """Makes it; why the training ends with it, where it does."""
    figures = held_out(session)
    observe(session, state.best, state.done, figures)
    ended = patience_ended(session.config.best, state.best)
    return ended if _log(session, state, {}, figures) else ended or BY_CALLBACK


def _count(session: Session, state: State, result: StepResult, progress: Progress) -> None:
    """Takes a step that was made into account."""
    state.done = session.folder.step = result.step
    state.seconds += result.seconds
    state.window.add(result)
    for remark in (*state.watch.news(), *session.news()):
        progress.print(f"warning: {remark}")
    if session.after_step is not None:
        session.after_step(result.step)
    epoch = result.step / session.course.per_epoch
    loss = result.loss if result.groups else None
    progress.advance(result.step, epoch, loss, result.groups, result.tokens, session.shown())
    session.saver.check()


def _due(session: Session, state: State, progress: Progress) -> str | None:
    """What is due after the last step done; why the training ends with it, where it does.

    Left where the run is to stop: then all that resuming needs is saved.
    """
    run, step, per_epoch = session.config.run, state.done, session.course.per_epoch
    last = step == session.total
    evaluates = bool(session.begun.data.held and is_due(run.eval_steps, step, per_epoch) and not last)
    held = _held_out_or_pending(session, state) if evaluates else None
    if held is not None:
        observe(session, state.best, step, held)
    ended = None if last else patience_ended(session.config.best, state.best)
    logs = is_due(run.logging_steps, step, per_epoch) or last or ended is not None
    if logs:
        state.latest, state.window = {**state.window.read(), **session.figures()}, Window()
    if (logs or evaluates) and not _log(session, state, state.latest if logs else {}, held) and not last:
        ended = ended or BY_CALLBACK
    if logs:
        progress.log()
    ends = last or ended is not None
    stops = session.stop.signal is not None
    if is_due(run.save_steps, step, per_epoch) or ends or stops:
        save_checkpoint(session, state)
    if stops and not ends:
        raise Left
    return ended


def _held_out_or_pending(session: Session, state: State) -> Evaluation:
    """The held-out figures; where the run is to stop, a checkpoint that says that they are still due, and Left."""
    state.pending = True
    try:
        figures = held_out(session)
    except Left:
        save_checkpoint(session, state)
        raise
    state.pending = False
    return figures


def stopped(session: Session, state: State) -> Stopped:
    """What ends a run that a signal has stopped."""
    assert session.stop.signal is not None
    what = f"stopped by {session.stop.signal.name} "
    what += f"after step {state.done} of {session.total}, which is saved" if state.done else "before the first step"
    again = "--resume (in Python resume=True) " + ("goes on from there" if state.done else "starts it anew")
    return Stopped(session.stop.signal, what, where=str(session.folder.path), fix=again)


def is_due(every: int | Literal["epoch"] | None, step: int, per_epoch: int) -> bool:
    """Whether something that happens every so many steps, every epoch, or never, happens after this step."""
    return every is not None and step % (per_epoch if every == "epoch" else every) == 0


def rate_of(session: Session, highest: float) -> Callable[[int], float]:
    """step, from 0 -> its learning rate, which is `highest` after the warm-up."""
    options = session.config.train
    warmup, schedule = warmup_count(options.warmup_steps, session.total), SCHEDULES[options.lr_scheduler_type]
    return lambda step: highest * schedule(step, session.total, warmup)
