"""From files to an aligned model and back: what each stage computes and writes."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file
from stage_runs import (
    COMPARISONS,
    QUICK,
    Run,
    assert_stock_loads,
    dpo_loss,
    lines,
    loaded,
    stock_logprob,
    words,
    write_lines,
)
from transformers import AutoTokenizer

import accord
from accord.cli import main

# ---- the whole way -------------------------------------------------------------------------------------------------


def test_from_nothing_to_an_aligned_model(workshop: Path, tmp_path: Path) -> None:
    """init -> pretrain -> sft -> dpo -> logprobs, each from what the one before wrote; every step learns."""
    new = accord.init(
        data=workshop / "pairs.jsonl", output_dir=tmp_path / "new", vocab_size=300, hidden_size=32, layers=1, heads=2
    )
    assert_stock_loads(tmp_path / "new", new.model)
    assert new.model.get_input_embeddings().weight.shape == (300, 32)
    how: dict[str, Any] = {**QUICK, "learning_rate": 1e-2, "num_train_epochs": 3}
    base = accord.pretrain(
        model=tmp_path / "new", data=workshop / "texts.jsonl", output_dir=tmp_path / "base",
        **{**how, "batch_size": 2, "max_length": 32},
    )  # fmt: skip
    tuned = accord.sft(model=tmp_path / "base", data=workshop / "pairs.jsonl", output_dir=tmp_path / "tuned", **how)
    aligned = accord.dpo(
        model=tmp_path / "tuned", data=workshop / "pairs.jsonl", output_dir=tmp_path / "aligned", **how
    )
    for result in (base, tuned, aligned):
        assert_stock_loads(result.output_dir, result.model)
        losses = [line["loss"] for line in lines(result.output_dir / "metrics.jsonl")]
        assert losses[-1] < 0.9 * losses[0]
    rows = accord.logprobs(model=aligned.output_dir, data=workshop / "pairs.jsonl", output=tmp_path / "scores.jsonl")
    assert rows == lines(tmp_path / "scores.jsonl")
    assert len(rows) == 48
    assert aligned.metrics["rewards/accuracies"] > 0.5


def test_logprobs_are_stock_in_the_order_of_the_file(workshop: Path, tmp_path: Path) -> None:
    options = {"model": workshop / "model", "data": workshop / "pairs.jsonl", "output": tmp_path / "o" / "x.jsonl"}
    assert main(words("logprobs", options)) == 0
    network, tokenizer = loaded(workshop / "model")
    found = lines(tmp_path / "o" / "x.jsonl")
    assert [list(row) for row in found] == [["id", "completion", "logprob", "tokens"]] * 48
    assert [(row["id"], row["completion"]) for row in found] == [(r["id"], k) for r in COMPARISONS for k in (0, 1)]
    sides = [(row, side) for row in COMPARISONS for side in ("chosen", "rejected")]
    for row, (one, side) in zip(found, sides, strict=True):
        logprob, tokens = stock_logprob(network, tokenizer, one, side)
        assert row["logprob"] == pytest.approx(logprob, abs=1e-4)
        assert row["tokens"] == tokens


@pytest.mark.parametrize("options", [{"layout": "rows"}, {"max_tokens": 20}])
def test_logprobs_do_not_depend_on_how_they_are_computed(
    workshop: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    same = {"model": workshop / "model", "data": workshop / "pairs.jsonl", "output": tmp_path / "x.jsonl"}
    one, other = (accord.logprobs(**same, **how) for how in ({}, options))
    assert [row["logprob"] for row in one] == pytest.approx([row["logprob"] for row in other], abs=1e-4)


def test_logprobs_of_a_ranking_and_of_a_chat(workshop: Path, tmp_path: Path) -> None:
    row = {"prompt": "the cat", "completions": [" sat", " ran far", " sang"], "ranks": [2, 1, 1]}
    found = accord.logprobs(model=workshop / "model", data=[row], output=tmp_path / "x.jsonl")
    assert [(r["id"], r["completion"]) for r in found] == [("1", 0), ("1", 1), ("1", 2)]
    chat = accord.logprobs(model=workshop / "model", data=workshop / "chats.jsonl", output=tmp_path / "y.jsonl")
    assert len(chat) == 12


def test_prompts_without_completions_have_no_logprobs(workshop: Path, tmp_path: Path) -> None:
    data = write_lines(tmp_path / "prompts.jsonl", [{"prompt": "the cat"}, {"prompt": "dogs"}])
    code = main(words("logprobs", {"model": workshop / "model", "data": data, "output": tmp_path / "x.jsonl"}))
    assert code in (0, 2)
    assert code == 2 or lines(tmp_path / "x.jsonl") == []


# ---- stages --------------------------------------------------------------------------------------------------------


def test_pretrain_loss_is_the_mean_over_all_tokens(workshop: Path, quick: Run, tmp_path: Path) -> None:
    """Step 1 of 1 sees every text: -log P of each token after the first, EOS too, by stock."""
    assert quick("pretrain", batch_size=100, max_steps=1, max_length=64) == 0
    network, tokenizer = loaded(workshop / "model")
    total = count = 0
    with torch.no_grad():
        for row in tiny.texts(20):
            ids = [*tokenizer(row["text"]).input_ids, tokenizer.eos_token_id]
            logp = network(torch.tensor([ids])).logits[0].log_softmax(-1)
            total -= sum(float(logp[i - 1, ids[i]]) for i in range(1, len(ids)))
            count += len(ids) - 1
    (line,) = lines(tmp_path / "run" / "metrics.jsonl")
    assert line["loss"] == pytest.approx(total / count, rel=1e-4)
    assert line["bits_per_token"] == pytest.approx(total / count / math.log(2), rel=1e-4)


def test_pretrain_of_a_text_one_token_longer_than_a_block(workshop: Path, quick: Run, tmp_path: Path) -> None:
    """The rest of one token has nothing that predicts it. In a step of its own it is a step that changes nothing."""
    tokenizer = AutoTokenizer.from_pretrained(workshop / "model")
    text = tiny.texts(1)[0]["text"]
    length = len(tokenizer(text).input_ids)  # one less than with EOS
    data = write_lines(tmp_path / "one.jsonl", [{"text": text}])
    assert quick("pretrain", data=data, max_length=length, batch_size=1) == 0


@torch.no_grad()
def chat_loss(workshop: Path, wanted: Callable[[int], bool]) -> float:
    """Mean -log P over the assistant turns `wanted` (1 or 3), by the masks of stock `apply_chat_template`."""
    network, tokenizer = loaded(workshop / "model")
    total = count = 0
    for row in lines(workshop / "chats.jsonl"):
        chat = row["messages"]
        ids = tokenizer.apply_chat_template(chat).input_ids
        logp = network(torch.tensor([ids])).logits[0].log_softmax(-1)
        for turn in filter(wanted, (1, 3)):
            start = len(tokenizer.apply_chat_template(chat[:turn], add_generation_prompt=True).input_ids)
            end = len(tokenizer.apply_chat_template(chat[: turn + 1]).input_ids)
            total -= sum(float(logp[i - 1, ids[i]]) for i in range(start, end))
            count += end - start
    return total / count


@pytest.mark.parametrize("turns", ["all", "last"])
def test_sft_learns_the_turns_asked_for(workshop: Path, quick: Run, tmp_path: Path, turns: str) -> None:
    assert quick("sft", turns=turns, batch_size=100) == 0
    (line,) = lines(tmp_path / "run" / "metrics.jsonl")
    assert line["loss"] == pytest.approx(chat_loss(workshop, lambda turn: turns == "all" or turn == 3), rel=1e-4)


def test_sft_with_the_auxiliary_loss(workshop: Path, quick: Run, tmp_path: Path) -> None:
    """alpha L_LM + L_FT by stock: all tokens but the first, and those of the assistant."""
    assert quick("sft", lm_alpha=0.5, batch_size=100) == 0
    network, tokenizer = loaded(workshop / "model")
    everything = count = 0.0
    with torch.no_grad():
        for row in lines(workshop / "chats.jsonl"):
            ids = tokenizer.apply_chat_template(row["messages"]).input_ids
            logp = network(torch.tensor([ids])).logits[0].log_softmax(-1)
            everything -= sum(float(logp[i - 1, ids[i]]) for i in range(1, len(ids)))
            for turn in (1, 3):
                start = len(tokenizer.apply_chat_template(row["messages"][:turn], add_generation_prompt=True).input_ids)
                count += len(tokenizer.apply_chat_template(row["messages"][: turn + 1]).input_ids) - start
    (line,) = lines(tmp_path / "run" / "metrics.jsonl")
    completion = chat_loss(workshop, lambda turn: True)
    assert line["loss"] == pytest.approx(0.5 * everything / count + completion, rel=1e-4)
    assert line["nll"] == pytest.approx(completion, rel=1e-4)


def test_sft_with_a_mix(workshop: Path, quick: Run, tmp_path: Path) -> None:
    """Of 16 groups a step a quarter are blocks of text; the loss is 3/4 of one mean and 1/4 of the other."""
    assert quick("sft", mix=workshop / "texts.jsonl", mix_fraction=0.25, batch_size=16, max_length=64) == 0
    (line,) = lines(tmp_path / "run" / "metrics.jsonl")
    assert line["loss"] == pytest.approx(
        0.75 * chat_loss(workshop, lambda turn: True) + 0.25 * line["mix/loss"], rel=1e-4
    )


def test_sft_holds_out_and_dpo_holds_out_the_same_prompts(workshop: Path, quick: Run, tmp_path: Path) -> None:
    held = []
    for stage in ("sft", "dpo"):
        options = {"data": workshop / "pairs.jsonl", "validation": 0.3, "output_dir": tmp_path / stage, "samples": 64}
        assert quick(stage, **options, sample_tokens=1, max_steps=1) == 0
        held.append({line["prompt"] for line in lines(tmp_path / stage / "samples.jsonl")})
    assert held[0] == held[1]
    assert 2 < len(held[0]) < 14


def test_dpo_against_another_reference(workshop: Path, quick: Run, tmp_path: Path) -> None:
    """At step 0 the loss is no longer log 2 but what the two models say."""
    assert quick("dpo", reference=workshop / "other", batch_size=24, beta=0.3) == 0
    (line,) = lines(tmp_path / "run" / "metrics.jsonl")
    expected = dpo_loss(workshop / "model", workshop / "other", COMPARISONS, 0.3)
    assert abs(expected - math.log(2)) > 0.05
    assert line["loss"] == pytest.approx(expected, rel=1e-4)


def test_dpo_against_the_starting_model_named_as_reference(workshop: Path, quick: Run, tmp_path: Path) -> None:
    assert quick("dpo", reference=workshop / "model", batch_size=24) == 0
    assert lines(tmp_path / "run" / "metrics.jsonl")[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_a_ranking_with_ties_begins_at_log_2_too(quick: Run, tmp_path: Path) -> None:
    row = {"prompt": "the cat", "completions": [" sat", " ran far", " sang"]}
    rows = [{**row, "ranks": ranks} for ranks in ([1, 2, 2], [3, 1, 2])]
    assert quick("dpo", data=write_lines(tmp_path / "ranks.jsonl", rows), validation=0) == 0
    (line,) = lines(tmp_path / "run" / "metrics.jsonl")
    assert line["loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_held_out_data_of_its_own(workshop: Path, quick: Run, tmp_path: Path) -> None:
    held = write_lines(tmp_path / "held.jsonl", tiny.comparisons(6, first=500))
    assert quick("dpo", eval_data=held, max_steps=1) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["held_out_groups"] == 6


def test_bf16_trains_and_is_saved_in_float32(workshop: Path, quick: Run, tmp_path: Path) -> None:
    assert quick("dpo", dtype="bf16", learning_rate=1e-3, num_train_epochs=3, validation=0.3) == 0
    assert {tensor.dtype for tensor in load_file(tmp_path / "run" / "model.safetensors").values()} == {torch.float32}
    held = [line for line in lines(tmp_path / "run" / "metrics.jsonl") if "eval_loss" in line]
    assert held[0]["eval_loss"] == pytest.approx(math.log(2), abs=2e-2)


def test_gradient_checkpointing_learns_the_same(workshop: Path, quick: Run, tmp_path: Path) -> None:
    for name, on in (("plain", False), ("again", True)):
        assert quick("sft", output_dir=tmp_path / name, gradient_checkpointing=on, learning_rate=1e-3) == 0
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "again"))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("average", ["ema", "iterate"])
def test_the_average_is_what_is_saved_and_measured(workshop: Path, quick: Run, tmp_path: Path, average: str) -> None:
    """Also where the last step is one that evaluates: its figures are those of the saved model, and stand once."""
    options = {"average": average, "ema_decay": 0.5, "learning_rate": 1e-2, "eval_steps": 1, "validation": 0.3}
    assert quick("dpo", data=workshop / "pairs.jsonl", **options, max_steps=2, warmup_steps=0) == 0
    held = [line for line in lines(tmp_path / "run" / "metrics.jsonl") if "eval_loss" in line]
    assert [line["step"] for line in held] == [0, 1, 2]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert held[-1]["eval_loss"] == summary["held_out"]["loss"]["after"]["mean"]
    again = accord.dpo(
        model=tmp_path / "run", reference=workshop / "model", data=workshop / "pairs.jsonl", validation=0.3,
        max_steps=1, output_dir=tmp_path / "again", **QUICK,
    )  # fmt: skip
    before = again.summary["held_out"]["loss"]["before"]["mean"]
    assert before == pytest.approx(held[-1]["eval_loss"], rel=1e-4)
