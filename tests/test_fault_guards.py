"""FAULTS tests 39 and 41, through the command line: numbers that leave their range, and too little memory."""

import json
from collections.abc import Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file
from stage_runs import COMPARISONS, Run, lines, write_lines
from transformers.models.llama.modeling_llama import LlamaModel

from accord.stages import training
from accord.training.optimizer import Weights

LONG = 17  # the row with the longest completion in `uneven`


def spoilt(place: Path, kind: str) -> dict[str, Path]:
    """A model with one word that leaves float32, and data where one row has that word. Both are read without remark."""
    rows = [dict(row) for row in COMPARISONS]
    rows[13] |= {"prompt": "Q " + rows[13]["prompt"]}
    network = (tiny.llama if kind == "llama" else tiny.gpt2)(vocab_size=300, tie_word_embeddings=False)
    (word,) = tiny.tokenizer()("Q").input_ids
    with torch.no_grad():
        network.get_input_embeddings().weight[word] = 3e38
    return {"model": tiny.write_model(place / kind, network), "data": write_lines(place / "spoilt.jsonl", rows)}


def assert_nothing_is_broken(folder: Path, steps: Sequence[int]) -> None:
    """No model, and checkpoints of these steps, all of them finite."""
    assert not (folder / "model.safetensors").exists()
    found = sorted((folder / "checkpoints").glob("step-*"))
    assert [int(path.name.split("-")[1]) for path in found] == list(steps)
    for path in found:
        for file in path.glob("*.safetensors"):
            assert all(tensor.isfinite().all() for tensor in load_file(file).values()), file


@pytest.mark.parametrize(
    ("stage", "kind", "loss"),
    [("sft", "gpt2", "nan"), ("dpo", "gpt2", "nan"), ("sft", "llama", "finite"), ("dpo", "llama", "finite")],
    ids=["r_nan_loss sft", "r_nan_loss dpo", "r_inf_grad sft", "r_inf_grad dpo"],
)
def test_r_nan_loss_and_r_inf_grad(
    quick: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str, kind: str, loss: str
) -> None:
    """GPT-2's norm makes nan of such a word; Llama's hides it from the loss, and not from the gradient."""
    how: dict[str, Any] = {"batch_size": 4, "save_steps": 1, "save_total_limit": 9, "max_tokens": 60, "seed": 1}
    assert quick(stage, **spoilt(tmp_path, kind), **how) == 3
    kept = json.loads((tmp_path / "run" / "diverged.json").read_text())
    *others, last = capsys.readouterr().err.splitlines()
    assert last.startswith(f"error[3] step {kept['step']}: loss ") and "spoilt.jsonl:14 (id c13)" in last
    assert sum("spoilt.jsonl:14 (id c13): loss " in line for line in others) == 1
    assert others[-1] == f"their texts: {tmp_path / 'run' / 'diverged.json'}"
    (row,) = kept["groups"]
    assert (row["id"], row["source"]) == ("c13", f"{tmp_path / 'spoilt.jsonl'}:14")
    assert row["grad_norm"] in ("nan", "inf") and (row["loss"] == "nan") == (loss == "nan")
    assert row["prompt"].startswith("Q ") and "yes" in row["completions"][0]
    assert row["tokens"]["completions"] and kept["learning_rate"] >= 0
    assert kept["step"] > 1
    assert_nothing_is_broken(tmp_path / "run", range(1, kept["step"]))


def test_r_nan_loss_of_weights_that_are_gone(quick: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a step that is far too large no group is to blame."""
    how = {"learning_rate": 1e30, "warmup_steps": 0, "save_steps": 1, "max_steps": 5, "batch_size": 4}
    assert quick("sft", **how) == 3
    *_, last = capsys.readouterr().err.splitlines()
    assert (
        last.startswith("error[3] step 2: loss nan")
        and "a lower learning_rate, or look at the groups that are not finite alone (4 of 4)" in last
    )
    assert len(json.loads((tmp_path / "run" / "diverged.json").read_text())["groups"]) == 4
    assert_nothing_is_broken(tmp_path / "run", [1])


def test_r_dead_grad(quick: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every pair is beyond hinge's margin: 20 steps later the run says so, and makes no 20th step for nothing.

    What it had learnt until then is saved, though no checkpoint was due.
    """
    how = {"loss_type": "hinge", "learning_rate": 0.03, "beta": 5.0, "warmup_steps": 0, "lr_scheduler_type": "constant"}
    assert quick("dpo", **how, batch_size=24, max_steps=80, save_steps=1000, logging_steps=1) == 3
    *others, last = capsys.readouterr().err.splitlines()
    kept = json.loads((tmp_path / "run" / "diverged.json").read_text())
    assert f"error[3] step {kept['step']}: the gradient has been exactly 0 for 20 steps (loss 0)" in last
    zeros = [line["grad_norm"] == 0 for line in lines(tmp_path / "run" / "metrics.jsonl")]
    assert len(zeros) == kept["step"] - 1 and zeros[-19:] == [True] * 19 and not zeros[-20]
    assert {row["id"] for row in kept["groups"]} == {row["id"] for row in COMPARISONS}
    assert sum(" (id c" in line for line in others) == 10 and "and 14 more" in others
    assert f"step {kept['step'] - 1} is saved: --resume goes on from there" in others
    assert_nothing_is_broken(tmp_path / "run", [kept["step"] - 1])


def test_what_diverged_is_gone_once_it_goes_on(quick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how: dict[str, Any] = {"batch_size": 4, "save_steps": 1, "max_steps": 3}
    norm, count = Weights.grad_norm, []

    def broken(self: Weights) -> torch.Tensor:
        count.append(1)
        return norm(self) * (float("nan") if len(count) == 2 else 1.0)

    monkeypatch.setattr(Weights, "grad_norm", broken)
    assert quick("sft", **how) == 3
    assert (tmp_path / "run" / "diverged.json").exists()
    assert quick("sft", **how, resume=True) == 0
    assert not (tmp_path / "run" / "diverged.json").exists()


# ---- memory --------------------------------------------------------------------------------------------------------


def uneven(place: Path) -> Path:
    rows = [dict(row) for row in COMPARISONS]
    rows[LONG] |= {"chosen": " mat" * 60}
    return write_lines(place / "uneven.jsonl", rows)


def cramp(monkeypatch: pytest.MonkeyPatch, most: int) -> list[tuple[int, int]]:
    """Memory for `most` tokens at a time where there are gradients; (tokens, steps done) of every such pass."""
    forward, step, seen, steps = LlamaModel.forward, Weights.step, [], []

    @wraps(forward)
    def small(self: Any, input_ids: torch.Tensor, *rest: Any, **more: Any) -> Any:
        if torch.is_grad_enabled():
            seen.append((input_ids.numel(), len(steps)))
            if input_ids.numel() > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, input_ids, *rest, **more)

    def counted(self: Weights, lr: float) -> None:
        steps.append(lr)
        step(self, lr)

    monkeypatch.setattr(LlamaModel, "forward", small)
    monkeypatch.setattr(Weights, "step", counted)
    return seen


@pytest.mark.parametrize("stage", ["sft", "dpo", "pretrain"])
def test_r_longest_first(
    quick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    data = uneven(tmp_path)
    seen = cramp(monkeypatch, 60)
    how = {"max_length": 70} if stage == "pretrain" else {}
    assert quick(stage, data=data, **how) == 4
    *_, last = capsys.readouterr().err.splitlines()
    where = f"{data}:{LONG + 1} (id {'block-' if stage == 'pretrain' else f'c{LONG})'}"
    assert last.startswith(f"error[4] {where}") and "before the first step: no memory for this group alone" in last
    assert "--max_length" in last and "--gradient_checkpointing" in last and "--lora_r" in last
    assert {done for _, done in seen} == {0}
    assert not list((tmp_path / "run").glob("checkpoints/step-*"))


def test_without_longest_first_it_fails_where_it_comes(
    quick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = uneven(tmp_path)
    seen = cramp(monkeypatch, 60)
    assert quick("sft", data=data, longest_first="false", batch_size=2, seed=2) == 4
    *_, last = capsys.readouterr().err.splitlines()
    done = max(done for _, done in seen)
    assert done > 0 and f"(id c{LONG}): step {done + 1}: no memory for this group alone" in last


def test_little_memory_makes_the_same_run(
    quick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Learnt before the first step, said once each time it is lowered; the same numbers but for rounding."""
    how: dict[str, Any] = {"max_tokens": 2000, "validation": 0.2, "batch_size": 8, "eval_steps": 1}
    assert quick("dpo", **how, output_dir=tmp_path / "roomy") == 0
    capsys.readouterr()
    seen = cramp(monkeypatch, 100)
    assert quick("dpo", **how) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "no memory for a micro-batch" in line]
    assert notes and all(line.startswith("note: before the first step: ") for line in notes)
    assert all(tokens <= 100 for tokens, done in seen if done)
    one, other = (lines(tmp_path / name / "metrics.jsonl") for name in ("roomy", "run"))
    for name in ("loss", "grad_norm", "eval_loss", "rewards/margins"):
        got, expected = ([line[name] for line in each if name in line] for each in (other, one))
        assert got == pytest.approx(expected, rel=1e-3, abs=1e-5), name


def test_a_resumed_run_remembers_how_much_fits(
    quick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same bits as a run that was left alone, and memory does not run out a second time."""
    how: dict[str, Any] = {"max_tokens": 2000, "save_steps": 1, "max_steps": 4, "longest_first": "false"}
    cramp(monkeypatch, 100)
    assert quick("sft", **how, output_dir=tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        broken_at(patch, 3)
        assert quick("sft", **how) == 1
    capsys.readouterr()
    assert quick("sft", **how, resume=True) == 0
    assert "no memory" not in capsys.readouterr().err
    assert_same_bits(tmp_path / "whole", tmp_path / "run")


Case = tuple[str, dict[str, Any]]
CASES: dict[str, Case] = {
    "sft, dropout": ("sft", {"dropout": True, "model": "gpt2", "max_length": 64}),
    "dpo": ("dpo", {"validation": 0.2, "samples": 1, "sample_tokens": 4}),
    "kto": ("dpo", {"loss_type": "kto"}),
    "lora with dropout": ("dpo", {"lora_r": 2, "lora_dropout": 0.3}),
    "two parts": ("sft", {"mix": "texts.jsonl", "mix_fraction": 0.25}),
    "pretrain, average": ("pretrain", {"max_length": 24, "average": "ema"}),
    "moving reference": ("dpo", {"sync_reference": "soft", "sync_steps": 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_longest_first_changes_no_bit(
    quick: Run, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    stage, options = CASES[case]
    options = {**options, "max_steps": 3, "max_tokens": 60}
    options |= {name: workshop / options[name] for name in ("model", "mix") if name in options}
    passes = count_backward(monkeypatch)
    assert quick(stage, **options, output_dir=tmp_path / "off", longest_first="false") == 0
    without = len(passes)
    assert quick(stage, **options) == 0
    assert len(passes) > 2 * without  # the largest went backward, too
    assert_same_bits(tmp_path / "off", tmp_path / "run")


def assert_same_bits(one: Path, other: Path) -> None:
    """The same weights, and the same figures but for the clock."""
    (name,) = (path.name for path in one.glob("*model.safetensors"))
    assert (one / name).read_bytes() == (other / name).read_bytes()
    clock = {"time", "tokens_per_second", "seconds_per_step"}
    figures = [
        [{key: value for key, value in line.items() if key not in clock} for line in lines(place / "metrics.jsonl")]
        for place in (one, other)
    ]
    assert figures[0] == figures[1]


def count_backward(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    backward, passes = torch.Tensor.backward, []

    def counted(self: torch.Tensor, *rest: Any, **more: Any) -> None:
        passes.append(1)
        backward(self, *rest, **more)

    monkeypatch.setattr(torch.Tensor, "backward", counted)
    return passes


def test_a_resumed_run_tries_the_largest_too(quick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And ends in the bits of the run that was left alone."""
    how: dict[str, Any] = {"batch_size": 4, "max_tokens": 2000, "save_steps": 1, "max_steps": 4, "dropout": True}
    assert quick("sft", **how, output_dir=tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        broken_at(patch, 3)
        assert quick("sft", **how) == 1
    passes = count_backward(monkeypatch)
    assert quick("sft", **how, resume=True) == 0
    assert len(passes) > 2  # steps 3 and 4 are one micro-batch each
    assert_same_bits(tmp_path / "whole", tmp_path / "run")


def broken_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """A run ends by a mistake of ours within a step."""
    grad_norm, count = Weights.grad_norm, []

    def broken(self: Weights) -> torch.Tensor:
        count.append(1)
        assert len(count) != step, "here it stops"
        return grad_norm(self)

    patch.setattr(Weights, "grad_norm", broken)


def test_trying_draws_nothing_that_others_would_have_drawn(
    quick: Run, workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try_largest, states = training.try_largest, []

    def told(session: Any) -> None:
        states.append(torch.get_rng_state())
        try_largest(session)
        states.append(torch.get_rng_state())

    monkeypatch.setattr(training, "try_largest", told)
    assert quick("sft", dropout=True, model=workshop / "gpt2", max_length=64, max_steps=1) == 0
    assert torch.equal(*states)


def test_a_finished_run_tries_nothing(quick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert quick("sft", max_steps=2) == 0
    passes = count_backward(monkeypatch)
    assert quick("sft", max_steps=2, resume=True) == 0
    assert passes == []


def test_warnings_stand_on_the_terminal_and_in_the_summary(
    quick: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quick("dpo", learning_rate=1e-12, warmup_steps=0, max_steps=22, batch_size=24) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(told) == 1 and "step 20: the loss has been 0.693147 for 20 steps" in told[0]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [f"warning: {line}" for line in summary["warnings"]] == told
