"""What goes wrong in runs on samples: rewards that are none, or all the same, and what is left then. FAULTS.md, 45."""

import json
import shlex
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
from alike import differences
from rl_runs import PROMPTS, letters, numbers, run
from safetensors.torch import load_file
from stage_runs import lines, write_lines

import accord
from accord.cli import main
from accord.errors import Diverged, InputError, ServiceError, Stopped
from accord.records import Group
from accord.stages.runs import row_of
from accord.training import curves
from accord.training.optimizer import Weights
from accord.training.watch import STEPS

TWICE: dict[str, Any] = {"num_ppo_epochs": 2, "max_steps": 7, "learning_rate": 1e-3, "save_steps": 100}
Rewards = Callable[[Sequence[Group]], list[Any]]


def at_call(number: int, then: Rewards) -> tuple[Rewards, list[int]]:
    """letters, and `then` at this call alone; the calls so far."""
    calls: list[int] = []

    def reward(groups: Sequence[Group]) -> list[Any]:
        calls.append(len(groups))
        return then(groups) if len(calls) == number else letters(groups)

    reward.__name__ = "letters"
    return reward, calls


def fails(groups: Sequence[Group]) -> list[Any]:
    raise RuntimeError("no such file: weights.bin")


def gone(groups: Sequence[Group]) -> list[Any]:
    raise ServiceError("no rewards after 3 tries: Connection refused", where="http://127.0.0.1:1")


# What a function gives -> the error, and what it says
NONE: dict[str, tuple[Rewards, type[Exception], str]] = {
    "NaN": (lambda groups: [float("nan")] * len(groups), Diverged, "gave nan, which is no reward"),
    "infinite": (lambda groups: [1.0, -float("inf"), 0.0, 0.0], Diverged, "gave -inf, which is no reward"),
    "a number short": (lambda groups: [1.0] * (len(groups) - 1), InputError, "gave 3 numbers for 4 samples"),
    "an exception": (fails, InputError, "failed with RuntimeError: no such file: weights.bin"),
    "an outage": (gone, ServiceError, "no rewards after 3 tries: Connection refused"),
}


@pytest.fixture
def whole(workshop: Path, tmp_path: Path) -> Path:
    """A run that was left alone."""
    return run("ppo", tmp_path / "whole", model=workshop / "model", **TWICE).place


def assert_nothing_is_broken(place: Path, steps: Sequence[int]) -> None:
    """No model, and checkpoints of these steps, all of them finite; nothing half-written."""
    assert not (place / "model.safetensors").exists() and not (place / "summary.json").exists()
    found = sorted((place / "checkpoints").iterdir()) if (place / "checkpoints").exists() else []
    assert [path.name for path in found] == [f"step-{step:08d}" for step in steps]
    for path in found:
        for file in path.glob("*.safetensors"):
            assert all(tensor.isfinite().all() for tensor in load_file(file).values()), file


@pytest.mark.parametrize("name", NONE)
def test_rewards_that_are_none_at_the_third_round_lose_no_step(
    workshop: Path, tmp_path: Path, whole: Path, name: str
) -> None:
    """What was learnt until then is saved, and with better rewards the run ends as if it had had them at once."""
    then, kind, said = NONE[name]
    reward, calls = at_call(3, then)
    given = {"model": workshop / "model", "reward": reward, **TWICE}
    with pytest.raises(kind) as error:
        run("ppo", tmp_path / "run", **given)
    assert said in str(error.value) and "\n" not in str(error.value) and calls == [4, 4, 4]
    assert "step 4 is saved: --resume goes on from there" in error.value.others  # type: ignore[attr-defined]
    assert_nothing_is_broken(tmp_path / "run", [4])
    assert [row["step"] for row in lines(tmp_path / "run" / "metrics.jsonl")] == [1, 2, 3, 4]
    run("ppo", tmp_path / "run", **given, resume=True)
    assert not list(differences(whole, tmp_path / "run"))


def test_an_outage_in_an_evaluation_is_made_up_for(workshop: Path, tmp_path: Path) -> None:
    """The step that was to be evaluated is saved, and evaluated once the service is back."""
    held = [{"id": f"h{i}", "prompt": f"tell {i} ?"} for i in range(3)]
    how = {**TWICE, "model": workshop / "model", "eval_data": held, "eval_steps": 2}
    alone = run("ppo", tmp_path / "whole", **how)
    reward, calls = at_call(3, gone)  # of the first evaluation, the first round, the evaluation after it
    with pytest.raises(ServiceError):
        run("ppo", tmp_path / "run", **how, reward=reward)
    assert calls == [3, 4, 3]
    assert_nothing_is_broken(tmp_path / "run", [2])
    again = run("ppo", tmp_path / "run", **how, reward=reward, resume=True)
    assert numbers(again.lines) == numbers(alone.lines)
    assert not list(differences(alone.place, again.place))


def test_an_outage_before_the_first_step_leaves_a_run_that_begins_anew(workshop: Path, tmp_path: Path) -> None:
    reward, _ = at_call(1, gone)
    with pytest.raises(ServiceError):
        run("rloo", tmp_path / "run", model=workshop / "model", reward=reward, max_steps=1)
    assert_nothing_is_broken(tmp_path / "run", [])
    assert run("rloo", tmp_path / "run", model=workshop / "model", reward=reward, max_steps=1).lines


def test_a_signal_while_samples_are_made_is_heard_after_the_step(workshop: Path, tmp_path: Path, whole: Path) -> None:
    def stop(groups: Sequence[Group]) -> list[float]:
        signal.raise_signal(signal.SIGTERM)
        return letters(groups)

    reward, _ = at_call(2, stop)
    given = {"model": workshop / "model", "reward": reward, **TWICE}
    with pytest.raises(Stopped, match="stopped by SIGTERM after step 3 of 7, which is saved"):
        run("ppo", tmp_path / "run", **given)
    assert_nothing_is_broken(tmp_path / "run", [3])
    run("ppo", tmp_path / "run", **given, resume=True)
    assert not list(differences(whole, tmp_path / "run"))


# ---- rewards that say nothing --------------------------------------------------------------------------------------


def constant(groups: Sequence[Group]) -> list[float]:
    return [0.1] * len(groups)


@pytest.mark.parametrize(
    ("command", "how"),
    [
        ("rloo", {"kl_coef": 0.0, "num_generations": 3}),
        ("rloo", {"kl_coef": 0.05, "num_generations": 3}),
        ("grpo", {"kl_coef": 0.0, "group_form": "published", "num_generations": 3}),
    ],
    ids=str,
)
def test_a_constant_reward_is_told_and_ends_the_run(
    workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, how: dict[str, Any]
) -> None:
    """The policy is the reference, so that there is no KL, either; what its first steps taught it is saved."""
    more = {"max_steps": STEPS + 5, "batch_size": 2, "max_new_tokens": 2, "save_steps": 1000, "reward": constant}
    with pytest.raises(Diverged) as error:
        run(command, tmp_path / "run", model=workshop / "model", **how, **more)
    assert str(error.value).startswith(f"step {STEPS}: the gradient has been exactly 0 for {STEPS} steps (loss ")
    assert "rewards that differ between the samples of a prompt" in str(error.value)
    assert "learning_rate" not in str(error.value) and "hinge" not in str(error.value)
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("warning: step 1: all samples of every prompt had the same reward, 2 times running") == 1
    kept = json.loads((tmp_path / "run" / "diverged.json").read_text())
    assert len(kept["groups"]) == 2 and {row["grad_norm"] for row in kept["groups"]} == {0.0}
    assert_nothing_is_broken(tmp_path / "run", [STEPS - 1])


def test_samples_that_are_all_left_out_end_the_run(workshop: Path, tmp_path: Path) -> None:
    how = {"missing_eos": "mask", "max_steps": STEPS, "batch_size": 2, "max_new_tokens": 2}
    with pytest.raises(Diverged, match=r"samples that are not all left out \(missing_eos\)"):
        run("rloo", tmp_path / "run", model=workshop / "model", **how)


def test_a_constant_reward_is_told_where_something_else_is_learnt(workshop: Path, tmp_path: Path) -> None:
    """The critic, and the entropy."""
    for command, more in (("ppo", {}), ("rloo", {"entropy_coef": 0.01})):
        found = run(command, tmp_path / command, model=workshop / "model", reward=constant, max_steps=6, **more)
        assert any("all samples of every prompt had the same reward" in one for one in found.summary["warnings"])


def test_a_step_whose_gradient_is_not_finite_names_its_prompts(
    workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norm, count = Weights.grad_norm, []

    def broken(self: Weights) -> Any:
        count.append(1)
        return norm(self) * (float("nan") if len(count) >= 3 else 1.0)

    monkeypatch.setattr(Weights, "grad_norm", broken)
    with pytest.raises(Diverged) as error:
        run("rloo", tmp_path / "run", model=workshop / "model", max_steps=5, save_steps=2, batch_size=2)
    assert str(error.value).startswith("step 3: loss ") and "<memory>:" in str(error.value)
    assert_nothing_is_broken(tmp_path / "run", [2])
    kept = json.loads((tmp_path / "run" / "diverged.json").read_text())
    assert [row["tokens"]["completions"] for row in kept["groups"]] == [[6] * 4] * 2


def test_rewards_beyond_float32_end_the_run_before_a_step_is_made(workshop: Path, tmp_path: Path) -> None:
    def large(groups: Sequence[Group]) -> list[float]:
        return [1e39 * value for value in letters(groups)]

    with pytest.raises(Diverged):
        run("rloo", tmp_path / "run", model=workshop / "model", reward=large, max_steps=2)
    assert_nothing_is_broken(tmp_path / "run", [])


# ---- beside them ---------------------------------------------------------------------------------------------------


def test_runs_and_verify_know_runs_on_samples(
    workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a stopped run `accord runs` prints what goes on with it, also where it was begun as accord rl."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(curves, "draw", lambda *given: False)
    data = write_lines(tmp_path / "prompts.jsonl", PROMPTS)
    function = f"{Path(__file__).with_name('rl_rewards.py')}:letters"
    asked = {"model": workshop / "model", "data": data, "reward": function, "output_dir": tmp_path / "run"}
    how = {"max_steps": 2, "batch_size": 4, "max_new_tokens": 4, "samples": 1, "sample_tokens": 2, "report_to": "none"}
    monkeypatch.setattr("accord.stages.training.save", lambda *given: fails([]))  # after its last step
    with pytest.raises(RuntimeError):
        accord.rl(algorithm="ppo", **asked, **how)
    row = row_of(tmp_path / "run")
    assert (row["command"], row["state"], row["step"], row["checkpoint"]) == ("ppo", "failed", 2, 2)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(curves, "draw", lambda *given: False)
    assert main(shlex.split(row["resume"])[1:]) == 0
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "run")]) == 0 and main(["runs", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "ppo" in said and "finished" in said and "damaged" not in said.replace("0 damaged", "")


def test_a_sweep_compares_runs_on_samples(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "draw", lambda *given: False)
    data = write_lines(tmp_path / "prompts.jsonl", PROMPTS)
    options = {
        "command": "grpo", "model": str(workshop / "model"), "data": str(data), "output_dir": str(tmp_path / "sweep"),
        "reward": f"{Path(__file__).with_name('rl_rewards.py')}:letters", "kl_coef": [0.01, 0.1], "max_steps": 1,
        "batch_size": 4, "max_new_tokens": 4, "samples": 0, "report_to": "none", "validation": 0.2,
    }  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(json.dumps(options))
    assert main(["sweep", str(tmp_path / "sweep.yaml")]) == 0
    table = (tmp_path / "sweep" / "sweep.md").read_text().splitlines()
    assert any("| loss | objective/scores | objective/kl |" in line for line in table)
    assert "Losses and margins of different losses, or betas, are in units of their own." in " ".join(table)


def test_a_model_without_room_says_what_to_do(tmp_path: Path, workshop: Path) -> None:
    with pytest.raises(InputError, match=r"^max_new_tokens: 128, which leaves no room for a prompt in the model's 64"):
        run("rloo", tmp_path / "run", model=workshop / "gpt2", max_new_tokens=128, max_length=1000)
    assert tiny.gpt2(n_positions=64).config.n_positions == 64
