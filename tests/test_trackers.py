"""What trackers are told, with fakes in their place; and the real ones where they are installed."""

import json
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import accord
from accord.errors import InputError, ServiceError
from accord.training.run import RunFolder
from accord.training.trackers import TRACKERS, require

CONFIG = {"beta": 0.1, "model": "m"}


class Fakes:
    """wandb, trackio and mlflow in one, and what they were called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.broken = False

    def wandb(self, **how: Any) -> Any:
        self.calls.append(("wandb", "init", how))
        return FakeRun(self, "wandb", how["id"] or "w1")

    def trackio(self, **how: Any) -> Any:
        print("trackio greets")
        self.calls.append(("trackio", "init", how))
        return FakeRun(self, "trackio", how["name"])

    # The client of mlflow:

    def get_experiment_by_name(self, name: str) -> None:
        self.calls.append(("mlflow", "experiment", name))

    def create_experiment(self, name: str) -> str:
        return "7"

    def create_run(self, experiment: str, run_name: str) -> Any:
        self.calls.append(("mlflow", "run", experiment, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id="m1"))

    def log_param(self, run: str, key: str, value: object) -> None:
        self.calls.append(("mlflow", run, key, value))

    def log_batch(self, run: str, metrics: list[Any]) -> None:
        self.calls.append(("mlflow", run, [(name, value, step) for name, value, _, step in metrics]))

    def update_run(self, run: str, status: str) -> None:
        self.calls.append(("mlflow", run, status))

    set_terminated = update_run


class FakeRun:
    """A run of wandb's or trackio's."""

    def __init__(self, fakes: Fakes, name: str, held: str) -> None:
        self.fakes, self.name, self.id = fakes, name, held

    def log(self, scalars: dict[str, float], step: int) -> None:
        if self.fakes.broken:
            raise ConnectionError("gone")
        self.fakes.calls.append((self.name, step, scalars))

    def finish(self, **how: Any) -> None:
        self.fakes.calls.append((self.name, "finish", how))


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    found = Fakes()
    members: dict[str, dict[str, Any]] = {
        "wandb": {"init": found.wandb},
        "trackio": {"init": found.trackio},
        "mlflow": {},
        "mlflow.entities": {"Metric": lambda *parts: parts},
        "mlflow.tracking": {"MlflowClient": lambda: found},
    }
    for name, named in members.items():
        made = ModuleType(name)
        made.__dict__.update(named)
        monkeypatch.setitem(sys.modules, name, made)
    for variable in ("WANDB_PROJECT", "TRACKIO_PROJECT", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(variable, raising=False)
    return found


def log(folder: Path, to: list[str], steps: list[int], done: int = 0, **how: Any) -> None:
    """A run of these steps; one that continues after `done` first takes back what is later."""
    with RunFolder(folder) as run:
        run.claim("dpo", resume=bool(done))
        if done:
            run.take_back({"metrics.jsonl": done})
        run.report(to, done, config=CONFIG, **how)
        for step in steps:
            run.log(step, 0.0, {"loss": 1.0 / step, "odd": math.nan}, {"loss": 2.0})


def test_wandb_gets_a_run_and_its_scalars(fakes: Fakes, tmp_path: Path) -> None:
    log(tmp_path / "out", ["wandb"], [1, 2], name="mine", project="ours")
    about = {
        "project": "ours", "name": "mine", "id": None, "resume": None, "dir": str(tmp_path / "out"), "config": CONFIG,
    }  # fmt: skip
    assert fakes.calls == [
        ("wandb", "init", about),
        ("wandb", 1, {"train/loss": 1.0, "eval/loss": 2.0}),
        ("wandb", 2, {"train/loss": 0.5, "eval/loss": 2.0}),
        ("wandb", "finish", {"exit_code": 0}),
    ]


def test_mlflow_gets_a_run_its_options_and_its_scalars(fakes: Fakes, tmp_path: Path) -> None:
    log(tmp_path / "out", ["mlflow"], [1])
    assert fakes.calls == [
        ("mlflow", "experiment", "accord"),
        ("mlflow", "run", "7", "out"),
        ("mlflow", "m1", "beta", 0.1),
        ("mlflow", "m1", "model", "m"),
        ("mlflow", "m1", [("train/loss", 1.0, 1), ("eval/loss", 2.0, 1)]),
        ("mlflow", "m1", "FINISHED"),
    ]


def test_resuming_goes_on_in_the_same_runs_and_says_nothing_twice(
    fakes: Fakes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log(tmp_path, ["wandb", "trackio", "mlflow"], [1, 2, 3], name="mine")
    held = json.loads((tmp_path / "trackers.json").read_text())
    assert held["wandb"] == "w1" and held["mlflow"] == "m1" and held["trackio"].startswith("mine-")
    assert capsys.readouterr().out == ""  # what trackers print goes to standard error
    fakes.calls.clear()
    log(tmp_path, ["wandb", "trackio", "mlflow"], [2, 3, 4], done=1, name="other")
    started = {call[0]: call[2] for call in fakes.calls if call[1] == "init"}
    assert (started["wandb"]["id"], started["wandb"]["resume"]) == ("w1", "allow")
    assert (started["trackio"]["name"], started["trackio"]["resume"]) == (held["trackio"], "allow")
    assert ("mlflow", "m1", "RUNNING") in fakes.calls and not [call for call in fakes.calls if "beta" in call]
    assert [call[1] for call in fakes.calls if call[0] == "wandb"] == ["init", 3, 4, "finish"]
    assert json.loads((tmp_path / "trackers.json").read_text()) == held


def test_a_run_that_fails_says_so(fakes: Fakes, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path) as run:
        run.claim("dpo")
        run.report(["wandb", "mlflow"])
        raise ZeroDivisionError
    assert fakes.calls[-2:] == [("wandb", "finish", {"exit_code": 1}), ("mlflow", "m1", "FAILED")]


def test_environment_variables_name_the_project_where_the_option_does_not(
    fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    log(tmp_path / "a", ["wandb", "trackio"], [])
    log(tmp_path / "b", ["wandb"], [], project="ours")
    assert [call[2]["project"] for call in fakes.calls if call[1] == "init"] == ["theirs", "accord", "ours"]


def test_a_tracker_that_fails_later_is_left_out_and_the_run_goes_on(fakes: Fakes, tmp_path: Path) -> None:
    said: list[str] = []
    with RunFolder(tmp_path) as run:
        run.claim("dpo")
        run.report(["wandb", "tensorboard"], tell=said.append)
        fakes.broken = True
        run.log(1, 0.0, {"loss": 1.0})
        run.log(2, 0.0, {"loss": 1.0})
    assert said == ["warning: wandb failed and is left out (ConnectionError: gone); see metrics.jsonl"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_tracker_that_cannot_start_ends_the_run(fakes: Fakes, tmp_path: Path, monkeypatch: Any) -> None:
    def init(**how: Any) -> None:
        raise OSError("no key\nconfigured")

    monkeypatch.setattr(sys.modules["wandb"], "init", init)
    with RunFolder(tmp_path) as run, pytest.raises(ServiceError) as caught:
        run.claim("dpo")
        run.report(["wandb"])
    assert str(caught.value).startswith("report_to: wandb cannot start (OSError: no key configured): set it up, or")


def test_a_package_that_is_not_there_is_said_before_any_work(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(TRACKERS, "wandb", TRACKERS["wandb"]._replace(package="no_wandb"))
    require(["none"])
    require(["tensorboard"])
    with pytest.raises(InputError) as caught:
        accord.sft(model="no", data="no.jsonl", output_dir=tmp_path / "run", report_to=["tensorboard", "wandb"])
    assert (
        str(caught.value)
        == "report_to: no_wandb is not installed: pip install no_wandb, or leave it out of --report_to"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", [name for name in TRACKERS if name != "tensorboard"])
def test_the_real_one_keeps_a_run_over_a_resume(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name, reason=f"{name} is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    log(tmp_path / "out", [name], [1, 2])
    held = (tmp_path / "out" / "trackers.json").read_text()
    log(tmp_path / "out", [name], [2, 3], done=1)
    assert (tmp_path / "out" / "trackers.json").read_text() == held and json.loads(held)[name]
