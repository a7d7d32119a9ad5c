"""`accord ppo` with every role on one base: what it says, what it writes, and that it goes on to the bit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file

from accord.cli import main
from accord.models.adapters import Lora, add_adapter, make_trainable
from accord.models.heads import Head
from accord.models.load import load_network, save
from accord.models.roles import trained_in
from accord.models.scorer import new_scorer

PLAIN = Lora(4, 8, ("all-linear",), False, False)
QUICK: dict[str, Any] = {
    "samples": 0, "report_to": "none", "logging_steps": 1, "batch_size": 4, "num_mini_batches": 1, "max_new_tokens": 6,
    "learning_rate": 1e-3, "warmup_steps": 0, "max_steps": 5, "save_steps": 2, "num_ppo_epochs": 2, "threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base (a Llama), reward (an adapter of it), tuned (another), elsewhere (a base with other numbers), prompts."""
    home = tmp_path_factory.mktemp("home")
    for name, seed in (("base", 0), ("elsewhere", 1)):
        tiny.write_model(home / name, tiny.llama(vocab_size=300, initializer_range=0.05, seed=seed))
        scorer = add_adapter(new_scorer(str(home / name), Head(("reward",), seed=3)), PLAIN, base=name, seed=1)
        adapter = add_adapter(load_network(str(home / name)), PLAIN, base=name, seed=1)
        for network, place in ((scorer, "reward"), (adapter, "tuned")):
            make_trainable(network, dropout=0.0)
            generator = torch.Generator().manual_seed(5)
            for parameter in trained_in(network, "policy").values():
                parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
            network.peft_config["default"].base_model_name_or_path = str(home / name)
            save(network, tiny.tokenizer(), home / (place if name == "base" else f"{name}-{place}"))
    rows = [{"prompt": row["prompt"]} for row in tiny.comparisons(12)]
    (home / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return home


def ppo(home: Path, place: Path, **options: object) -> int:
    given = {"data": home / "prompts.jsonl", "output_dir": place, "reward": home / "reward", **QUICK, **options}
    return main(["ppo", *(f"--{key}={str(value).lower() if value is True else value}" for key, value in given.items())])


@pytest.mark.parametrize(
    "begin",
    [{"model": "base", "lora_r": 4, "gradient_checkpointing": True}, {"model": "tuned", "dtype": "bf16"}],
    ids=["new adapter, checkpointing", "trained adapter, bf16"],
)
def test_a_run_with_all_roles_on_one_base_goes_on_to_the_bit(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], begin: dict[str, Any]
) -> None:
    options = {**begin, "model": home / begin["model"]}
    assert ppo(home, tmp_path / "whole", **options) == 0
    assert "stands on the policy's base" in capsys.readouterr().err
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "step-00000005")
    for name in ("MANIFEST.json", "adapter_model.safetensors", "summary.json"):
        (tmp_path / "again" / name).unlink()
    assert ppo(home, tmp_path / "again", **options, resume=True) == 0
    assert "resuming after step 4" in capsys.readouterr().err
    first, second = (tmp_path / place / "adapter_model.safetensors" for place in ("whole", "again"))
    assert first.read_bytes() == second.read_bytes()
    tensors = load_file(first)
    assert len(tensors) == 28 and all(".lora_" in name and "critic" not in name for name in tensors)
    assert not {"score_head.json", "model.safetensors"} & {path.name for path in (tmp_path / "whole").iterdir()}
    checked = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert checked[0]["objective/kl"] == pytest.approx(0.0, abs=1e-6)
    assert checked[-1]["objective/kl"] != 0


def test_a_whole_policys_critic_begins_as_a_reward_model_that_is_an_adapter(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"model": home / "base", "critic_model": home / "reward", "max_steps": 1, "save_steps": 1}
    assert ppo(home, tmp_path / "run", **options) == 0
    assert "the critic begins as the reward model" in " ".join(capsys.readouterr().err.split())


def test_a_reward_model_on_another_base_has_weights_of_its_own(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"model": home / "base", "lora_r": 4, "critic": "trunk", "max_steps": 1, "save_steps": 1}
    assert ppo(home, tmp_path / "run", reward=home / "elsewhere-reward", **options) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "has base weights of its own" in said and "their weights differ (the first is" in said
