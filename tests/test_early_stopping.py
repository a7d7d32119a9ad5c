"""The best step by a held-out figure, the stop when nothing gets better, and functions that see every line."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny

import accord
from accord.errors import InputError, IntegrityError
from accord.maths.statistics import Estimate, Interval
from accord.stages.best import Best, observe, patience_ended
from accord.stages.best_options import BestOptions
from accord.stages.evaluation import Evaluation
from accord.stages.training import is_due

STEPS = 14
# Other words than are trained on: training makes them less likely.
ODD = [{"prompt": f"{i} 7 ?", "completion": f" {i * 37 % 101} = {i * 53 % 97} + 8"} for i in range(8)]
# So fast that the held-out loss falls, and rises again before the last step.
KINDS = {
    "plain": {"learning_rate": 0.12},
    "average": {"learning_rate": 0.12, "average": "ema", "ema_decay": 0.2},
    "lora": {"learning_rate": 0.5, "lora_r": 4, "validation": 0.0, "eval_data": ODD},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("best") / "model").parent


def rows() -> list[dict[str, str]]:
    return [{"prompt": row["prompt"], "completion": row["chosen"]} for row in tiny.comparisons(40)]


def sft(home: Path, name: str, **options: Any) -> Any:
    usual = {
        "model": home / "model", "data": rows(), "output_dir": home / name, "validation": 0.3, "eval_steps": 1,
        "lr_scheduler_type": "constant", "warmup_steps": 0, "max_steps": STEPS, "batch_size": 4, "samples": 0,
        "report_to": "none", "logging_steps": 4, "save_steps": 3, "seed": 1,
    }  # fmt: skip
    return accord.sft(**{**usual, **options})


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def held_losses(folder: Path) -> dict[int, float]:
    """Of every step from 1 on."""
    return {line["step"]: line["eval_loss"] for line in lines(folder) if line["step"] and "eval_loss" in line}


def weights(folder: Path) -> bytes:
    (file,) = [*folder.glob("model.safetensors"), *folder.glob("adapter_model.safetensors")]
    return file.read_bytes()


def watch(values: Sequence[float], **options: Any) -> tuple[int, int | None]:
    """(the best step, the step where the patience ends) of these held-out values of steps 1, 2, ..."""
    best, chosen = Best(), BestOptions(**options)
    session: Any = SimpleNamespace(config=SimpleNamespace(best=chosen))
    for step, value in enumerate(values, 1):
        figures = {"loss": value, "rewards/accuracies": value, "odd": value}
        estimates = {name: Estimate(mean, 0.0, Interval(mean, mean)) for name, mean in figures.items()}
        observe(session, best, step, Evaluation(estimates, 1))
        if patience_ended(chosen, best):
            return best.step, step
    return best.step, None


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([3, 2, 4, 5, 1], {"early_stopping_patience": 2}, (2, 4)),
        ([3, 2, 4, 1, 5], {"early_stopping_patience": 2}, (4, None)),
        ([3, 2, 4, 5, 1], {"early_stopping_patience": 3}, (5, None)),
        ([3, 3, 3], {"early_stopping_patience": 2}, (1, 3)),  # as good is not better
        ([3, 2.9, 2.8, 2.7], {"early_stopping_patience": 2, "early_stopping_threshold": 0.5}, (3, 3)),
        ([0.5, 0.7, 0.6, 0.6], {"metric_for_best_model": "rewards/accuracies", "early_stopping_patience": 2}, (2, 4)),
        ([1, 5, 2], {"metric_for_best_model": "odd", "greater_is_better": True}, (2, None)),
        ([1, 5, 0], {"metric_for_best_model": "eval_odd", "greater_is_better": False}, (3, None)),
        ([math.nan, 2, math.inf, math.nan], {"early_stopping_patience": 2}, (2, 4)),
        ([math.nan, math.nan], {"early_stopping_patience": 2}, (0, 2)),
    ],
)
def test_which_step_is_best_and_when_the_patience_ends(
    values: list[float], options: dict[str, Any], expected: tuple[int, int | None]
) -> None:
    assert watch(values, **options) == expected


def test_what_is_kept_of_it_comes_back() -> None:
    best = Best(4, 0.5, Evaluation({"loss": Estimate(0.5, 0.1, Interval(0.3, 0.7))}, 9), 2, 6)
    assert Best.from_json(json.loads(json.dumps(best.to_json()))) == best
    assert Best.from_json(json.loads(json.dumps(Best().to_json()))).step == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_saved_model_is_that_of_the_best_step_bit_for_bit(home: Path, kind: str) -> None:
    result = sft(home, kind, load_best_model_at_end=True, **KINDS[kind])
    losses = held_losses(home / kind)
    step = min(losses, key=losses.__getitem__)
    assert step < STEPS and list(losses) == list(range(1, STEPS + 1))
    best = {"metric": "loss", "step": step, "value": losses[step], "saved": True}
    assert result.summary["best"] == json.loads((home / kind / "summary.json").read_text())["best"] == best
    assert result.summary["held_out"]["loss"]["after"]["mean"] == losses[step] == result.metrics["eval_loss"]
    shorter = sft(home, f"{kind}-short", max_steps=step, **KINDS[kind])
    assert weights(home / kind) == weights(home / f"{kind}-short")
    assert shorter.metrics["eval_loss"] == losses[step] and shorter.summary["best"] is None


def test_without_load_best_model_at_end_the_last_is_saved(home: Path, capsys: Any) -> None:
    result = sft(home, "named", metric_for_best_model="loss", learning_rate=0.12)
    losses = held_losses(home / "named")
    assert result.summary["best"]["saved"] is False and not (home / "named" / "best").exists()
    assert result.summary["best"]["step"] == min(losses, key=losses.__getitem__)
    assert result.summary["held_out"]["loss"]["after"]["mean"] == losses[STEPS]
    assert f"best step by held-out loss: {result.summary['best']['step']} (" in capsys.readouterr().err


class Killed(Exception):
    pass


def killing(step: int) -> Any:
    def callback(line: dict[str, Any]) -> None:
        if line["step"] == step:
            raise Killed

    return callback


@pytest.mark.parametrize("at", [5, 11])
def test_resuming_changes_neither_the_best_step_nor_a_bit(home: Path, at: int) -> None:
    """Killed before and after the best step, between two checkpoints; save_total_limit removes those of before."""
    options = {"load_best_model_at_end": True, "early_stopping_patience": 3, "learning_rate": 0.12, "max_steps": 20}
    whole, name = home / "whole", f"killed-{at}"
    if not whole.exists():
        sft(home, "whole", **options)
    with pytest.raises(Killed):
        sft(home, name, callback=killing(at), **options)
    assert not (home / name / "summary.json").exists()
    result = sft(home, name, resume=True, **options)
    other = json.loads((whole / "summary.json").read_text())
    assert result.summary["ended"] == "3 evaluations without a better held-out loss" == other["ended"]
    assert (result.summary["best"], result.summary["steps"]) == (other["best"], other["steps"])
    assert other["steps"] == other["best"]["step"] + 3 < 20
    assert weights(home / name) == weights(whole)
    assert held_losses(home / name) == held_losses(whole)
    again = sft(home, name, resume=True, **options)  # there is nothing left to do, and the same comes out
    assert again.summary["best"] == other["best"] and weights(home / name) == weights(whole)
    assert held_losses(home / name) == held_losses(whole)


def test_only_the_weights_that_are_still_needed_stay(home: Path) -> None:
    result = sft(home, "tidy", load_best_model_at_end=True, learning_rate=0.12, save_steps=100)
    kept = {int(path.name.split("-")[1]) for path in (home / "tidy" / "best").iterdir()}
    assert kept == {result.summary["best"]["step"]}


def test_best_weights_that_are_gone_are_an_error(home: Path) -> None:
    options = {"load_best_model_at_end": True, "learning_rate": 0.12}
    sft(home, "gone", **options)
    for path in (home / "gone" / "best").iterdir():
        path.rename(home / path.name)
    with pytest.raises(IntegrityError, match=r"weights of the best step, \d, are gone"):
        sft(home, "gone", resume=True, **options)


def test_a_run_that_looks_for_the_best_keeps_its_eval_steps(home: Path) -> None:
    options = {"load_best_model_at_end": True, "max_steps": 2}
    sft(home, "fixed", **options)
    with pytest.raises(InputError, match="eval_steps was 1, is 2"):
        sft(home, "fixed", resume=True, **options | {"eval_steps": 2})


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"metric_for_best_model": "loss", "eval_steps": None}, "metric_for_best_model: without evaluations"),
        ({"early_stopping_patience": 2, "eval_steps": None}, "early_stopping_patience: without evaluations"),
        ({"load_best_model_at_end": True, "validation": 0.0}, "eval_steps: no held-out data to evaluate on"),
        ({"metric_for_best_model": "loss", "greater_is_better": True}, "greater_is_better: loss is better the smaller"),
        ({"metric_for_best_model": "odd"}, "metric_for_best_model: which direction of odd is better?"),
        (
            {"metric_for_best_model": "odd", "greater_is_better": True},
            "metric_for_best_model: no held-out figure 'odd'",
        ),
        ({"greater_is_better": True}, "greater_is_better: the direction of nothing"),
        ({"early_stopping_threshold": 0.1}, "early_stopping_threshold: without early_stopping_patience"),
        ({"early_stopping_patience": 0}, "early_stopping_patience: 0 is out of range"),
        ({"callback": [print, 3]}, "callback: 3 is not a function"),
    ],
)
def test_what_cannot_work_is_said_before_training(home: Path, options: dict[str, Any], error: str) -> None:
    with pytest.raises(InputError) as caught:
        sft(home, "refused", **options)
    assert str(caught.value).startswith(error)
    assert not (home / "refused" / "checkpoints").exists()


def test_a_callback_sees_every_line_and_may_end_the_training(home: Path, capsys: Any) -> None:
    seen: list[dict[str, Any]] = []

    def stop_at_5(line: dict[str, Any]) -> object:
        line.clear()  # it is the callback's own copy
        return False if len(seen) == 6 else 0

    result = sft(home, "called", callback=[seen.append, stop_at_5])
    assert seen == lines(home / "called")
    assert [line["step"] for line in seen] == [0, 1, 2, 3, 4, 5]
    assert (result.summary["steps"], result.summary["ended"]) == (5, "a callback returned False")
    assert "ended after step 5 of 14: a callback returned False" in capsys.readouterr().err
    sft(home, "straight", max_steps=5)
    assert weights(home / "called") == weights(home / "straight")
    resumed = sft(home, "called", resume=True)  # it goes on where it was ended
    assert (resumed.summary["steps"], resumed.summary["ended"]) == (STEPS, None)


def test_callbacks_are_for_stages_that_train(home: Path) -> None:
    with pytest.raises(InputError, match="callback: unknown option"):
        accord.logprobs(model=home / "model", data=rows(), output=str(home / "x.jsonl"), callback=print)


@pytest.mark.parametrize(
    ("every", "steps"), [(2, [2, 4, 6]), ("epoch", [3, 6]), (None, []), (1, [1, 2, 3, 4, 5, 6]), (7, [])]
)
def test_how_often_something_is_due(every: Any, steps: list[int]) -> None:
    assert [step for step in range(1, 7) if is_due(every, step, 3)] == steps


def test_once_an_epoch_is_once_an_epoch(home: Path) -> None:
    sft(home, "epochs", num_train_epochs=2, max_steps=None, eval_steps="epoch", save_steps=None, logging_steps="epoch")
    per_epoch = math.ceil(len(rows()) * 0.7 / 4)
    steps = [line["step"] for line in lines(home / "epochs")]
    assert steps[1] in range(per_epoch - 2, per_epoch + 3) and steps == [0, steps[1], 2 * steps[1], 2 * steps[1]]
    assert [path.name for path in (home / "epochs" / "checkpoints").iterdir()] == [f"step-{2 * steps[1]:08}"]
