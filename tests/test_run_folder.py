"""What a run leaves in its folder."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from stage_runs import (
    COMPARISONS,
    QUICK,
    Run,
    dpo_loss,
    ids_of,
    lines,
    loaded,
    words,
    write_lines,
)
from transformers import AutoTokenizer

import accord
from accord.cli import main

ROOT = Path(__file__).resolve().parents[1]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def aligned(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `accord dpo` with everything on, one bad row dropped."""
    place = tmp_path_factory.mktemp("aligned")
    rows = [*COMPARISONS[:5], {**COMPARISONS[5], "rejected": COMPARISONS[5]["chosen"]}, *COMPARISONS[6:]]
    options = {
        "model": workshop / "model", "data": write_lines(place / "pairs.jsonl", rows), "output_dir": place / "run",
        "on_bad_row": "drop", "validation": 0.3, "batch_size": 4, "num_train_epochs": 2, "logging_steps": 2,
        "eval_steps": 3, "samples": 2, "sample_tokens": 5, "learning_rate": 3e-3, "beta": 0.2,
    }  # fmt: skip
    assert main(words("dpo", options)) == 0
    return place / "run"


DPO_NAMES = {
    "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected",
    "loss", "gradient_weight", "length_gap", "bits_per_token/chosen",
}  # fmt: skip
TRAINING_NAMES = {"grad_norm", "learning_rate", "tokens_per_second", "seconds_per_step", "tokens_saved"}


def test_metrics_have_the_names_of_the_ecosystem(aligned: Path) -> None:
    found = lines(aligned / "metrics.jsonl")
    trained = [line for line in found if "loss" in line]
    steps = trained[-1]["step"]
    assert [line["step"] for line in trained] == sorted({*range(2, steps + 1, 2), steps})
    for line in trained:
        assert {"step", "epoch", "time"} | DPO_NAMES | TRAINING_NAMES <= line.keys()
        assert isinstance(line["time"], float) and 1.7e9 < line["time"] < 1e10
        assert line["epoch"] == pytest.approx(line["step"] / (steps / 2))
    held = [line for line in found if "eval_loss" in line]
    assert {line["step"] for line in held} == {0, *range(3, steps + 1, 3), steps}
    for line in held:
        assert {f"eval_{name}" for name in DPO_NAMES} <= line.keys()
        low, mean, high = (line[f"eval_rewards/accuracies{end}"] for end in ("_low", "", "_high"))
        assert low <= mean <= high
    assert len({(line["step"], "loss" in line, "eval_loss" in line) for line in found}) == len(found)


def test_the_run_begins_at_log_2_and_learns(aligned: Path) -> None:
    first, *_, last = lines(aligned / "metrics.jsonl")
    assert (first["step"], first["eval_loss"]) == (0, pytest.approx(math.log(2), abs=1e-5))
    assert first["eval_rewards/margins"] == pytest.approx(0, abs=1e-5)
    assert first["eval_rewards/accuracies"] == pytest.approx(0.5)
    trained = [line for line in lines(aligned / "metrics.jsonl") if "loss" in line]
    assert trained[-1]["loss"] < trained[0]["loss"]
    assert last["step"] == trained[-1]["step"]


def test_the_last_held_out_loss_is_that_of_the_saved_model(aligned: Path, workshop: Path) -> None:
    """Worked out from the two directories by stock alone, on the rows that the file holds out."""
    summary = json.loads((aligned / "summary.json").read_text())
    held = {row["prompt"] for row in COMPARISONS} - trained_prompts(aligned)
    rows = [
        row
        for row in lines(aligned.parent / "pairs.jsonl")
        if row["prompt"] in held and row["chosen"] != row["rejected"]
    ]
    assert len(rows) == summary["held_out_groups"] > 1
    expected = dpo_loss(aligned, workshop / "model", rows, 0.2)
    assert summary["held_out"]["loss"]["after"]["mean"] == pytest.approx(expected, rel=1e-4)


def trained_prompts(aligned: Path) -> set[str]:
    from accord.data.order import ASKS, asks, held_out
    from accord.data.read import read_groups

    groups = list(read_groups(aligned.parent / "pairs.jsonl", on_bad_row="drop"))
    held = held_out(np.frombuffer(b"".join(map(asks, groups)), dtype=np.uint8).reshape(-1, ASKS), 0.3)
    return {str(group.prompt) for group, out in zip(groups, held, strict=True) if not out}


def test_run_yaml_repeats_the_run(aligned: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((aligned / "run.yaml").read_text())
    assert (config["beta"], config["batch_size"], config["loss_type"]) == (0.2, 4, "sigmoid")
    assert main(["dpo", f"--config={aligned / 'run.yaml'}", f"--output_dir={tmp_path / 'again'}"]) == 0
    one, other = ((path / "model.safetensors").read_bytes() for path in (aligned, tmp_path / "again"))
    assert one == other


def test_the_data_report_names_what_was_dropped(aligned: Path) -> None:
    report = json.loads((aligned / "data_report.json").read_text())
    (dropped,) = [row for rows in report["train"]["dropped"].values() for row in rows]
    assert dropped["where"] == f"{aligned.parent / 'pairs.jsonl'}:6"
    assert dropped["id"] == "c5"
    assert "same text" in dropped["why"]
    assert report["train"]["groups"] + report["held_out"]["groups"] == 23


def test_samples_before_and_after(aligned: Path) -> None:
    found = lines(aligned / "samples.jsonl")
    steps = max(line["step"] for line in lines(aligned / "metrics.jsonl"))
    assert [line["step"] for line in found] == [0, 0, steps, steps]
    assert [line["prompt"] for line in found[:2]] == [line["prompt"] for line in found[2:]]
    assert all(line["prompt"].endswith(" ?") and 1 <= line["tokens"] <= 5 for line in found)


def test_the_summary_has_intervals(aligned: Path) -> None:
    summary = json.loads((aligned / "summary.json").read_text())
    assert (summary["command"], summary["layout"]) == ("dpo", "tree")
    assert summary["train_groups"] + summary["held_out_groups"] == 23
    for name in DPO_NAMES:
        for figures in summary["held_out"][name].values():
            low, high = figures["interval"]
            assert low <= figures["mean"] <= high
    assert summary["held_out"]["loss"]["before"]["mean"] == pytest.approx(math.log(2), abs=1e-5)


def test_curves_card_and_tensorboard_are_there(aligned: Path) -> None:
    assert (aligned / "curves.png").read_bytes().startswith(PNG)
    card = (aligned / "README.md").read_text()
    assert "rewards/accuracies" in card and "beta: 0.2" in card and "1 dropped" in card
    assert any((aligned / "tensorboard").iterdir())


def test_the_result_of_a_run_loads_in_stock_with_its_template(aligned: Path, workshop: Path) -> None:
    network, tokenizer = loaded(aligned)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(workshop / "model").chat_template
    assert network.dtype == torch.float32
    before = load_file(workshop / "model" / "model.safetensors")
    assert before.keys() == load_file(aligned / "model.safetensors").keys()


def test_tokens_saved_is_what_the_tree_saves(workshop: Path, quick: Run, tmp_path: Path) -> None:
    assert quick("dpo", batch_size=24) == 0
    tokenizer = AutoTokenizer.from_pretrained(workshop / "model")
    prompts = [ids_of(tokenizer, row, "chosen")[1] for row in COMPARISONS]
    rows = sum(len(ids_of(tokenizer, row, side)[0]) for row in COMPARISONS for side in ("chosen", "rejected"))
    (line,) = lines(tmp_path / "run" / "metrics.jsonl")
    assert line["tokens_saved"] == pytest.approx(sum(prompts) / rows)


def test_the_command_line_in_a_process_of_its_own(workshop: Path, tmp_path: Path) -> None:
    """The last words, the exit code, and that the same run in Python gives the same bits."""
    options = {"model": workshop / "model", "data": workshop / "pairs.jsonl", "max_steps": 2, "threads": 1, **QUICK}
    command = [sys.executable, "-m", "accord", *words("dpo", {**options, "output_dir": tmp_path / "one"})]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "24 read, 24 kept, 0 dropped" in done.stderr
    assert "Traceback" not in done.stderr
    accord.dpo(**options, output_dir=tmp_path / "other")
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "other"))
    assert one == other
