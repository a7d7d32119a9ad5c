"""What is sampled and scored in reinforcement learning: prompts, texts, columns, held against stock."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from rl_runs import PROMPTS, letters, run, said
from rollouts import every
from stage_runs import lines, loaded

from accord.records import Group, Message
from accord.stages.rl_prompts import sampled_text
from accord.stages.rl_rollouts import Maker


def test_samples_are_written_with_what_was_said_of_them(workshop: Path, tmp_path: Path) -> None:
    how = {"model": workshop / "model", "reward": [letters, f"{Path(__file__).parent / 'rl_rewards.py'}:letters"]}
    found = run("rloo", tmp_path / "run", **how, samples=3, sample_tokens=4, sample_steps=2, max_steps=5)
    rows = [row for row in lines(found.place / "samples.jsonl") if "score" in row]
    assert [row["step"] for row in rows] == [0] * 3 + [2] * 3 + [4] * 3
    for row in rows:
        text = row["completion"]
        share = sum(c.isascii() and c.isalpha() for c in text) / max(1, len(text))
        assert row["rewards"] == {"letters": share, "letters-2": share} and row["score"] == 2 * share
        assert row["tokens"] == 6 or row["ended"]
    assert all(row["kl"] == pytest.approx(0.0, abs=1e-4) for row in rows[:3]) and any(row["kl"] for row in rows[3:])
    by_source = found.column("rewards/letters")
    assert found.column("objective/scores") == pytest.approx([2 * value for value in by_source], rel=1e-5)


def test_what_is_kept_of_every_token_is_what_stock_says(
    workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log-probabilities of policy and reference at the temperature, the entropy, and the KL of whole samples."""
    kept, make = [], Maker.rollout

    def keep(self: Maker, *given: Any) -> Any:
        kept.append(made := make(self, *given))
        return made

    monkeypatch.setattr(Maker, "rollout", keep)
    how = {
        "model": workshop / "model",
        "reference": workshop / "other",
        "temperature": 0.7,
        "max_steps": 1,
        "batch_size": 5,
    }
    found = run("rloo", tmp_path / "run", **how, learning_rate=1e-9)
    ((rollout, _),) = kept
    assert len(rollout.samples.kl) == 20
    with torch.no_grad():
        own, other = (every(loaded(workshop / name)[0], rollout.groups, 0.7) for name in ("model", "other"))
    for column, expected in (
        (rollout.tokens.old, [one.logp for one in own]),
        (rollout.tokens.reference, [one.logp for one in other]),
        (rollout.tokens.entropy, [one.entropy for one in own]),
    ):
        torch.testing.assert_close(column, torch.cat(expected), rtol=0, atol=2e-5)
    kl = [float(one.logp.sum() - beside.logp.sum()) for one, beside in zip(own, other, strict=True)]
    assert rollout.samples.kl.tolist() == pytest.approx(kl, abs=1e-4)
    assert found.lines[0]["objective/kl"] == pytest.approx(sum(kl) / 20, abs=1e-4) and sum(kl) / 20 > 1.0


def test_stop_strings_end_samples_and_are_not_in_their_texts(workshop: Path, tmp_path: Path) -> None:
    seen: list[str] = []

    def look(groups: Any) -> list[float]:
        seen.extend(map(said, groups))
        return letters(groups)

    stop = ["a", "e", "i", "s"]
    found = run(
        "rloo", tmp_path / "run", model=workshop / "model", reward=look, stop=stop, max_new_tokens=30, max_steps=1
    )
    assert seen and not any(sign in text for text in seen for sign in stop)
    assert 0.3 < found.lines[0]["completions/ended"] <= 1.0
    assert found.lines[0]["completions/mean_length"] < 25


def test_the_text_of_a_sample_is_without_its_end() -> None:
    tokenizer = tiny.tokenizer()
    prompt, ids = (tiny.tokens(*tokenizer(text).input_ids) for text in ("the cat", " sat on a mat"))
    whole = tiny.tokens(*ids, 2)
    assert sampled_text(tokenizer, prompt, whole, frozenset({2}), None) == " sat on a mat"
    assert sampled_text(tokenizer, prompt, ids, frozenset({2}), None) == " sat on a mat"
    assert sampled_text(tokenizer, prompt, tiny.tokens(2), frozenset({2}), None) == ""
    assert sampled_text(tokenizer, prompt, tiny.tokens(1, *ids), frozenset({2}), None) == "<|im_start|> sat on a mat"


def test_chats_are_answered_by_the_assistant(workshop: Path, tmp_path: Path) -> None:
    chat = [
        [{"role": "system", "content": "be brief"}, {"role": "user", "content": row["prompt"]}] for row in PROMPTS[:8]
    ]
    answer = [{"role": "assistant", "content": "yes"}]
    seen: list[Group] = []

    def look(groups: Any) -> list[float]:
        seen.extend(groups)
        return letters(groups)

    for number, rows in enumerate(([{"prompt": one} for one in chat], [{"messages": one + answer} for one in chat])):
        run("rloo", tmp_path / str(number), model=workshop / "model", data=rows, reward=look, max_steps=1)
    assert len(seen) == 32 and [said(one) for one in seen[:16]] == [said(one) for one in seen[16:]]
    assert all(isinstance(one.completions[0].content, tuple) for one in seen)
    assert all(one.prompt in [tuple(Message(**turn) for turn in asked) for asked in chat] for one in seen)


def test_rewards_get_the_prompt_that_was_asked(workshop: Path, tmp_path: Path) -> None:
    """Two lists from Python, whose rows have the same places and the same ids."""
    seen: list[str] = []

    def look(groups: Any) -> list[float]:
        seen.extend(group.prompt for group in groups)
        return letters(groups)

    trained, held = ([{"prompt": f"{word} {i} ?"} for i in range(6)] for word in ("say", "tell"))
    run("rloo", tmp_path / "run", model=workshop / "model", data=trained, eval_data=held, reward=look, max_steps=1)
    assert [prompt.split()[0] for prompt in seen] == ["tell"] * 24 + ["say"] * 16 + ["tell"] * 24
    assert set(seen) > {f"tell {i} ?" for i in range(6)}


def test_objects_from_python(workshop: Path, tmp_path: Path) -> None:
    network, tokenizer = tiny.llama(vocab_size=300), tiny.tokenizer()
    how: dict[str, Any] = {"model": network, "tokenizer": tokenizer, "max_steps": 2}
    told: list[dict[str, Any]] = []
    found = run("ppo", tmp_path / "objects", **how, reference=tiny.llama(vocab_size=300), callback=told.append)
    named = run("ppo", tmp_path / "named", model=workshop / "model", max_steps=2)
    assert found.result.model is network and len(told) == 2
    assert found.column("loss") == named.column("loss")
