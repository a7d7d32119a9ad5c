"""Reinforcement learning in the demo's world, very small: what is true of it there can be measured (docs/rl.md)."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from accord.demo import world
from accord.records import Group
from accord.stages.commands import init, rloo, sft

ALWAYS: dict[str, Any] = {
    "max_length": 128, "threads": 1, "seed": 0, "report_to": "none", "save_steps": "none", "samples": 0,
}  # fmt: skip
TRAINED, ASKED, HELD = 480, 200, 40  # questions


def liking(groups: list[Group]) -> list[float]:
    return [world.sentiment(group.completions[0].content[0].content) for group in groups]  # type: ignore[union-attr]


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers in mostly whole sentences, good and bad alike; and questions that it was not trained on."""
    found, every = tmp_path_factory.mktemp("world"), world.prompts(0)
    asked = [{"prompt": one.turns} for one in every[TRAINED : TRAINED + ASKED + HELD]]
    write(found / "prompts.jsonl", asked[:ASKED])
    write(found / "held.jsonl", asked[ASKED:])
    shown = write(found / "demonstrations.jsonl", world.demonstrations(every[:TRAINED], 0))
    init(data=shown, output_dir=found / "new", vocab_size=960, hidden_size=64, layers=1, context=128, seed=0)
    sft(
        model=found / "new",
        data=shown,
        output_dir=found / "tuned",
        learning_rate=1e-2,
        num_train_epochs=4,
        batch_size=8,
        **ALWAYS,
    )
    return found


def test_the_true_reward_rises_at_a_bounded_kl(folder: Path) -> None:
    """From the model that it starts as, on held-out questions, beyond the 95 % intervals of both."""
    found = rloo(
        model=folder / "tuned",
        reward=liking,
        data=folder / "prompts.jsonl",
        eval_data=folder / "held.jsonl",
        output_dir=folder / "aligned",
        learning_rate=3e-3,
        kl_coef=0.02,
        batch_size=8,
        max_steps=20,
        max_new_tokens=48,
        **ALWAYS,
    ).summary
    before, after = ({name: one[when] for name, one in found["held_out"].items()} for when in ("before", "after"))
    assert after["objective/scores"]["interval"][0] > before["objective/scores"]["interval"][1] + 0.05
    assert before["objective/kl"]["mean"] == 0.0
    assert 1.0 < after["objective/kl"]["mean"] < 10.0
    assert after["completions/ended"]["mean"] > 0.9
    # The objective itself rises, so that the KL is paid for.
    assert after["objective/rlhf_reward"]["interval"][0] > before["objective/rlhf_reward"]["interval"][1]
