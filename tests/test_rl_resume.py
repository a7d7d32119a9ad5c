"""Killed in whatever it did and resumed, a run on samples ends as one that was left alone: FAULTS.md, 30 and 33."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from alike import differences
from killed_runs import SAMPLED, Home, assert_same, furnish_sampled, killed_at, lines, stop_at, words
from safetensors.torch import load_file
from score_runs import write_scorer
from tiny import llama, write_model

import accord
from accord.errors import InputError
from accord.models.heads import Head
from accord.stages.rl_saved import read
from accord.training import curves


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which take longer than all the rest."""
    monkeypatch.setattr(curves, "draw", lambda *given: False)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Models, prompts and rewards; and in `killed` what is left of every run of SAMPLED."""
    home = furnish_sampled(tmp_path_factory.mktemp("sampled"))
    killed_at([(run.where, words(run.stage, home.options(name, "killed"))) for name, run in SAMPLED.items()])
    return home


@pytest.mark.parametrize("name", SAMPLED)
def test_a_killed_run_ends_as_if_it_had_not_been(left: Home, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = getattr(accord, SAMPLED[name].stage)
    whole, killed = left.options(name, "whole"), left.options(name, "killed")
    assert not (killed["output_dir"] / "MANIFEST.json").exists()
    command(**whole)
    capsys.readouterr()
    command(**killed, resume=True)
    assert f"resuming after step {SAMPLED[name].after}" in capsys.readouterr().err
    assert_same(whole["output_dir"], killed["output_dir"], drawn=False)
    assert not list(differences(whole["output_dir"], killed["output_dir"]))  # of the last checkpoint, too
    assert any(line.get("objective/scores") for line in lines(whole["output_dir"] / "metrics.jsonl"))


def options_of(left: Home, name: str, place: Path, **more: object) -> dict[str, Any]:
    """In a place of its own."""
    return {**left.options(name, "unused"), "output_dir": place, **more}


def begun(left: Home, name: str, place: Path, at: int, **more: object) -> Callable[..., Any]:
    """A run of that name, ended by a fault at the optimiser's step `at`; gives what goes on with it."""
    command, given = getattr(accord, SAMPLED[name].stage), options_of(left, name, place, **more)
    stop_at(at, lambda: command(**given))
    return lambda **changes: command(**{**given, **changes}, resume=True)


def state(place: Path, step: int) -> dict[str, Any]:
    """What a checkpoint keeps of the rounds, but for the samples."""
    return read(load_file(place / "checkpoints" / f"step-{step:08d}" / "rounds.safetensors")["about"])


def test_a_buffer_is_learnt_from_as_it_was_sampled(left: Home, tmp_path: Path) -> None:
    """Else the test above would not see that the round after step 3 is the one of step 1."""
    options = options_of(left, "ppo in a buffer", tmp_path / "run")
    accord.ppo(**options)
    kept = [load_file(tmp_path / "run" / "checkpoints" / f"step-{step:08d}" / "rounds.safetensors") for step in (6, 8)]
    assert torch.equal(kept[0]["ids"], kept[1]["ids"]) and state(tmp_path / "run", 6)["iteration"] == 1
    assert len(kept[0]["length"]) == 4 and set(kept[0]) >= {"token/old", "token/advantage", "sample/reward"}


def test_resumed_twice_it_is_exact_too(left: Home, tmp_path: Path) -> None:
    accord.reinforce(**options_of(left, "reinforce", tmp_path / "whole"))
    go_on = begun(left, "reinforce", tmp_path / "run", 5)
    stop_at(3, go_on)
    go_on()
    assert_same(tmp_path / "whole", tmp_path / "run", drawn=False)


# ---- what a run may be continued with ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"critic": "trunk"}, "no run goes on with this changed: critic was not given, is trunk"),
        ({"critic_model": "scorer"}, "no run goes on with this changed: critic_model was not given"),
        ({"kl_coef": 0.5}, "was trained with other options: kl_coef was 0.02, is 0.5"),
        ({"temperature": 0.5, "num_generations": 2}, "temperature was 1.0, is 0.5; num_generations was 1, is 2"),
        ({"gamma": 0.9}, "gamma was 1.0, is 0.9"),
        ({"reward": "scorer"}, "reward was "),
        ({"sample_rows": 3}, "sample_rows was 256, is 3"),
    ],
    ids=str,
)
def test_other_options_are_refused(left: Home, tmp_path: Path, changes: dict[str, Any], error: str) -> None:
    place = tmp_path / "run"
    shutil.copytree(left.options("ppo in a buffer", "killed")["output_dir"], place)
    given = options_of(left, "ppo in a buffer", place, **changes)
    given |= {key: left.path / given[key] for key in ("critic_model", "reward") if key in changes}
    with pytest.raises(InputError) as refused:
        accord.ppo(**given, resume=True)
    assert error in str(refused.value) and "\n" not in str(refused.value)


def test_a_reference_that_has_changed_is_refused(left: Home, tmp_path: Path) -> None:
    write_model(tmp_path / "reference", llama(vocab_size=300, seed=1))
    go_on = begun(left, "reinforce", tmp_path / "run", 5, reference=tmp_path / "reference")
    write_model(tmp_path / "reference", llama(vocab_size=300, seed=2))
    with pytest.raises(InputError, match="was trained with another reference: its weights have changed since"):
        go_on()
    go_on(allow_change=["reference"])
    changes = json.loads((tmp_path / "run" / "summary.json").read_text())["changes"]
    assert [one["key"] for one in changes] == ["reference"] and changes[0]["step"] == 3


def test_a_reward_model_that_has_changed_is_refused(left: Home, tmp_path: Path) -> None:
    write_scorer(tmp_path / "reward")
    go_on = begun(left, "reinforce", tmp_path / "run", 5, reward=tmp_path / "reward")
    write_scorer(tmp_path / "reward", Head(("reward",), seed=9))
    with pytest.raises(InputError, match="was trained with another reward model: its weights have changed since"):
        go_on()
    go_on(allow_change=["reward"])
    changes = json.loads((tmp_path / "run" / "summary.json").read_text())["changes"]
    assert [one["key"] for one in changes] == ["reward"]


def test_what_is_allowed_to_change_counts(left: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The coefficient of the KL, which checkpoints keep, too; the learning rate; what is only waited for or shown."""
    go_on = begun(left, "reinforce", tmp_path / "run", 5, kl_target=50.0, kl_horizon=40)
    kept = state(tmp_path / "run", 3)
    assert kept["begun_with"] == 0.02 and kept["beta"] < 0.02
    free = {"reward_retries": 5, "reward_timeout": 1.0, "sample_steps": 1, "reward_groups": 2}
    go_on(allow_change=["learning_rate", "kl_coef", "kl_target", "kl_horizon"], kl_coef=3.0, kl_target=None,
          kl_horizon=None, learning_rate=1e-3, **free)  # fmt: skip
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("changed after step 3: ")]
    assert len(told) == 4
    found = lines(tmp_path / "run" / "metrics.jsonl")
    assert [line["objective/kl_coef"] for line in found[3:]] == [3.0] * 5
    assert max(line["learning_rate"] for line in found[3:]) < 1e-3


def test_an_adapted_coefficient_is_taken_back_unless_it_is_changed(left: Home, tmp_path: Path) -> None:
    go_on = begun(left, "reinforce", tmp_path / "run", 5, kl_target=50.0, kl_horizon=40)
    go_on(allow_change=["kl_coef"], kl_coef=0.5)
    betas = [line["objective/kl_coef"] for line in lines(tmp_path / "run" / "metrics.jsonl")]
    # Every round has 4 samples and less than 50 nats: a fifth of a tenth less.
    assert betas == pytest.approx([0.02 * 0.98**i for i in range(3)] + [0.5 * 0.98**i for i in range(5)])


@pytest.mark.parametrize(
    "changes", [{"batch_size": 3}, {"num_generations": 2}, {"max_new_tokens": 4}, {"seed": 5}], ids=str
)
def test_a_buffer_of_other_prompts_is_sampled_anew(left: Home, tmp_path: Path, changes: dict[str, Any]) -> None:
    """A round of four steps is in its middle; blanks of another size are no other data."""
    go_on = begun(left, "ppo in a buffer", tmp_path / "run", 9)
    go_on(allow_change=list(changes), **changes)
    ids = load_file(tmp_path / "run" / "checkpoints" / "step-00000008" / "rounds.safetensors")
    samples = 2 * changes.get("batch_size", 2) * changes.get("num_generations", 1)
    assert len(ids["length"]) == samples and int(ids["length"].max()) <= changes.get("max_new_tokens", 6)
    assert lines(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == 8
