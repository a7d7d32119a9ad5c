"""`accord reward` as people run it: from judgements to a reward model that stock transformers scores with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from peft import AutoPeftModelForSequenceClassification
from score_runs import write_scorer
from stage_runs import COMPARISONS, ids_of, words, write_lines
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import accord
from accord.cli import main
from accord.data import order
from accord.data.read import read_groups
from accord.models.heads import MULTI, Head
from accord.models.scorer import load_scorer, normalisation_of

FIXED: dict[str, Any] = {"report_to": "none", "logging_steps": 1, "batch_size": 8, "learning_rate": 1e-2}


@pytest.fixture
def run(workshop: Path, tmp_path: Path) -> Any:
    """run(data=..., ...): a quick `accord reward`; its exit code."""

    def reward(**options: object) -> int:
        usual = {"model": workshop / "model", "data": workshop / "pairs.jsonl", "output_dir": tmp_path / "run", **FIXED}
        return main(words("reward", {**usual, **options}))

    return reward


def summary(place: Path) -> dict[str, Any]:
    return json.loads((place / "summary.json").read_text())


@torch.no_grad()
def stock_score(network: Any, tokenizer: Any, row: Mapping[str, str], side: str) -> float:
    ids, _ = ids_of(tokenizer, row, side)
    return float(network(torch.tensor([ids])).logits[0, 0])


def test_what_comes_out_scores_as_stock_transformers_does(run: Any, tmp_path: Path) -> None:
    assert run(validation=0.25, num_train_epochs=4) == 0
    place = tmp_path / "run"
    network = AutoModelForSequenceClassification.from_pretrained(place)
    tokenizer = AutoTokenizer.from_pretrained(place)
    assert network.config.num_labels == 1 and network.config.pad_token_id != tokenizer.eos_token_id
    about = json.loads((place / "reward_report.json").read_text())
    held = summary(place)["held_out"]
    # The figures of the run, anew: from the rows and stock alone.

    groups = list(read_groups(write_lines(tmp_path / "pairs.jsonl", COMPARISONS)))
    asks = np.stack([np.frombuffer(order.asks(group), dtype=np.uint8) for group in groups])
    mask = order.held_out(asks, 0.25)
    rows = [row for row, is_held in zip(COMPARISONS, mask, strict=True) if is_held]
    gaps = torch.tensor(
        [stock_score(network, tokenizer, r, "chosen") - stock_score(network, tokenizer, r, "rejected") for r in rows]
    )
    assert len(rows) == summary(place)["held_out_groups"] > 0
    assert held["loss"]["after"]["mean"] == pytest.approx(float(-torch.nn.functional.logsigmoid(gaps).mean()), abs=1e-4)
    assert held["rewards/accuracies"]["after"]["mean"] == pytest.approx(float((gaps > 0).float().mean()))
    assert about["pairs"] == len(rows)
    assert (place / "reward_report.png").stat().st_size > 10_000


def test_training_teaches_the_order(run: Any, tmp_path: Path) -> None:
    """The chosen sides end with "yes", the rejected ones with "no": that is easily seen."""
    assert run(num_train_epochs=8) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["rewards/accuracies"] == 1.0 and lines[-1]["loss"] < 0.1 < lines[0]["loss"]


def test_scores_of_the_chosen_sides_are_kept_in_the_config(run: Any, tmp_path: Path) -> None:
    assert run() == 0
    place = tmp_path / "run"
    network, tokenizer = AutoModelForSequenceClassification.from_pretrained(place), AutoTokenizer.from_pretrained(place)
    found = torch.tensor([stock_score(network, tokenizer, row, "chosen") for row in COMPARISONS])
    assert network.config.reward_mean == pytest.approx(found.mean().item(), abs=1e-4)
    assert network.config.reward_std == pytest.approx(found.std(correction=0).item(), abs=1e-4)
    assert summary(place)["normalisation"]["of"] == "chosen completions"


def test_scores_of_demonstrations_where_there_are_some(run: Any, tmp_path: Path) -> None:
    rows = [{"prompt": row["prompt"], "completion": row["rejected"]} for row in COMPARISONS[:5]]
    assert run(demonstrations=write_lines(tmp_path / "shown.jsonl", rows)) == 0
    place = tmp_path / "run"
    network, tokenizer = AutoModelForSequenceClassification.from_pretrained(place), AutoTokenizer.from_pretrained(place)
    found = torch.tensor([stock_score(network, tokenizer, row, "rejected") for row in COMPARISONS[:5]])
    assert network.config.reward_mean == pytest.approx(found.mean().item(), abs=1e-4)
    assert summary(place)["normalisation"]["completions"] == 5


@pytest.mark.parametrize("loss", ["bradley_terry", "plackett_luce", "hinge", "exponential"])
def test_groups_of_four_are_one_group(run: Any, tmp_path: Path, loss: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_lines(tmp_path / "ranked.jsonl", tiny.rankings(12))
    assert run(data=data, loss_type=loss, validation=0.3, max_steps=2) == 0
    said = capsys.readouterr().err
    assert "pairs: 72 of 12 groups; 12 are ties (16.7%)" in said
    found = summary(tmp_path / "run")
    assert found["train_groups"] + found["held_out_groups"] == 12 and found["losses"][0]["name"] == loss


def test_several_annotators_of_one_group_are_one_group(run: Any, tmp_path: Path) -> None:
    completions = [" yes", " no"]
    said = [("ann", [1, 2]), ("bob", [1, 2]), ("cid", [2, 1])]
    rows = [
        {"id": f"g{i}", "prompt": tiny.sentence(i, 5), "completions": completions, "ranks": ranks, "annotator": who}
        for i in range(6)
        for who, ranks in said
    ]
    assert run(data=write_lines(tmp_path / "three.jsonl", rows), max_steps=1, batch_size=6, learning_rate=1e-9) == 0
    assert summary(tmp_path / "run")["train_groups"] == 6
    (line,) = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    # Of every group two thirds are for the first, so the mean margin is a third of the mean gap.
    network = load_scorer(str(tmp_path / "run"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    rows = [{"prompt": tiny.sentence(i, 5), "a": " yes", "b": " no"} for i in range(6)]
    gaps = [stock_score(network, tokenizer, row, "a") - stock_score(network, tokenizer, row, "b") for row in rows]
    assert line["rewards/margins"] == pytest.approx(sum(gaps) / 18, abs=1e-4)


def test_an_adapter_with_its_head_and_what_it_is_merged_into(run: Any, tmp_path: Path, workshop: Path) -> None:
    assert run(lora_r=2, max_steps=3, validation=0.25) == 0
    place = tmp_path / "run"
    theirs = AutoPeftModelForSequenceClassification.from_pretrained(place, num_labels=1).eval()
    tokenizer = AutoTokenizer.from_pretrained(place)
    ours = load_scorer(str(place))
    assert main(["merge", str(place), "--output_dir", str(tmp_path / "whole")]) == 0
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole")
    for row in COMPARISONS[:3]:
        score = stock_score(theirs, tokenizer, row, "chosen")
        assert stock_score(ours, tokenizer, row, "chosen") == pytest.approx(score, abs=1e-5)
        assert stock_score(whole, tokenizer, row, "chosen") == pytest.approx(score, abs=1e-4)
    assert normalisation_of(ours) == normalisation_of(whole) is not None
    assert run(model=place, output_dir=tmp_path / "on", max_steps=1) == 0


def test_a_reward_model_may_be_trained_further_and_a_language_model_object(tmp_path: Path, workshop: Path) -> None:
    options = {**FIXED, "data": str(workshop / "pairs.jsonl"), "max_steps": 1, "learning_rate": 1e-9}
    network, tokenizer = tiny.llama(vocab_size=300), tiny.tokenizer()
    made = accord.reward(model=network, tokenizer=tokenizer, output_dir=str(tmp_path / "one"), **options)
    again = accord.reward(model=str(tmp_path / "one"), output_dir=str(tmp_path / "two"), **options)
    assert made is not None and again is not None
    first, second = (load_scorer(str(tmp_path / name)).score.weight for name in ("one", "two"))
    torch.testing.assert_close(first, second, atol=1e-6, rtol=0)


BAD = {
    "margin": ('{"prompt": "a b", "chosen": " c", "rejected": " d", "margin": NaN}', "margin"),
    "large": ('{"prompt": "a b", "chosen": " c", "rejected": " d", "margin": 1e39}', "not finite in 32 bits"),
    "rating": ('{"prompt": "a b", "completions": [" c", " d"], "ratings": [1, Infinity]}', "ratings"),
    "rank": ('{"prompt": "a b", "completions": [" c", " d"], "ranks": [1, 2, 3]}', "ranks"),
    "one": ('{"prompt": "a b", "completions": [" c"], "ranks": [1]}', "a ranking needs at least 2"),
    "tied": ('{"prompt": "a b", "completions": [" c", " d"], "ranks": [1, 1]}', "all its completions are tied"),
}


@pytest.mark.parametrize("what", list(BAD))
def test_a_bad_row_is_named(run: Any, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    row, says = BAD[what]
    data = tmp_path / "bad.jsonl"
    good = '{"prompt": "x y", "completions": [" c", " d"], "ranks": [1, 2]}'
    data.write_text("\n".join([good, row]) if what in ("rating", "rank", "one", "tied") else row)
    assert run(data=data) == 2
    said = capsys.readouterr().err
    assert f"bad.jsonl:{2 if what in ('rating', 'rank', 'one', 'tied') else 1}" in said and says in said
    assert not (tmp_path / "run").exists()


def test_ties_teach_something_where_they_are_wanted(run: Any, tmp_path: Path) -> None:
    tied = [{**row, "id": f"{row['id']}t", "prompt": f"so {row['prompt']}"} for row in tiny.rankings(6)]
    rows = [*tiny.rankings(6), *({**row, "ranks": [1, 1, 1, 1]} for row in tied)]
    data = write_lines(tmp_path / "ties.jsonl", rows)
    for ties in ("half", "davidson"):
        assert run(data=data, ties=ties, max_steps=1, output_dir=tmp_path / ties) == 0
        assert summary(tmp_path / ties)["train_groups"] == 12
    assert run(data=data, on_bad_row="drop", max_steps=1, output_dir=tmp_path / "none") == 0
    assert summary(tmp_path / "none")["train_groups"] == 6


def test_an_adapter_of_a_language_model_is_to_be_merged_first(
    run: Any, quick: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quick("sft", lora_r=2, max_steps=1, output_dir=tmp_path / "adapter") == 0
    capsys.readouterr()
    assert run(model=tmp_path / "adapter") == 2
    assert "merge it first (accord merge)" in capsys.readouterr().err


def test_a_classifier_of_one_label_is_no_reward_model(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flag = write_scorer(tmp_path / "flag", Head(("toxic",), MULTI, seed=5))
    assert run(model=flag) == 2
    assert "flag: a classifier (toxic), and this trains a reward model" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(run: Any, tmp_path: Path) -> None:
    assert run(dry_run=True) == 0
    assert not (tmp_path / "run").exists()
