"""Which step was best on the held-out data: its weights kept on the disk as they arise, and when to stop.

The weights of a best step are those that would have been saved then: of the average where one is kept, with an adapter
those of the adapter. They lie in best/ as whole, verified files, and stay there as long as a checkpoint speaks of them.
"""

from __future__ import annotations

import json
import math
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from accord.errors import InputError, IntegrityError
from accord.stages.best_options import DIRECTIONS, BestOptions
from accord.stages.evaluation import Evaluation
from accord.stages.session import Session
from accord.training import checkpoint
from accord.training.averaging import take

WITHOUT = (
    "bring back a copy, or resume with --load_best_model_at_end false --allow_change load_best_model_at_end "
    "to save the last step instead"
)


@dataclass
class Best:
    """The best step so far; step 0: none yet."""

    step: int = 0
    value: float = math.nan
    evaluation: Evaluation | None = None
    waited: int = 0  # evaluations since one was better by the threshold
    seen: int = 0  # the step that was last evaluated

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint."""
        held = self.evaluation and self.evaluation.to_json()
        value = self.value if math.isfinite(self.value) else None
        return {"step": self.step, "value": value, "held": held, "waited": self.waited, "seen": self.seen}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Best:
        """The reverse of `to_json`."""
        held = saved["held"] and Evaluation.from_json(saved["held"])
        value = math.nan if saved["value"] is None else saved["value"]
        return cls(saved["step"], value, held, saved["waited"], saved["seen"])


def patience_ended(options: BestOptions, best: Best) -> str | None:
    """Why the training ends here, where it does."""
    patience = options.early_stopping_patience
    if patience is None or best.waited < patience:
        return None
    return f"{patience} evaluations without a better held-out {watched(options)}"


def summary_of(options: BestOptions, best: Best) -> dict[str, Any] | None:
    """For summary.json; None where no best step is looked for."""
    if not options.wanted:
        return None
    saved = options.load_best_model_at_end and best.step > 0
    return {"metric": watched(options), "step": best.step, "value": best.value, "saved": saved}


def watched(options: BestOptions) -> str:
    """The figure that decides."""
    return (options.metric_for_best_model or "loss").removeprefix("eval_")


def check_figure(options: BestOptions, figures: Evaluation) -> None:
    """InputError where the run has no such held-out figure."""
    if options.wanted and watched(options) not in figures.estimates:
        raise InputError(
            f"no held-out figure {watched(options)!r}",
            where="metric_for_best_model",
            fix=f"one of {', '.join(figures.estimates)}",
        )


def observe(session: Session, best: Best, step: int, figures: Evaluation) -> None:
    """Takes the figures of a step: is it the best so far? Then its weights are kept, if they are asked for."""
    options = session.config.best
    best.seen = step
    if not options.wanted:
        return
    value = figures.estimates[watched(options)].mean
    gain = _gain(options, value, best.value)
    best.waited = 0 if gain > options.early_stopping_threshold else best.waited + 1
    if gain > 0:
        best.step, best.value, best.evaluation = step, value, figures
        if options.load_best_model_at_end:
            _keep(session, best, figures)


def _gain(options: BestOptions, value: float, so_far: float) -> float:
    """By how much a value is better; without bound where it is the first."""
    if not math.isfinite(value):
        return -math.inf
    up = options.greater_is_better if options.greater_is_better is not None else DIRECTIONS[watched(options)]
    return math.inf if math.isnan(so_far) else (value - so_far) * (1 if up else -1)


def _keep(session: Session, best: Best, figures: Evaluation) -> None:
    weights, place = session.begun.weights, session.folder.path / "best"
    with weights.averaged():
        tensors = {"weights": {name: master.detach() for name, master in weights.masters.items()}}
        # Once it is written there is no checkpoint under way: the next one waits for it.
        then = partial(tidy, session, replace(best))
        about = {"held": figures.to_json()}
        session.saver.save(place, best.step, tensors, about, run=session.folder.id, keep=None, then=then)


def tidy(session: Session, best: Best) -> None:
    """Removes the kept weights that neither the run nor one of its checkpoints speaks of any more.

    Only while no checkpoint is being written, as that one may speak of weights that no other does.
    """
    place = session.folder.path / "best"
    needed = {best.step, *_spoken_of(session.folder.path / "checkpoints")}
    for path in place.glob("step-*"):
        if _step(path) not in needed:
            aside = path.with_name(f".tmp-{uuid.uuid4().hex}")
            path.rename(aside)  # out of sight first: no half of them ever bears a whole one's name
            shutil.rmtree(aside, ignore_errors=True)
    checkpoint.sweep(place)


def _spoken_of(checkpoints: Path) -> Iterator[int]:
    for path in checkpoints.glob(f"step-*/{checkpoint.STATE}"):
        try:
            yield json.loads(path.read_text(encoding="utf-8"))["best"]["step"]
        except (ValueError, KeyError, TypeError):  # damaged: resuming leaves it out, too
            continue


def _step(path: Path) -> int:
    match = checkpoint.NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def _is_of(path: Path, best: Best) -> bool:
    """Whether these weights have the figures of the best step; one reached twice, with changes, has two kinds."""
    assert best.evaluation is not None
    try:
        held = json.loads((path / checkpoint.STATE).read_text(encoding="utf-8"))["held"]
    except (OSError, ValueError, KeyError, TypeError):  # damaged: loading it says how
        return True
    return json.dumps(held, sort_keys=True) == json.dumps(best.evaluation.to_json(), sort_keys=True)


def choose(session: Session, best: Best, done: int) -> Evaluation | None:
    """After the last step, `done`: the model gets the weights of the best one; its figures.

    None where there was no best one, or it is the last one itself. An average of the weights ends with this.
    """
    if best.step in (0, done):
        return None
    session.saver.wait()
    weights, place = session.begun.weights, session.folder.path / "best"
    named = sorted(path for path in place.glob("step-*") if _step(path) == best.step and _is_of(path, best))
    if not named:
        raise IntegrityError(f"the weights of the best step, {best.step}, are gone", where=str(place), fix=WITHOUT)
    try:
        found = checkpoint.load(named[-1])  # a step that was reached twice in the same way has the same weights twice
    except IntegrityError as error:
        raise IntegrityError(error.what, where=error.where, fix=WITHOUT) from error
    weights.average = None
    take(weights.masters, found.tensors("weights"))
    weights.publish()
    return best.evaluation
