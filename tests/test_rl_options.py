"""Every option of reinforcement learning changes what is trained, or is refused: none does nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from rl_runs import Ran, run
from score_runs import write_scorer
from stage_runs import COMPARISONS, lines

import accord
from accord.errors import InputError
from accord.models import sample
from accord.stages.config import OF_ALGORITHMS
from accord.stages.rl_names import ALGORITHMS
from accord.stages.rl_options import (
    CriticOptions,
    PolicyOptions,
    PtxOptions,
    RolloutOptions,
    ShapingOptions,
    WatchOptions,
)

GROUPS = (RolloutOptions, ShapingOptions, PolicyOptions, CriticOptions, PtxOptions, WatchOptions)
STOP = {"stop": ["a", "e", "i", "s", "n"], "max_new_tokens": 12}  # so that about half of the samples end
PTX = {"ptx": [{"text": row["text"]} for row in tiny.texts(20)], "ptx_coef": 0.5}
BASES: dict[str, dict[str, Any]] = {
    "ppo": {"num_ppo_epochs": 2, "max_steps": 4, "learning_rate": 2e-2},
    "rloo": {"num_generations": 2, "max_steps": 2},
    "grpo": {"num_generations": 3, "max_steps": 2},
    "reinforce": {"max_steps": 3},
}
# option -> the command, what it is tried with, its value
CHANGES: dict[str, tuple[str, dict[str, Any], object]] = {
    "num_generations": ("rloo", {}, 3),
    "max_new_tokens": ("rloo", {}, 9),
    "temperature": ("rloo", {}, 0.5),
    "stop": ("rloo", {"max_new_tokens": 12}, STOP["stop"]),
    "num_ppo_epochs": ("ppo", {}, 3),
    "num_mini_batches": ("ppo", {}, 2),
    "missing_eos": ("rloo", STOP, "mask"),
    "missing_eos_penalty": ("rloo", {**STOP, "missing_eos": "subtract"}, 0.2),
    "reward_scaling": ("reinforce", {}, "running"),
    "reward_clip": ("rloo", {}, 0.2),
    "whiten_rewards": ("ppo", {}, True),
    "whiten_advantages": ("ppo", {}, False),
    "kl_coef": ("rloo", {}, 1.0),
    "kl_in": ("rloo", {}, "loss"),
    "kl_loss": ("grpo", {}, "k3"),
    "kl_target": ("rloo", {}, 0.01),
    "kl_horizon": ("rloo", {"kl_target": 0.01}, 100),
    "cliprange": ("ppo", {}, 0.01),
    "ratio": ("ppo", {}, "sequence"),
    "loss_aggregation": ("rloo", STOP, "token_mean"),
    "group_form": ("grpo", {}, "published"),
    "baseline_decay": ("reinforce", {}, 0.1),
    "entropy_coef": ("rloo", {}, 0.1),
    "target_kl": ("ppo", {"num_ppo_epochs": 3}, 1e-6),
    "reference": ("rloo", {}, "other"),
    "critic": ("ppo", {}, "trunk"),
    "critic_model": ("ppo", {}, "reward"),
    "critic_learning_rate": ("ppo", {}, 0.1),
    "vf_coef": ("ppo", {"critic": "trunk"}, 2.0),
    "cliprange_value": ("ppo", {"critic": "trunk"}, 1e-3),
    "gamma": ("ppo", {}, 0.5),
    "lam": ("ppo", {}, 0.2),
    "critic_warmup": ("ppo", {}, 1),
    "ptx": ("rloo", {"ptx_coef": 0.5, "ptx": [{"text": "the cat"}] * 20}, PTX["ptx"]),
    "ptx_coef": ("rloo", PTX, 2.0),
    "ptx_batch_size": ("rloo", {**PTX, "max_length": 24}, 7),
    "ptx_kind": ("rloo", {"ptx": COMPARISONS, "ptx_coef": 0.5}, "demonstrations"),
}
# What changes no weight: tests below. algorithm: every command is one.
BESIDE = {"sample_rows", "sample_steps", "watch_reward", "algorithm"}
DIRECTORIES = {"reference", "critic_model"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model, other (Llamas) and reward (a reward model)."""
    home = tmp_path_factory.mktemp("options")
    tiny.write_model(home / "model")
    tiny.write_model(home / "other", tiny.llama(vocab_size=300, seed=1))
    write_scorer(home / "reward")
    return home


@pytest.fixture(scope="module")
def trained(home: Path) -> Callable[..., Ran]:
    """trained("rloo", kl_coef=1.0): a short run of that command; the same one is made once."""
    done: dict[str, Ran] = {}

    def train(command: str, **options: object) -> Ran:
        name = f"{command} {options}"
        if name not in done:
            done[name] = run(command, home / f"run-{len(done)}", model=home / "model", **{**BASES[command], **options})
        return done[name]

    return train


def test_every_option_is_tried() -> None:
    assert {key for group in GROUPS for key in group.model_fields} == CHANGES.keys() | BESIDE


@pytest.mark.parametrize("key", CHANGES)
def test_an_option_changes_what_is_trained(home: Path, trained: Callable[..., Ran], key: str) -> None:
    command, given, value = CHANGES[key]
    value = str(home / str(value)) if key in DIRECTORIES else value
    plain, changed = trained(command, **given), trained(command, **{**given, key: value})
    assert any(not torch.equal(plain.weights[name], tensor) for name, tensor in changed.weights.items())


def test_sample_rows_bounds_what_is_sampled_together_and_nothing_else(
    home: Path, trained: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, together = [], sample.together

    def counted(ask: Any, way: Any, wanted: Any, rules: Any) -> Any:
        rows.append(len(wanted))
        return together(ask, way, wanted, rules)

    monkeypatch.setattr(sample, "together", counted)
    plain = trained("rloo")
    assert rows == [] or max(rows) == 8
    rows.clear()
    few = run("rloo", home / "few", model=home / "model", **BASES["rloo"], sample_rows=3)
    assert max(rows) == 3 and sum(rows) == 16
    for name in ("objective/scores", "objective/kl", "loss"):
        assert few.column(name) == pytest.approx(plain.column(name), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(("every", "steps"), [(0, []), (3, [0, 4, 6])])
def test_sample_steps_says_when_samples_are_shown(home: Path, tmp_path: Path, every: int, steps: list[int]) -> None:
    """At the next round: rounds of two steps begin after 0, 2, 4 and 6 of 8."""
    how = {"num_ppo_epochs": 2, "num_generations": 2, "batch_size": 2, "max_steps": 8, "samples": 1, "sample_tokens": 1}
    found = run("rloo", tmp_path / "run", model=home / "model", **how, sample_steps=every)
    rows = [row for row in lines(found.place / "samples.jsonl") if "score" in row]
    assert [row["step"] for row in rows] == steps


def test_a_second_scorer_is_seen_and_not_learnt_from(home: Path, tmp_path: Path, trained: Callable[..., Ran]) -> None:
    watch = [str(home / "reward"), f"{Path(__file__).parent / 'rl_rewards.py'}:letters"]
    found = run("rloo", tmp_path / "run", model=home / "model", **BASES["rloo"], watch_reward=watch)
    plain = trained("rloo")
    assert found.column("loss") == plain.column("loss")
    assert found.column("objective/scores") == plain.column("objective/scores")
    assert found.column("rewards/watched/letters") == found.column("objective/scores")
    assert len(set(found.column("rewards/watched/reward"))) == 2


def test_rl_is_every_algorithm_by_name(home: Path, tmp_path: Path, trained: Callable[..., Ran]) -> None:
    for name in ("reinforce", "grpo"):
        found = run("rl", tmp_path / name, model=home / "model", algorithm=name, **BASES[name])
        assert found.column("loss") == trained(name).column("loss")
        assert json.loads((found.place / "run.json").read_text())["command"] == name


# ---- what is refused -----------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("rloo", {"num_generations": 1}, "num_generations: rloo holds the samples of a prompt against each other: at leas"),
    ("grpo", {"num_generations": 1}, "num_generations: "),
    ("reinforce", {"num_mini_batches": 2}, "num_mini_batches: reinforce has no ratio"),
    ("reinforce", {"num_ppo_epochs": 2}, "num_ppo_epochs: reinforce has no ratio"),
    ("rloo", {"missing_eos_penalty": 2.0, "missing_eos": "mask"}, "missing_eos_penalty: would not be used"),
    ("rloo", {"kl_horizon": 100}, "kl_horizon: without kl_target"),
    ("rloo", {"kl_target": 5.0, "kl_coef": 0.0}, "kl_coef: 0 cannot be adapted"),
    ("rloo", {"kl_target": 5.0, "kl_horizon": 3}, "kl_horizon: 3 samples, and a round has 16: kl_coef would lose"),
    ("rloo", {"kl_target": 5.0, "batch_size": 4096, "num_mini_batches": 4}, "kl_horizon: 10000 samples, and"),
    ("rloo", {"kl_loss": "k2"}, "kl_loss: the KL is in the rewards"),
    ("grpo", {"kl_loss": "k2", "kl_in": "reward"}, "kl_loss: the KL is in the rewards"),
    ("ppo", {"critic": "trunk", "critic_model": "reward"}, "critic_model: the critic is on the policy's trunk"),
    ("ppo", {"critic": "trunk", "critic_warmup": 1}, "critic_warmup: the value head is on the policy's trunk"),
    ("ppo", {"critic": "trunk", "critic_learning_rate": 1e-3}, "critic_learning_rate: the value head is on the policy"),
    ("ppo", {"critic": "adapter"}, "critic: the policy is no adapter on a base: give lora_r"),
    ("ppo", {"lora_r": 2, "critic": "own"}, "critic: the policy is an adapter, and no reward model"),
    ("rloo", {"ptx_coef": 1.0}, "ptx_coef: the weight of nothing"),
    ("rloo", {"ptx": PTX["ptx"]}, "ptx: would not be used, as ptx_coef is 0"),
    ("rloo", {"max_new_tokens": 40, "max_length": 40}, "max_new_tokens: 40, which leaves no room for a prompt"),
    ("rloo", {"max_new_tokens": 3000, "max_length": None}, "max_new_tokens: 3000, which leaves no room for a prompt"),
    ("rloo", {"max_new_tokens": 30, "max_length": 34}, "max_new_tokens: 2 of 24 rows fit max_length=4"),
    ("rloo", {"reward": None}, "reward: "),
    ("rloo", {"watch_reward": []}, "watch_reward: no source of rewards"),
    ("ppo", {"algorithm": "rloo"}, "algorithm: rloo, and the command is accord ppo"),
    ("rloo", {"cliprange": 0.0}, "cliprange: "),
    ("rloo", {"temperature": 0.0}, "temperature: "),
    ("rloo", {"eval_steps": 2}, "eval_steps: no held-out data"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "options", "start"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_makes_no_sense_is_refused_in_a_line(
    home: Path, tmp_path: Path, command: str, options: dict[str, Any], start: str
) -> None:
    with pytest.raises(InputError) as refused:
        run(command, tmp_path / "run", model=home / "model", **options)
    assert str(refused.value).startswith(start) and "\n" not in str(refused.value)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_the_policy_is_not_its_own_reference(tmp_path: Path) -> None:
    network = tiny.llama(vocab_size=300)
    with pytest.raises(InputError, match="reference: has the model's own weights, which are trained"):
        run("rloo", tmp_path / "run", model=network, tokenizer=tiny.tokenizer(), reference=network)


@pytest.mark.parametrize("key", OF_ALGORITHMS)
def test_an_option_of_another_algorithm_is_refused(key: str) -> None:
    _, algorithms = OF_ALGORITHMS[key]
    command, _, value = CHANGES[key]
    for other in ALGORITHMS.keys() - set(algorithms):
        with pytest.raises(InputError, match=f"^{key}: would not be used by {other}: it is of "):
            getattr(accord, other)(model="m", data="d", reward="r", output_dir="o", **{key: value})
    assert command in algorithms and any(key in one.model_fields for one in GROUPS)
