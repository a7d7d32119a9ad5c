"""Models, tokenizers and data that Python passes as objects."""

import math
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from stage_runs import COMPARISONS, QUICK, loaded, stock_logprob
from transformers import AutoTokenizer

import accord
from accord.models.load import save
from accord.records import Completion, Group, Judgement


def as_groups() -> list[Group]:
    first_is_best = (Judgement(ranks=(1, 2)),)
    return [
        Group(row["id"], row["prompt"], (Completion(row["chosen"]), Completion(row["rejected"])), first_is_best)
        for row in COMPARISONS
    ]


@pytest.mark.parametrize("kind", ["rows", "groups"])
def test_objects_give_the_same_model_as_names(workshop: Path, tmp_path: Path, kind: str) -> None:
    network, tokenizer = loaded(workshop / "model")
    data: Any = COMPARISONS if kind == "rows" else as_groups()
    how: dict[str, Any] = {**QUICK, "max_steps": 2, "warmup_steps": 0, "learning_rate": 1e-3}
    accord.dpo(model=network, tokenizer=tokenizer, data=data, output_dir=tmp_path / "one", **how)
    accord.dpo(model=workshop / "model", data=workshop / "pairs.jsonl", output_dir=tmp_path / "other", **how)
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "other"))
    assert one == other


def test_a_loaded_model_brings_its_own_tokenizer_and_may_be_its_own_reference(workshop: Path, tmp_path: Path) -> None:
    network, _ = loaded(workshop / "model")
    how: dict[str, Any] = {**QUICK, "batch_size": 24, "output_dir": tmp_path / "r"}
    result = accord.dpo(model=network, reference=network, data=COMPARISONS, **how)
    assert result.metrics["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert result.output_dir == tmp_path / "r"
    assert result.summary["train_groups"] == 24


def test_a_run_from_objects_can_be_resumed(workshop: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {**QUICK, "output_dir": tmp_path / "r", "max_steps": 2}
    for resume in (False, True):
        network, tokenizer = loaded(workshop / "model")
        result = accord.dpo(model=network, tokenizer=tokenizer, data=COMPARISONS, resume=resume, **options)
        assert result.summary["steps"] == 2


def test_scoring_with_a_loaded_model_leaves_it_as_it_was(workshop: Path, tmp_path: Path) -> None:
    """GPT-2 as `from_config` makes it: in training mode, with dropout 0.1. Scores have no dropout."""
    network, tokenizer = tiny.gpt2(vocab_size=300), AutoTokenizer.from_pretrained(workshop / "model")
    sides = [(row, side) for row in COMPARISONS[:3] for side in ("chosen", "rejected")]
    expected = [stock_logprob(network, tokenizer, row, side)[0] for row, side in sides]
    network.train()
    found = accord.logprobs(model=network, tokenizer=tokenizer, data=COMPARISONS[:3], output=tmp_path / "x.jsonl")
    assert [row["logprob"] for row in found] == pytest.approx(expected, abs=1e-4)
    assert network.training
    assert network.config._attn_implementation == "sdpa"


def test_a_model_that_cannot_be_written_leaves_the_one_before(workshop: Path, tmp_path: Path) -> None:
    """A directory stands where the weights of the new model would be put aside: as good as a full disk."""
    network, tokenizer = loaded(workshop / "model")
    (tmp_path / "model.safetensors").write_bytes(b"the one before")
    (tmp_path / ".model.tmp").write_text("in the way")
    with pytest.raises(accord.StorageError, match="cannot be written"):
        save(network, tokenizer, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == b"the one before"


def test_a_saved_model_leaves_nothing_aside(workshop: Path, tmp_path: Path) -> None:
    network, tokenizer = loaded(workshop / "model")
    save(network, tokenizer, tmp_path)
    assert not (tmp_path / ".model.tmp").exists()
    again, _ = loaded(tmp_path)
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
