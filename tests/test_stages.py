"""From files to an aligned model and back: what each stage writes, refuses, accepts, and says."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import accord
from accord.cli import main
from accord.models.load import save
from accord.records import Completion, Group, Judgement
from accord.training.run import RunFolder

ROOT = Path(__file__).resolve().parents[1]
PNG = b"\x89PNG\r\n\x1a\n"
COMPARISONS = tiny.comparisons(24)
QUICK: dict[str, Any] = {"samples": 0, "report_to": "none", "logging_steps": 1, "batch_size": 8, "max_tokens": 300}


def write_lines(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def words(stage: str, options: Mapping[str, object]) -> list[str]:
    return [stage, *(f"--{key}={str(value).lower() if value is True else value}" for key, value in options.items())]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model (a Llama), other (another one), gpt2, pairs.jsonl, chats.jsonl, texts.jsonl."""
    home = tmp_path_factory.mktemp("home")
    tiny.write_model(home / "model")
    tiny.write_model(home / "other", tiny.llama(vocab_size=300, seed=1))
    tiny.write_model(home / "gpt2", tiny.gpt2(vocab_size=300, n_positions=64))
    write_lines(home / "pairs.jsonl", COMPARISONS)
    chats = [
        [
            {"role": ("user", "assistant")[turn % 2], "content": tiny.sentence(900 + 5 * i + turn, 3)}
            for turn in range(4)
        ]
        for i in range(12)
    ]
    write_lines(home / "chats.jsonl", ({"messages": chat} for chat in chats))
    write_lines(home / "texts.jsonl", tiny.texts(20))
    return home


Run = Callable[..., int]


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Run:
    """run("dpo", beta=0.2): a quick run of that command into tmp_path/run; its exit code."""

    def run(stage: str, **options: object) -> int:
        files = {"pretrain": "texts.jsonl", "sft": "chats.jsonl", "dpo": "pairs.jsonl"}
        usual = {"model": home / "model", "data": home / files[stage], "output_dir": tmp_path / "run", **QUICK}
        return main(words(stage, {**usual, **options}))

    return run


def ids_of(tokenizer: Any, row: Mapping[str, str], side: str) -> tuple[list[int], int]:
    """The ids of prompt and completion with EOS, and how many are the prompt's (a completion begins with a blank)."""
    prompt = tokenizer(row["prompt"]).input_ids
    whole = [*tokenizer(row["prompt"] + row[side]).input_ids, tokenizer.eos_token_id]
    assert whole[: len(prompt)] == prompt
    return whole, len(prompt)


@torch.no_grad()
def stock_logprob(network: Any, tokenizer: Any, row: Mapping[str, str], side: str) -> tuple[float, int]:
    """(log P(completion | prompt), its tokens) by stock transformers alone."""
    ids, start = ids_of(tokenizer, row, side)
    logp = network(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return sum(float(logp[place - 1, ids[place]]) for place in range(start, len(ids))), len(ids) - start


def loaded(directory: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)


def dpo_loss(policy: Path, reference: Path, rows: Iterable[Mapping[str, str]], beta: float) -> float:
    (one, tokenizer), (other, _) = loaded(policy), loaded(reference)
    losses = []
    for row in rows:
        h = [
            stock_logprob(one, tokenizer, row, side)[0] - stock_logprob(other, tokenizer, row, side)[0]
            for side in ("chosen", "rejected")
        ]
        losses.append(math.log1p(math.exp(-beta * (h[0] - h[1]))))
    return sum(losses) / len(losses)


def assert_stock_loads(directory: Path, network: Any) -> None:
    """Stock transformers load the directory, and their logits are those of the network that Python got."""
    again, tokenizer = loaded(directory)
    ids = torch.tensor([tokenizer("the cat sat on a mat").input_ids])
    with torch.no_grad():
        assert torch.equal(again(ids).logits, network(ids).logits)


# ---- the whole way -------------------------------------------------------------------------------------------------


def test_from_nothing_to_an_aligned_model(home: Path, tmp_path: Path) -> None:
    """init -> pretrain -> sft -> dpo -> logprobs, each from what the one before wrote; every step learns."""
    new = accord.init(
        data=home / "pairs.jsonl", output_dir=tmp_path / "new", vocab_size=300, hidden_size=32, layers=1, heads=2
    )
    assert_stock_loads(tmp_path / "new", new.model)
    assert new.model.get_input_embeddings().weight.shape == (300, 32)
    how: dict[str, Any] = {**QUICK, "learning_rate": 1e-2, "num_train_epochs": 3}
    base = accord.pretrain(
        model=tmp_path / "new", data=home / "texts.jsonl", output_dir=tmp_path / "base",
        **{**how, "batch_size": 2, "max_length": 32},
    )  # fmt: skip
    tuned = accord.sft(model=tmp_path / "base", data=home / "pairs.jsonl", output_dir=tmp_path / "tuned", **how)
    aligned = accord.dpo(model=tmp_path / "tuned", data=home / "pairs.jsonl", output_dir=tmp_path / "aligned", **how)
    for result in (base, tuned, aligned):
        assert_stock_loads(result.output_dir, result.model)
        losses = [line["loss"] for line in lines(result.output_dir / "metrics.jsonl")]
        assert losses[-1] < 0.9 * losses[0]
    rows = accord.logprobs(model=aligned.output_dir, data=home / "pairs.jsonl", output=tmp_path / "scores.jsonl")
    assert rows == lines(tmp_path / "scores.jsonl")
    assert len(rows) == 48
    assert aligned.metrics["rewards/accuracies"] > 0.5


def test_logprobs_are_stock_in_the_order_of_the_file(home: Path, tmp_path: Path) -> None:
    options = {"model": home / "model", "data": home / "pairs.jsonl", "output": tmp_path / "o" / "x.jsonl"}
    assert main(words("logprobs", options)) == 0
    network, tokenizer = loaded(home / "model")
    found = lines(tmp_path / "o" / "x.jsonl")
    assert [list(row) for row in found] == [["id", "completion", "logprob", "tokens"]] * 48
    assert [(row["id"], row["completion"]) for row in found] == [(r["id"], k) for r in COMPARISONS for k in (0, 1)]
    sides = [(row, side) for row in COMPARISONS for side in ("chosen", "rejected")]
    for row, (one, side) in zip(found, sides, strict=True):
        logprob, tokens = stock_logprob(network, tokenizer, one, side)
        assert row["logprob"] == pytest.approx(logprob, abs=1e-4)
        assert row["tokens"] == tokens


@pytest.mark.parametrize("options", [{"layout": "rows"}, {"max_tokens": 20}])
def test_logprobs_do_not_depend_on_how_they_are_computed(home: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    same = {"model": home / "model", "data": home / "pairs.jsonl", "output": tmp_path / "x.jsonl"}
    one, other = (accord.logprobs(**same, **how) for how in ({}, options))
    assert [row["logprob"] for row in one] == pytest.approx([row["logprob"] for row in other], abs=1e-4)


def test_logprobs_of_a_ranking_and_of_a_chat(home: Path, tmp_path: Path) -> None:
    row = {"prompt": "the cat", "completions": [" sat", " ran far", " sang"], "ranks": [2, 1, 1]}
    found = accord.logprobs(model=home / "model", data=[row], output=tmp_path / "x.jsonl")
    assert [(r["id"], r["completion"]) for r in found] == [("1", 0), ("1", 1), ("1", 2)]
    chat = accord.logprobs(model=home / "model", data=home / "chats.jsonl", output=tmp_path / "y.jsonl")
    assert len(chat) == 12


def test_prompts_without_completions_have_no_logprobs(home: Path, tmp_path: Path) -> None:
    data = write_lines(tmp_path / "prompts.jsonl", [{"prompt": "the cat"}, {"prompt": "dogs"}])
    code = main(words("logprobs", {"model": home / "model", "data": data, "output": tmp_path / "x.jsonl"}))
    assert code in (0, 2)
    assert code == 2 or lines(tmp_path / "x.jsonl") == []


# ---- the run folder ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aligned(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `accord dpo` with everything on, one bad row dropped."""
    place = tmp_path_factory.mktemp("aligned")
    rows = [*COMPARISONS[:5], {**COMPARISONS[5], "rejected": COMPARISONS[5]["chosen"]}, *COMPARISONS[6:]]
    options = {
        "model": home / "model", "data": write_lines(place / "pairs.jsonl", rows), "output_dir": place / "run",
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


def test_the_last_held_out_loss_is_that_of_the_saved_model(aligned: Path, home: Path) -> None:
    """Worked out from the two directories by stock alone, on the rows that the file holds out."""
    summary = json.loads((aligned / "summary.json").read_text())
    held = {row["prompt"] for row in COMPARISONS} - trained_prompts(aligned)
    rows = [
        row
        for row in lines(aligned.parent / "pairs.jsonl")
        if row["prompt"] in held and row["chosen"] != row["rejected"]
    ]
    assert len(rows) == summary["held_out_groups"] > 1
    expected = dpo_loss(aligned, home / "model", rows, 0.2)
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


def test_the_result_of_a_run_loads_in_stock_with_its_template(aligned: Path, home: Path) -> None:
    network, tokenizer = loaded(aligned)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(home / "model").chat_template
    assert network.dtype == torch.float32
    before = load_file(home / "model" / "model.safetensors")
    assert before.keys() == load_file(aligned / "model.safetensors").keys()


def test_tokens_saved_is_what_the_tree_saves(home: Path, run: Run, tmp_path: Path) -> None:
    assert run("dpo", batch_size=24) == 0
    tokenizer = AutoTokenizer.from_pretrained(home / "model")
    prompts = [ids_of(tokenizer, row, "chosen")[1] for row in COMPARISONS]
    rows = sum(len(ids_of(tokenizer, row, side)[0]) for row in COMPARISONS for side in ("chosen", "rejected"))
    (line,) = lines(tmp_path / "run" / "metrics.jsonl")
    assert line["tokens_saved"] == pytest.approx(sum(prompts) / rows)


def test_the_command_line_in_a_process_of_its_own(home: Path, tmp_path: Path) -> None:
    """The last words, the exit code, and that the same run in Python gives the same bits."""
    options = {"model": home / "model", "data": home / "pairs.jsonl", "max_steps": 2, "threads": 1, **QUICK}
    command = [sys.executable, "-m", "accord", *words("dpo", {**options, "output_dir": tmp_path / "one"})]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "24 read, 24 kept, 0 dropped" in done.stderr
    assert "Traceback" not in done.stderr
    accord.dpo(**options, output_dir=tmp_path / "other")
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "other"))
    assert one == other


# ---- stages --------------------------------------------------------------------------------------------------------


def test_pretrain_loss_is_the_mean_over_all_tokens(home: Path, run: Run, tmp_path: Path) -> None:
    """Step 1 of 1 sees every text: -log P of each token after the first, EOS too, by stock."""
    assert run("pretrain", batch_size=100, max_steps=1, max_length=64) == 0
    network, tokenizer = loaded(home / "model")
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


def test_pretrain_of_a_text_one_token_longer_than_a_block(home: Path, run: Run, tmp_path: Path) -> None:
    """The rest of one token has nothing that predicts it. In a step of its own it is a step that changes nothing."""
    tokenizer = AutoTokenizer.from_pretrained(home / "model")
    text = tiny.texts(1)[0]["text"]
    length = len(tokenizer(text).input_ids)  # one less than with EOS
    data = write_lines(tmp_path / "one.jsonl", [{"text": text}])
    assert run("pretrain", data=data, max_length=length, batch_size=1) == 0


@torch.no_grad()
def chat_loss(home: Path, wanted: Callable[[int], bool]) -> float:
    """Mean -log P over the assistant turns `wanted` (1 or 3), by the masks of stock `apply_chat_template`."""
    network, tokenizer = loaded(home / "model")
    total = count = 0
    for row in lines(home / "chats.jsonl"):
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
def test_sft_learns_the_turns_asked_for(home: Path, run: Run, tmp_path: Path, turns: str) -> None:
    assert run("sft", turns=turns, batch_size=100) == 0
    (line,) = lines(tmp_path / "run" / "metrics.jsonl")
    assert line["loss"] == pytest.approx(chat_loss(home, lambda turn: turns == "all" or turn == 3), rel=1e-4)


def test_sft_with_the_auxiliary_loss(home: Path, run: Run, tmp_path: Path) -> None:
    """alpha L_LM + L_FT by stock: all tokens but the first, and those of the assistant."""
    assert run("sft", lm_alpha=0.5, batch_size=100) == 0
    network, tokenizer = loaded(home / "model")
    everything = count = 0.0
    with torch.no_grad():
        for row in lines(home / "chats.jsonl"):
            ids = tokenizer.apply_chat_template(row["messages"]).input_ids
            logp = network(torch.tensor([ids])).logits[0].log_softmax(-1)
            everything -= sum(float(logp[i - 1, ids[i]]) for i in range(1, len(ids)))
            for turn in (1, 3):
                start = len(tokenizer.apply_chat_template(row["messages"][:turn], add_generation_prompt=True).input_ids)
                count += len(tokenizer.apply_chat_template(row["messages"][: turn + 1]).input_ids) - start
    (line,) = lines(tmp_path / "run" / "metrics.jsonl")
    completion = chat_loss(home, lambda turn: True)
    assert line["loss"] == pytest.approx(0.5 * everything / count + completion, rel=1e-4)
    assert line["nll"] == pytest.approx(completion, rel=1e-4)


def test_sft_with_a_mix(home: Path, run: Run, tmp_path: Path) -> None:
    """Of 16 groups a step a quarter are blocks of text; the loss is 3/4 of one mean and 1/4 of the other."""
    assert run("sft", mix=home / "texts.jsonl", mix_fraction=0.25, batch_size=16, max_length=64) == 0
    (line,) = lines(tmp_path / "run" / "metrics.jsonl")
    assert line["loss"] == pytest.approx(0.75 * chat_loss(home, lambda turn: True) + 0.25 * line["mix/loss"], rel=1e-4)


def test_sft_holds_out_and_dpo_holds_out_the_same_prompts(home: Path, run: Run, tmp_path: Path) -> None:
    held = []
    for stage in ("sft", "dpo"):
        options = {"data": home / "pairs.jsonl", "validation": 0.3, "output_dir": tmp_path / stage, "samples": 64}
        assert run(stage, **options, sample_tokens=1, max_steps=1) == 0
        held.append({line["prompt"] for line in lines(tmp_path / stage / "samples.jsonl")})
    assert held[0] == held[1]
    assert 2 < len(held[0]) < 14


def test_dpo_against_another_reference(home: Path, run: Run, tmp_path: Path) -> None:
    """At step 0 the loss is no longer log 2 but what the two models say."""
    assert run("dpo", reference=home / "other", batch_size=24, beta=0.3) == 0
    (line,) = lines(tmp_path / "run" / "metrics.jsonl")
    expected = dpo_loss(home / "model", home / "other", COMPARISONS, 0.3)
    assert abs(expected - math.log(2)) > 0.05
    assert line["loss"] == pytest.approx(expected, rel=1e-4)


def test_dpo_against_the_starting_model_named_as_reference(home: Path, run: Run, tmp_path: Path) -> None:
    assert run("dpo", reference=home / "model", batch_size=24) == 0
    assert lines(tmp_path / "run" / "metrics.jsonl")[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_a_ranking_with_ties_begins_at_log_2_too(run: Run, tmp_path: Path) -> None:
    row = {"prompt": "the cat", "completions": [" sat", " ran far", " sang"]}
    rows = [{**row, "ranks": ranks} for ranks in ([1, 2, 2], [3, 1, 2])]
    assert run("dpo", data=write_lines(tmp_path / "ranks.jsonl", rows), validation=0) == 0
    (line,) = lines(tmp_path / "run" / "metrics.jsonl")
    assert line["loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_held_out_data_of_its_own(home: Path, run: Run, tmp_path: Path) -> None:
    held = write_lines(tmp_path / "held.jsonl", tiny.comparisons(6, first=500))
    assert run("dpo", eval_data=held, max_steps=1) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["held_out_groups"] == 6


def test_bf16_trains_and_is_saved_in_float32(home: Path, run: Run, tmp_path: Path) -> None:
    assert run("dpo", dtype="bf16", learning_rate=1e-3, num_train_epochs=3, validation=0.3) == 0
    assert {tensor.dtype for tensor in load_file(tmp_path / "run" / "model.safetensors").values()} == {torch.float32}
    held = [line for line in lines(tmp_path / "run" / "metrics.jsonl") if "eval_loss" in line]
    assert held[0]["eval_loss"] == pytest.approx(math.log(2), abs=2e-2)


def test_gradient_checkpointing_learns_the_same(home: Path, run: Run, tmp_path: Path) -> None:
    for name, on in (("plain", False), ("again", True)):
        assert run("sft", output_dir=tmp_path / name, gradient_checkpointing=on, learning_rate=1e-3) == 0
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "again"))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("average", ["ema", "iterate"])
def test_the_average_is_what_is_saved_and_measured(home: Path, run: Run, tmp_path: Path, average: str) -> None:
    """Also where the last step is one that evaluates: its figures are those of the saved model, and stand once."""
    options = {"average": average, "ema_decay": 0.5, "learning_rate": 1e-2, "eval_steps": 1, "validation": 0.3}
    assert run("dpo", data=home / "pairs.jsonl", **options, max_steps=2, warmup_steps=0) == 0
    held = [line for line in lines(tmp_path / "run" / "metrics.jsonl") if "eval_loss" in line]
    assert [line["step"] for line in held] == [0, 1, 2]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert held[-1]["eval_loss"] == summary["held_out"]["loss"]["after"]["mean"]
    again = accord.dpo(
        model=tmp_path / "run", reference=home / "model", data=home / "pairs.jsonl", validation=0.3, max_steps=1,
        output_dir=tmp_path / "again", **QUICK,
    )  # fmt: skip
    before = again.summary["held_out"]["loss"]["before"]["mean"]
    assert before == pytest.approx(held[-1]["eval_loss"], rel=1e-4)


# ---- refused -------------------------------------------------------------------------------------------------------


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


BAD = [
    ("dpo", {"prompt": "p", "chosen": "", "rejected": " b"}, "chosen"),
    ("dpo", {"prompt": "p", "chosen": " a", "rejected": " a"}, "same text"),
    ("dpo", {"prompt": "p", "chosen": " a"}, "rejected"),
    ("dpo", {"prompt": 3, "chosen": " a", "rejected": " b"}, "prompt"),
]


@pytest.mark.parametrize(("stage", "row", "field"), BAD)
def test_a_bad_row_is_named_and_nothing_is_written(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str, row: object, field: str
) -> None:
    data = write_lines(tmp_path / "bad.jsonl", [COMPARISONS[0], row, COMPARISONS[1]])
    assert run(stage, data=data) == 2
    line = last_line(capsys)
    assert line.startswith(f"error[2] {data}:2: ") and field in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl"]


def test_every_bad_row_is_dropped_and_counted(run: Run, tmp_path: Path) -> None:
    data = write_lines(tmp_path / "bad.jsonl", [COMPARISONS[0], *(row for _, row, _ in BAD), COMPARISONS[1]])
    assert run("dpo", data=data, on_bad_row="drop") == 0
    report = json.loads((tmp_path / "run" / "data_report.json").read_text())["train"]
    assert (report["read"], report["kept"], report["groups"]) == (6, 2, 2)
    places = sorted(row["where"] for rows in report["dropped"].values() for row in rows)
    assert places == [f"{data}:{n}" for n in (2, 3, 4, 5)]


def test_a_file_without_preferences_is_not_for_dpo(run: Run, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dpo", data=home / "chats.jsonl") == 2
    assert "chats.jsonl:1" in last_line(capsys)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "/nowhere/model"}, "/nowhere/model: no such directory"),
        ({"data": "/nowhere/data.jsonl"}, "/nowhere/data.jsonl: no such file"),
        ({"reference": "/nowhere/model"}, "/nowhere/model: no such directory"),
        ({"beta": 0}, "beta"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": "nan"}, "learning_rate"),
        ({"max_length": 4}, "max_length"),
        ({"device": "toaster"}, "device"),
        ({"chat_template": "/nowhere/t.jinja"}, "/nowhere/t.jinja"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_refused_in_one_line(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, object], said: str
) -> None:
    assert run("dpo", **options) == 2
    line = last_line(capsys)
    assert line.startswith("error[2] ") and said in line
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_vocabulary_too_small_is_refused_and_the_folder_stays_free(
    home: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also while the error is still held, as a notebook does: the next try may use the same folder."""
    tiny.write_model(tmp_path / "small", tiny.llama(vocab_size=200))
    options: dict[str, Any] = {"data": home / "pairs.jsonl", "output_dir": tmp_path / "run", "max_steps": 1, **QUICK}
    with pytest.raises(accord.InputError, match="200 rows") as held:
        accord.dpo(model=tmp_path / "small", **options)
    assert held.tb is not None
    assert accord.dpo(model=home / "model", **options).metrics["loss"] > 0


def test_the_folder_of_another_run_is_left_alone(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sft", max_steps=1) == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir() if path.name != "run.lock"}
    for stage in ("sft", "dpo"):
        assert run(stage) == 2
        assert "holds a run of `accord sft`" in last_line(capsys)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir() if path.name != "run.lock"}
    assert before == after


def test_a_folder_with_other_files_is_left_alone(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years")
    assert run("dpo") == 2
    assert "not empty" in last_line(capsys)


def test_a_folder_in_use_is_exit_4(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunFolder(tmp_path / "run") as folder:
        folder.claim("dpo")
        assert run("dpo") == 4
    assert "in use by another run" in last_line(capsys)


def test_divergence_is_exit_3_and_names_the_step(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"learning_rate": 1e30, "optimizer": "sgd", "max_grad_norm": 0, "warmup_steps": 0, "batch_size": 2}
    assert run("sft", **options) == 3
    line = last_line(capsys)
    assert line.startswith("error[3] step 2: loss ") and "learning_rate" in line


def test_held_out_prompts_that_are_trained_on_are_refused(
    home: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("dpo", eval_data=home / "pairs.jsonl") == 2
    assert "also trained on" in last_line(capsys)


@pytest.mark.parametrize("stage", ["pretrain", "sft", "dpo"])
def test_a_dry_run_says_it_all_and_writes_nothing(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    assert run(stage, dry_run=True, validation=0.3, max_length=64) == 0
    assert list(tmp_path.iterdir()) == []
    said = capsys.readouterr().err
    for what in ("groups", "tokens", "steps", "memory", "time", "data"):
        assert what in said


def test_longer_than_the_model_can_is_too_long(
    run: Run, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """GPT-2 with a table of 64 places and a row of more than 100 tokens: the length policy has the last word."""
    row = {"id": "long", "prompt": "the cat " * 60, "chosen": " sat", "rejected": " ran"}
    data = write_lines(tmp_path / "long.jsonl", [*COMPARISONS, row])
    assert run("dpo", model=home / "gpt2", data=data) == 0
    assert "64" in capsys.readouterr().err
    report = json.loads((tmp_path / "run" / "data_report.json").read_text())["train"]
    assert [row["id"] for rows in report["dropped"].values() for row in rows] == ["long"]
    assert run("dpo", model=home / "gpt2", data=data, on_long="error", output_dir=tmp_path / "strict") == 2
    assert f"{data}:25" in last_line(capsys)


def test_samples_stop_where_the_model_ends(run: Run, home: Path, tmp_path: Path) -> None:
    """A prompt of 40 tokens, and 64 more asked for of a model with 64 places."""
    row = {"prompt": "the cat " * 18, "chosen": " sat", "rejected": " ran"}
    data = write_lines(tmp_path / "long.jsonl", [row, *COMPARISONS])
    assert run("dpo", model=home / "gpt2", data=data, max_length=64, samples=2, sample_tokens=64, max_steps=1) == 0
    assert len(lines(tmp_path / "run" / "samples.jsonl")) == 4


def test_a_model_with_soft_caps_trains_with_samples(run: Run, tmp_path: Path) -> None:
    network = tiny.gemma2()
    network.resize_token_embeddings(300)
    tiny.write_model(tmp_path / "gemma", network)
    assert run("sft", model=tmp_path / "gemma", samples=2, sample_tokens=4, max_steps=1) == 0


# ---- objects -------------------------------------------------------------------------------------------------------


def as_groups() -> list[Group]:
    first_is_best = (Judgement(ranks=(1, 2)),)
    return [
        Group(row["id"], row["prompt"], (Completion(row["chosen"]), Completion(row["rejected"])), first_is_best)
        for row in COMPARISONS
    ]


@pytest.mark.parametrize("kind", ["rows", "groups"])
def test_objects_give_the_same_model_as_names(home: Path, tmp_path: Path, kind: str) -> None:
    network, tokenizer = loaded(home / "model")
    data: Any = COMPARISONS if kind == "rows" else as_groups()
    how: dict[str, Any] = {**QUICK, "max_steps": 2, "warmup_steps": 0, "learning_rate": 1e-3}
    accord.dpo(model=network, tokenizer=tokenizer, data=data, output_dir=tmp_path / "one", **how)
    accord.dpo(model=home / "model", data=home / "pairs.jsonl", output_dir=tmp_path / "other", **how)
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "other"))
    assert one == other


def test_a_loaded_model_brings_its_own_tokenizer_and_may_be_its_own_reference(home: Path, tmp_path: Path) -> None:
    network, _ = loaded(home / "model")
    how: dict[str, Any] = {**QUICK, "batch_size": 24, "output_dir": tmp_path / "r"}
    result = accord.dpo(model=network, reference=network, data=COMPARISONS, **how)
    assert result.metrics["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert result.output_dir == tmp_path / "r"
    assert result.summary["train_groups"] == 24


def test_a_run_from_objects_can_be_resumed(home: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {**QUICK, "output_dir": tmp_path / "r", "max_steps": 2}
    for resume in (False, True):
        network, tokenizer = loaded(home / "model")
        result = accord.dpo(model=network, tokenizer=tokenizer, data=COMPARISONS, resume=resume, **options)
        assert result.summary["steps"] == 2


def test_scoring_with_a_loaded_model_leaves_it_as_it_was(home: Path, tmp_path: Path) -> None:
    """GPT-2 as `from_config` makes it: in training mode, with dropout 0.1. Scores have no dropout."""
    network, tokenizer = tiny.gpt2(vocab_size=300), AutoTokenizer.from_pretrained(home / "model")
    sides = [(row, side) for row in COMPARISONS[:3] for side in ("chosen", "rejected")]
    expected = [stock_logprob(network, tokenizer, row, side)[0] for row, side in sides]
    network.train()
    found = accord.logprobs(model=network, tokenizer=tokenizer, data=COMPARISONS[:3], output=tmp_path / "x.jsonl")
    assert [row["logprob"] for row in found] == pytest.approx(expected, abs=1e-4)
    assert network.training
    assert network.config._attn_implementation == "sdpa"


def test_a_model_that_cannot_be_written_leaves_the_one_before(home: Path, tmp_path: Path) -> None:
    """A directory stands where the weights of the new model would be put aside: as good as a full disk."""
    network, tokenizer = loaded(home / "model")
    (tmp_path / "model.safetensors").write_bytes(b"the one before")
    (tmp_path / ".model.tmp").write_text("in the way")
    with pytest.raises(accord.StorageError, match="cannot be written"):
        save(network, tokenizer, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == b"the one before"


def test_a_saved_model_leaves_nothing_aside(home: Path, tmp_path: Path) -> None:
    network, tokenizer = loaded(home / "model")
    save(network, tokenizer, tmp_path)
    assert not (tmp_path / ".model.tmp").exists()
    again, _ = loaded(tmp_path)
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_pretrain_has_no_length_policy_as_it_packs(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("pretrain", on_long="error") == 2
    assert "unknown option" in last_line(capsys)


def test_a_mix_needs_room_in_the_batch(run: Run, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sft", mix=home / "pairs.jsonl", mix_fraction=0.1, batch_size=1) == 2
    assert "batch_size" in last_line(capsys)
