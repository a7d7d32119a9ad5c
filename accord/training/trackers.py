"""Where curves go besides metrics.jsonl and curves.png: one small table, each package imported only when asked for.

All speak of one run: `train/loss`, `eval/loss`, and a resumed run goes on in the tracker's own run.
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from accord.errors import InputError, ServiceError

Scalars = Mapping[str, float]  # train/loss, eval/loss -> value; finite ones only


class Run(NamedTuple):
    """What a tracker is told of a run."""

    folder: Path
    project: str
    name: str
    config: Mapping[str, object]
    held: str  # the id of the tracker's run that it continues, empty for a new one
    step: int  # steps done


class Tracker(Protocol):
    """A run at a tracker. `id` finds it again."""

    id: str

    def log(self, step: int, scalars: Scalars) -> None: ...

    def close(self, failed: bool) -> None: ...


class TensorBoard:
    """Event files in tensorboard/ of the run folder; what is there of steps after the run's is hidden."""

    def __init__(self, run: Run) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.id = "tensorboard"
        self.writer = SummaryWriter(str(run.folder / self.id), purge_step=run.step + 1 if run.step else None)

    def log(self, step: int, scalars: Scalars) -> None:
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self, failed: bool) -> None:
        self.writer.close()


class Wandb:
    """Weights & Biases; WANDB_MODE=offline keeps it on this machine, in wandb/ of the run folder."""

    def __init__(self, run: Run) -> None:
        import wandb

        self.run = wandb.init(
            project=run.project,
            name=run.name,
            id=run.held or None,
            resume="allow" if run.held else None,
            dir=str(run.folder),
            config=dict(run.config),
        )
        self.id = str(self.run.id)

    def log(self, step: int, scalars: Scalars) -> None:
        self.run.log(dict(scalars), step=step)

    def close(self, failed: bool) -> None:
        self.run.finish(exit_code=int(failed))


class Trackio:
    """Hugging Face's tracker: local (TRACKIO_DIR) unless TRACKIO_SPACE_ID is set."""

    def __init__(self, run: Run) -> None:
        import trackio

        # Its runs have names, not ids, that find them again.
        self.id = run.held or f"{run.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        how: dict[str, Any] = {"resume": "allow" if run.held else "never", "embed": False}
        self.run = trackio.init(project=run.project, name=self.id, config=dict(run.config), **how)

    def log(self, step: int, scalars: Scalars) -> None:
        self.run.log(dict(scalars), step=step)

    def close(self, failed: bool) -> None:
        self.run.finish()


class MLflow:
    """MLflow, at MLFLOW_TRACKING_URI or where it keeps runs itself (mlflow.db in the working directory)."""

    def __init__(self, run: Run) -> None:
        from mlflow.entities import Metric
        from mlflow.tracking import MlflowClient

        self.metric, self.client = Metric, MlflowClient()
        if run.held:
            self.id = run.held
            self.client.update_run(self.id, status="RUNNING")
            return
        experiment = self.client.get_experiment_by_name(run.project)
        place = experiment.experiment_id if experiment else self.client.create_experiment(run.project)
        self.id = str(self.client.create_run(place, run_name=run.name).info.run_id)
        for key, value in run.config.items():
            self.client.log_param(self.id, key, value)

    def log(self, step: int, scalars: Scalars) -> None:
        now = round(time.time() * 1000)
        self.client.log_batch(self.id, [self.metric(name, value, now, step) for name, value in scalars.items()])

    def close(self, failed: bool) -> None:
        self.client.set_terminated(self.id, status="FAILED" if failed else "FINISHED")


class Row(NamedTuple):
    """How a tracker is had."""

    start: Callable[[Run], Tracker]
    package: str  # what is imported, and what pip calls it
    project: str = ""  # the environment variable that names the project


TRACKERS: dict[str, Row] = {
    "tensorboard": Row(TensorBoard, "tensorboard"),
    "wandb": Row(Wandb, "wandb", "WANDB_PROJECT"),
    "trackio": Row(Trackio, "trackio", "TRACKIO_PROJECT"),
    "mlflow": Row(MLflow, "mlflow", "MLFLOW_EXPERIMENT_NAME"),
}


def require(names: Iterable[str]) -> None:
    """InputError where a tracker's package is not installed. Imports none of them."""
    for name in names:
        package = TRACKERS[name].package if name != "none" else ""
        if package and package not in sys.modules and importlib.util.find_spec(package) is None:
            fix = f"pip install {package}, or leave it out of --report_to"
            raise InputError(f"{package} is not installed", where="report_to", fix=fix)


def start(name: str, run: Run) -> Tracker:
    """The run at this tracker. ServiceError where it cannot be started."""
    row = TRACKERS[name]
    project = run.project or os.environ.get(row.project, "") or "accord"
    try:
        with redirect_stdout(sys.stderr):  # standard output is for results
            return row.start(run._replace(project=project))
    except Exception as error:  # whatever a foreign package raises
        what = f"{name} cannot start ({type(error).__name__}: {' '.join(str(error).split())[:300]})"
        raise ServiceError(what, where="report_to", fix="set it up, or leave it out of --report_to") from error


class Reporters:
    """The trackers of a run. One that fails later is left out, and `tell` says so: metrics.jsonl has everything.

    reached: the last step that a resumed run had logged before. What it logs again of earlier steps is the same to the
    bit and only TensorBoard, which hides what it had, gets it twice.
    """

    def __init__(self, tell: Callable[[str], None], reached: int = 0) -> None:
        self.trackers: dict[str, Tracker] = {}
        self.tell, self.reached = tell, reached

    @property
    def ids(self) -> dict[str, str]:
        """By tracker: what finds the run again."""
        return {name: tracker.id for name, tracker in self.trackers.items()}

    def log(self, step: int, train: Mapping[str, float], held_out: Mapping[str, float]) -> None:
        """`train` as train/..., `held_out` as eval/..., finite numbers only."""
        both = [*((f"train/{k}", v) for k, v in train.items()), *((f"eval/{k}", v) for k, v in held_out.items())]
        scalars = {name: float(value) for name, value in both if math.isfinite(value)}
        for name in tuple(self.trackers):
            if step >= self.reached or name == "tensorboard":
                self._try(name, lambda tracker: tracker.log(step, scalars))

    def close(self, failed: bool) -> None:
        """Ends the run at every tracker."""
        for name in tuple(self.trackers):
            self._try(name, lambda tracker: tracker.close(failed))
        self.trackers.clear()

    def _try(self, name: str, act: Callable[[Tracker], None]) -> None:
        try:
            with redirect_stdout(sys.stderr):
                act(self.trackers[name])
        except Exception as error:  # whatever a foreign package raises
            del self.trackers[name]
            self.tell(f"warning: {name} failed and is left out ({type(error).__name__}: {error}); see metrics.jsonl")
