"""`accord ppo`, `reinforce`, `rloo` and `grpo` as people run them: they learn, and stock loads what they write."""

import math
from pathlib import Path
from typing import Any

import pytest
import tiny
import transformers
from rl_runs import PROMPTS, QUICK, letters, numbers, run
from score_runs import write_scorer
from stage_runs import COMPARISONS, assert_stock_loads, loaded, stock_logprob, words, write_lines

from accord.cli import main
from accord.stages import rl, rl_terms

MANY: dict[str, Any] = {"batch_size": 16, "num_ppo_epochs": 2, "max_steps": 24}
FEW: dict[str, Any] = {"max_steps": 16}
LEARNING: dict[str, tuple[str, dict[str, Any]]] = {  # what is gained holds for three seeds
    "rloo": ("rloo", FEW),
    "grpo": ("grpo", FEW),
    "grpo as published": ("grpo", {**FEW, "group_form": "published"}),
    "reinforce": ("reinforce", {"batch_size": 16, "max_steps": 16}),
    "ppo": ("ppo", MANY),
    "ppo on the trunk": ("ppo", {**MANY, "critic": "trunk"}),
    "ppo on one base": ("ppo", {**MANY, "critic": "adapter", "lora_r": 8, "learning_rate": 3e-2}),
    "ppo with the ratio of samples": (
        "ppo", {**MANY, "ratio": "sequence", "cliprange": 0.5, "kl_in": "loss", "entropy_coef": 0.001,
                "whiten_advantages": True}
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model, other (Llamas), gpt2, t5, moe, mamba, and reward: a reward model of the same tokens."""
    home = tmp_path_factory.mktemp("home")
    tiny.write_model(home / "model")
    tiny.write_model(home / "other", tiny.llama(vocab_size=300, seed=1))
    tiny.write_model(home / "gpt2", tiny.gpt2(vocab_size=300, n_positions=64))
    tiny.write_model(home / "t5", tiny.t5(vocab_size=300))
    tiny.write_model(home / "moe", tiny.mixtral(vocab_size=300))
    shape = {"vocab_size": 300, "hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "initializer_range": 0.25}
    ends = {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}
    tiny.write_model(
        home / "mamba", tiny.build(transformers.MambaForCausalLM, transformers.MambaConfig(**shape, **ends))
    )
    write_scorer(home / "reward", mean=0.25)
    return home


def assert_sound(found: Any) -> None:
    """What holds of every run's first step: the policy is the one that sampled, and the reference."""
    first = found.lines[0]
    assert first["val/ratio"] == pytest.approx(1.0, abs=1e-5) and first["policy/approxkl_avg"] < 1e-9
    assert first["objective/kl"] == pytest.approx(0.0, abs=1e-4)
    assert all(0 < value < 6 * math.log(300) for value in found.column("objective/entropy"))
    assert max(found.column("sampler/logp_difference")) < 1e-4
    for line in found.lines:
        assert line["objective/rlhf_reward"] == pytest.approx(
            line["objective/scores"] + line["objective/non_score_reward"], abs=1e-5
        )
        assert all(math.isfinite(value) for value in line.values())


@pytest.mark.parametrize("name", LEARNING)
def test_what_is_rewarded_becomes_more(home: Path, tmp_path: Path, name: str) -> None:
    command, options = LEARNING[name]
    found = run(command, tmp_path / "run", model=home / "model", **options)
    assert_sound(found)
    scores = found.column("objective/scores")
    assert sum(scores[-4:]) / 4 > sum(scores[:4]) / 4 + 0.12
    assert found.column("objective/kl")[-1] > 1.0
    assert not any("loss" in warning for warning in found.summary["warnings"])
    if options.get("critic") != "adapter":
        assert_stock_loads(found.place, found.result.model)


@pytest.mark.parametrize("form", ["unbiased", "published"])
def test_what_the_step_itself_says_is_what_a_pass_before_it_says(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Where one step learns from a round, the policy is asked once. The figures are those of two passes."""
    how = {"model": home / "model", "max_steps": 4, "group_form": form, "validation": 0.2}
    once = run("grpo", tmp_path / "once", **how)
    for room in (rl, rl_terms):
        monkeypatch.setattr(room, "is_once", lambda config: False)
    twice = run("grpo", tmp_path / "twice", **how)
    for one, other in zip(numbers(once.lines), numbers(twice.lines), strict=True):
        gap, other_gap = one.pop("sampler/logp_difference", 0.0), other.pop("sampler/logp_difference", 0.0)
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5) and gap == pytest.approx(other_gap, abs=1e-5)
    assert tiny.distance(once.weights, twice.weights) < 1e-5


def test_the_critic_begins_as_the_reward_model_and_learns_returns(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = {"batch_size": 16, "num_ppo_epochs": 4, "max_steps": 24, "critic_learning_rate": 3e-3, "learning_rate": 1e-6}
    found = run("ppo", tmp_path / "run", model=home / "model", reward=str(home / "reward"), lam=1.0, **how)
    assert f"the critic begins as the reward model {home / 'reward'}" in capsys.readouterr().err.replace("\n", "")
    assert_sound(found)
    explained, loss = found.column("val/explained_variance"), found.column("loss/value_avg")
    assert explained[-1] > explained[0] + 1.0 and loss[-1] < loss[0] / 2


@pytest.mark.parametrize(
    ("model", "command", "more"),
    [
        ("gpt2", "ppo", {"dropout": True, "critic": "trunk"}),
        ("t5", "ppo", {}),
        ("t5", "rloo", {}),
        ("moe", "ppo", {"critic": "trunk"}),
        ("mamba", "grpo", {}),
        ("mamba", "ppo", {}),
        ("model", "ppo", {"dtype": "bf16"}),
        ("model", "ppo", {"dtype": "bf16", "critic": "adapter", "lora_r": 2}),
        ("model", "ppo", {"gradient_checkpointing": True}),
        ("model", "ppo", {"optimizer": "momentum", "critic_warmup": 1, "average": "ema"}),
        ("model", "rloo", {"layout": "rows", "lora_r": 2, "use_dora": True}),
    ],
    ids=lambda value: str(value),
)
def test_every_kind_of_model(home: Path, tmp_path: Path, model: str, command: str, more: dict[str, Any]) -> None:
    how = {"max_steps": 3, "num_ppo_epochs": 2, **more}
    found = run(command, tmp_path / "run", model=home / model, **how)
    exact = "dtype" not in more and "dropout" not in more and "critic_warmup" not in more
    if exact:
        assert_sound(found)
    if model == "moe":
        assert found.lines[0]["aux_loss"] > 0
    if "lora_r" not in more and model != "t5":
        assert_stock_loads(found.place, found.result.model)
    assert (found.place / "README.md").exists()


def test_checkpointing_of_a_critic_of_its_own_changes_nothing(home: Path, tmp_path: Path) -> None:
    """A backward pass computes its states again, by the same attention."""
    for reward in (str(home / "reward"), letters):
        how = {"model": home / "model", "reward": reward, "max_steps": 2, "num_ppo_epochs": 2}
        kind = "model" if isinstance(reward, str) else "function"
        plain, again = (run("ppo", tmp_path / f"{kind}-{on}", **how, gradient_checkpointing=on) for on in (False, True))
        for name in ("critic/grad_norm", "loss/value_avg", "loss"):
            assert again.column(name) == pytest.approx(plain.column(name), rel=1e-4, abs=1e-7)


# ---- beside the samples --------------------------------------------------------------------------------------------


def test_ptx_is_a_part_of_the_loss_and_is_learnt(home: Path, tmp_path: Path) -> None:
    how = {"model": home / "model", "ptx": COMPARISONS, "ptx_kind": "demonstrations", "ptx_batch_size": 24}
    found = run("rloo", tmp_path / "run", **how, ptx_coef=3.0, max_steps=8)
    first, (network, tokenizer) = found.lines[0], loaded(home / "model")
    sums = [stock_logprob(network, tokenizer, row, "chosen") for row in COMPARISONS]
    assert first["ptx/loss"] == pytest.approx(-sum(logp for logp, _ in sums) / sum(n for _, n in sums), rel=1e-5)
    assert first["loss"] == pytest.approx(first["loss/policy_avg"] + 3.0 * first["ptx/loss"], rel=1e-5)
    assert found.column("ptx/loss")[-1] < first["ptx/loss"] - 0.5


def test_held_out_prompts_and_the_best_step(home: Path, tmp_path: Path) -> None:
    how = {
        "validation": 0.3, "eval_steps": 2, "metric_for_best_model": "objective/scores", "load_best_model_at_end": True,
        "max_steps": 6,
    }  # fmt: skip
    found = run("rloo", tmp_path / "run", model=home / "model", **how)
    evaluated = [line for line in found.lines if "eval_objective/scores" in line]
    assert [line["step"] for line in evaluated] == [0, 2, 4, 6]
    for line in evaluated:
        objective = line["eval_objective/scores"] - 0.02 * line["eval_objective/kl"]
        assert line["eval_objective/rlhf_reward"] == pytest.approx(objective, abs=1e-9) == -line["eval_loss"]
        assert 0 <= line["eval_completions/ended"] <= 1 and line["eval_completions/mean_length"] <= 6
    assert evaluated[0]["eval_objective/kl"] == pytest.approx(0.0, abs=1e-4)
    best = max(evaluated[1:], key=lambda line: line["eval_objective/scores"])
    assert found.summary["best"]["step"] == best["step"] and found.summary["best"]["saved"]
    kept = found.summary["held_out"]["objective/scores"]["after"]["mean"]
    assert kept == pytest.approx(best["eval_objective/scores"])


def test_evaluating_changes_nothing_of_the_training(home: Path, tmp_path: Path) -> None:
    held = [{"id": f"h{i}", "prompt": f"tell {i} ?"} for i in range(5)]
    how = {"model": home / "model", "max_steps": 4, "reward_scaling": "running"}
    plain = run("reinforce", tmp_path / "plain", **how)
    seen = run("reinforce", tmp_path / "seen", **how, eval_data=held, eval_steps=1)
    assert seen.column("loss") == plain.column("loss")


def test_a_dry_run_samples_nothing_and_writes_nothing(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_lines(tmp_path / "prompts.jsonl", PROMPTS)
    asked = f"{Path(__file__).parent / 'rl_rewards.py'}:letters"
    given = {**QUICK, "model": home / "model", "data": data, "reward": asked, "output_dir": tmp_path / "run"}
    texts = write_lines(tmp_path / "texts.jsonl", tiny.texts(20))
    for more in ({"critic": "trunk"}, {"ptx": texts, "ptx_coef": 1.0}):
        assert main(words("ppo", {**given, **more, "dry_run": True})) == 0
        told = capsys.readouterr().err
        assert "dry run of accord ppo" in told and "24 to train on" in told and "samples after" not in told
        assert "to make and to score them comes on top" in told
    assert not (tmp_path / "run").exists()
