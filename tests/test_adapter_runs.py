"""Runs that train LoRA adapters, from the command line and from Python: what they begin from, write, and refuse."""

import importlib.util
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import accord
from accord.cli import main
from accord.models.adapters import adapter_is_fresh
from accord.stages import hub
from accord.training.optimizer import Weights

QUICK: dict[str, Any] = {
    "samples": 0, "report_to": "none", "logging_steps": 1, "batch_size": 4, "max_length": 64, "learning_rate": 1e-2,
    "warmup_steps": 0, "max_steps": 4, "seed": 3,
}  # fmt: skip
LORA = {"lora_r": 4, "lora_target_modules": "q_proj,down_proj"}


def words(stage: str, options: Mapping[str, object]) -> list[str]:
    return [stage, *(f"--{key}={str(value).lower() if value is True else value}" for key, value in options.items())]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base (a Llama), pairs.jsonl, answers.jsonl, tuned (an adapter of base, by sft)."""
    home = tmp_path_factory.mktemp("home")
    tiny.write_model(home / "base")
    pairs = tiny.comparisons(12)
    answers = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in pairs]
    for name, rows in (("pairs", pairs), ("answers", answers)):
        (home / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"model": home / "base", "data": home / "answers.jsonl", "output_dir": home / "tuned", **QUICK, **LORA}
    assert main(words("sft", options)) == 0
    return home


def options(home: Path, stage: str, place: Path, **changes: object) -> dict[str, Any]:
    data = {"sft": "answers.jsonl", "dpo": "pairs.jsonl", "pretrain": "answers.jsonl"}[stage]
    return {"model": home / "base", "data": home / data, "output_dir": place, **QUICK, **changes}


def scored(home: Path, model: Path, place: Path, **more: object) -> list[float]:
    """log P of every completion of pairs.jsonl, by `accord logprobs`."""
    given = {"model": model, "data": home / "pairs.jsonl", "output": place, **more}
    assert main(words("logprobs", given)) == 0
    return [row["logprob"] for row in lines(place)]


def reference(run: Path) -> list[float]:
    found: list[float] = load_file(run / "reference.safetensors")["sum"].tolist()
    return found


def test_the_run_writes_a_stock_adapter_and_leaves_the_base_alone(home: Path) -> None:
    tuned = home / "tuned"
    files = {file.name for file in tuned.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "chat_template.jinja"} <= files
    assert not {"model.safetensors", "config.json"} & files
    config = json.loads((tuned / "adapter_config.json").read_text())
    assert config["inference_mode"] is True
    assert config["target_modules"] == ["down_proj", "q_proj"]
    network = AutoPeftModelForCausalLM.from_pretrained(str(tuned))
    tokenizer = AutoTokenizer.from_pretrained(tuned)
    row = tiny.comparisons(1)[0]
    ids = tokenizer(row["prompt"] + row["chosen"], return_tensors="pt").input_ids
    logits = network(ids).logits
    base = AutoModelForCausalLM.from_pretrained(home / "base")(ids).logits
    own = accord.logprobs(
        model=tuned, data=[{"prompt": row["prompt"], "completion": row["chosen"]}], output=home / "one.jsonl"
    )
    start = len(tokenizer(row["prompt"]).input_ids)
    targets = torch.tensor([*ids[0, start:].tolist(), tokenizer.eos_token_id])
    by_stock = logits[0, start - 1 :].log_softmax(-1).gather(1, targets[:, None]).sum().item()
    assert own[0]["logprob"] == pytest.approx(by_stock, abs=1e-4)
    assert (logits - base).abs().max() > 1e-2


def test_the_card_says_that_it_is_an_adapter(home: Path) -> None:
    card = (home / "tuned" / "README.md").read_text()
    assert "library_name: peft" in card
    assert "AutoPeftModelForCausalLM" in card
    assert f"adapter for the model `{home / 'base'}`" in card
    assert "base_model: /" not in card  # the hub refuses a path there


def test_a_checkpoint_holds_the_adapter_only(home: Path) -> None:
    (checkpoint,) = (home / "tuned" / "checkpoints").glob("step-*")
    for file in ("weights", "optimizer"):
        names = load_file(checkpoint / f"{file}.safetensors")
        assert names and all("lora_" in name for name in names)


RESUMED = {
    "dpo": ("dpo", {}),
    "bf16, DoRA, checkpointing": ("sft", {"dtype": "bf16", "use_dora": True, "gradient_checkpointing": True}),
}


@pytest.mark.parametrize("name", RESUMED)
def test_a_stopped_run_ends_as_if_it_had_not_been(
    home: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, changes = RESUMED[name]
    given = options(home, stage, tmp_path / "whole", **LORA, **changes, lora_dropout=0.3, save_steps=2)
    assert main(words(stage, given)) == 0
    step, done = Weights.step, 0

    def stopping(self: Weights, lr: float) -> None:
        nonlocal done
        step(self, lr)
        done += 1
        if done == 3:
            raise KeyboardInterrupt

    stopped = {**given, "output_dir": tmp_path / "stopped"}
    with monkeypatch.context() as patch:
        patch.setattr(Weights, "step", stopping)
        assert main(words(stage, stopped)) == 130
    assert main(words(stage, {**stopped, "resume": True})) == 0
    one, other = (load_file(tmp_path / place / "adapter_model.safetensors") for place in ("whole", "stopped"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert lines(tmp_path / "stopped" / "metrics.jsonl")[-1]["step"] == 4


def test_dropout_is_there_when_asked_for_also_where_the_activations_are_recomputed(home: Path, tmp_path: Path) -> None:
    losses = {}
    for checkpointing in (False, True):
        for dropout in (0.0, 0.5):
            place = tmp_path / f"{checkpointing}-{dropout}"
            given = options(home, "sft", place, **LORA, lora_dropout=dropout, gradient_checkpointing=checkpointing)
            assert main(words("sft", given)) == 0
            losses[checkpointing, dropout] = [row["loss"] for row in lines(place / "metrics.jsonl")][-1]
    assert losses[False, 0.0] == pytest.approx(losses[True, 0.0], abs=1e-5)
    assert losses[False, 0.5] == pytest.approx(losses[True, 0.5], abs=1e-5)
    assert losses[False, 0.0] != pytest.approx(losses[False, 0.5], abs=1e-4)


def test_the_reference_of_a_fresh_adapter_is_the_base(home: Path, tmp_path: Path) -> None:
    given = options(home, "dpo", tmp_path / "run", **LORA, validation=0.3)
    assert main(words("dpo", given)) == 0
    before, first = lines(tmp_path / "run" / "metrics.jsonl")[:2]
    for figures, prefix in ((before, "eval_"), (first, "")):
        assert figures[f"{prefix}loss"] == pytest.approx(math.log(2), abs=1e-6)
        assert figures[f"{prefix}rewards/chosen"] == pytest.approx(0.0, abs=1e-5)
    assert sorted(reference(tmp_path / "run")) == pytest.approx(
        sorted(scored(home, home / "base", tmp_path / "base.jsonl")), abs=1e-4
    )


def test_the_reference_of_a_trained_adapter_is_that_adapter(home: Path, tmp_path: Path) -> None:
    given = options(home, "dpo", tmp_path / "run", model=home / "tuned", lora_dropout=0.2)
    assert main(words("dpo", given)) == 0
    first = lines(tmp_path / "run" / "metrics.jsonl")[0]
    assert first["rewards/margins"] != 0  # of the dropout in training
    values = sorted(reference(tmp_path / "run"))
    assert values == pytest.approx(sorted(scored(home, home / "tuned", tmp_path / "tuned.jsonl")), abs=1e-4)
    base = sorted(scored(home, home / "base", tmp_path / "base.jsonl"))
    assert max(abs(one - other) for one, other in zip(values, base, strict=True)) > 0.1
    config = json.loads((tmp_path / "run" / "adapter_config.json").read_text())
    assert (config["r"], config["base_model_name_or_path"]) == (4, str(home / "base"))
    after = scored(home, tmp_path / "run", tmp_path / "after.jsonl")
    assert max(abs(one - other) for one, other in zip(sorted(after), values, strict=True)) > 0.1


def test_a_trained_adapter_begins_at_log_2(home: Path, tmp_path: Path) -> None:
    given = options(home, "dpo", tmp_path / "run", model=home / "tuned", dtype="bf16")
    assert main(words("dpo", given)) == 0
    first = lines(tmp_path / "run" / "metrics.jsonl")[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=2e-2)
    assert first["rewards/margins"] == pytest.approx(0.0, abs=2e-2)


def test_an_adapter_may_be_the_reference(home: Path, tmp_path: Path) -> None:
    given = options(home, "dpo", tmp_path / "run", **LORA, reference=home / "tuned", max_steps=1)
    assert main(words("dpo", given)) == 0
    tuned = scored(home, home / "tuned", tmp_path / "tuned.jsonl")
    assert sorted(reference(tmp_path / "run")) == pytest.approx(sorted(tuned), abs=1e-4)


def test_a_reference_that_moves_follows_the_adapter(home: Path, tmp_path: Path) -> None:
    given = options(home, "dpo", tmp_path / "run", **LORA, sync_reference="hard", sync_steps=2, max_steps=3)
    assert main(words("dpo", given)) == 0
    first, second, third = lines(tmp_path / "run" / "metrics.jsonl")
    assert (first["loss"], third["loss"]) == pytest.approx((math.log(2), math.log(2)), abs=1e-6)
    assert second["loss"] != pytest.approx(math.log(2), abs=1e-6)


def test_pretraining_an_adapter(home: Path, tmp_path: Path) -> None:
    assert main(words("pretrain", options(home, "pretrain", tmp_path / "run", lora_r=2, use_rslora=True))) == 0
    losses = [row["loss"] for row in lines(tmp_path / "run" / "metrics.jsonl")]
    assert losses[-1] < losses[0]


def test_a_moved_base_is_named(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((home / "tuned" / "adapter_config.json").read_text())
    for file in ("adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((home / "tuned" / file).read_bytes())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "/gone/base"}))
    given = {"model": tmp_path, "data": home / "pairs.jsonl", "output": tmp_path / "out.jsonl"}
    assert main(words("logprobs", given)) == 2
    assert "/gone/base is not there" in capsys.readouterr().err
    here = scored(home, tmp_path, tmp_path / "out.jsonl", base_model=home / "base")
    assert here == pytest.approx(scored(home, home / "tuned", tmp_path / "there.jsonl"), abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "tuned", "lora_r": 4}, "lora_r: the model is a trained adapter"),
        ({"base_model": "base"}, "base_model: would not be used"),
        ({"lora_dropout": 0.1}, "lora_dropout: needs an adapter"),
        ({"load_in_4bit": True}, "load_in_4bit: needs an adapter"),
        ({"lora_alpha": 16}, "--lora_alpha: would not be used"),
        ({"use_dora": True}, "--use_dora: would not be used"),
        ({"lora_r": 0}, "--lora_r: 0 is out of range"),
        ({"lora_r": 2, "lora_target_modules": " , "}, "--lora_target_modules: names no layer"),
        ({"lora_r": 2, "lora_target_modules": "all-linear,lm_head"}, "all-linear beside other names"),
        ({"lora_r": 2, "lora_target_modules": "nose"}, "lora_target_modules: the model has no layer 'nose'"),
        ({"push_to_hub": "a//b"}, "push_to_hub: 'a//b' is no repository"),
        ({"push_to_hub": "me/mine"}, "push_to_hub: HF_HUB_OFFLINE is set"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    home: Path, tmp_path: Path, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {key: home / value if key in ("model", "base_model") else value for key, value in changes.items()}
    assert main(words("sft", options(home, "sft", tmp_path / "run", **changes))) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert not (tmp_path / "run" / "adapter_config.json").exists()


def test_a_dry_run_says_how_much_is_trained(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = options(home, "sft", tmp_path / "run", lora_r=1, lora_target_modules="q_proj", dry_run=True)
    assert main(words("sft", given)) == 0
    # q_proj is 32 x 32 in each of two layers: A (1, 32) and B (32, 1)
    assert "128 trained of" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_default_learning_rate_is_remarked_on(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = options(home, "sft", tmp_path / "run", lora_r=1, dry_run=True)
    main(words("sft", given))
    assert "ten times" not in capsys.readouterr().err
    del given["learning_rate"]
    main(words("sft", given))
    assert "ten times" in capsys.readouterr().err


class TestObjects:
    """Loaded models from Python."""

    def test_a_plain_model_gets_an_adapter(self, home: Path, tmp_path: Path) -> None:
        model = AutoModelForCausalLM.from_pretrained(home / "base")
        result = accord.sft(**{**options(home, "sft", tmp_path / "one", **LORA), "model": model})
        assert not adapter_is_fresh(result.model)
        by_name = load_file(home / "tuned" / "adapter_model.safetensors")
        for key, tensor in load_file(tmp_path / "one" / "adapter_model.safetensors").items():
            torch.testing.assert_close(tensor, by_name[key], rtol=0, atol=0)

    def test_a_result_is_trained_further(self, home: Path, tmp_path: Path) -> None:
        first = accord.sft(**options(home, "sft", tmp_path / "one", **LORA))
        given = options(home, "dpo", tmp_path / "two")
        accord.dpo(**{**given, "model": first.model, "tokenizer": first.tokenizer})
        accord.dpo(**{**given, "model": tmp_path / "one", "output_dir": tmp_path / "three"})
        one, other = (load_file(tmp_path / place / "adapter_model.safetensors") for place in ("two", "three"))
        for key in one:
            torch.testing.assert_close(one[key], other[key], rtol=0, atol=1e-6)

    def test_the_base_stays_in_the_precision_that_it_was_trained_in(self, home: Path, tmp_path: Path) -> None:
        result = accord.sft(**options(home, "sft", tmp_path / "run", **LORA, dtype="bf16", max_steps=1))
        layer = result.model.model.layers[0].self_attn.q_proj
        assert layer.base_layer.weight.dtype == torch.bfloat16
        written = load_file(tmp_path / "run" / "adapter_model.safetensors")
        assert {tensor.dtype for tensor in written.values()} == {torch.float32}

    def test_a_model_of_peft(self, home: Path, tmp_path: Path) -> None:
        base = AutoModelForCausalLM.from_pretrained(home / "base")
        model = get_peft_model(base, LoraConfig(r=2, target_modules=["v_proj"], task_type="CAUSAL_LM"))
        accord.sft(**{**options(home, "sft", tmp_path / "run"), "model": model})
        written = load_file(tmp_path / "run" / "adapter_model.safetensors")
        assert {name.rpartition("layers.")[2] for name in written} == {
            f"{layer}.self_attn.v_proj.lora_{half}.weight" for layer in (0, 1) for half in "AB"
        }
        assert any(tensor.any() for name, tensor in written.items() if "lora_B" in name)


def test_merge_gives_a_whole_model_with_the_same_numbers(home: Path, tmp_path: Path) -> None:
    assert main(words("merge", {"adapter": home / "tuned", "output_dir": tmp_path / "merged"})) == 0
    own, by_adapter = (
        scored(home, model, tmp_path / "scores.jsonl") for model in (tmp_path / "merged", home / "tuned")
    )
    assert own == pytest.approx(by_adapter, abs=1e-4)
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").chat_template


def test_merge_keeps_the_number_type_or_takes_another(home: Path, tmp_path: Path) -> None:
    tiny.write_model(tmp_path / "half", AutoModelForCausalLM.from_pretrained(home / "base", dtype=torch.bfloat16))
    for name, more, dtype in (
        ("kept", {"base_model": tmp_path / "half"}, torch.bfloat16),
        ("asked", {"dtype": "bf16"}, torch.bfloat16),
        ("back", {"base_model": tmp_path / "half", "dtype": "float32"}, torch.float32),
    ):
        result = accord.merge(adapter=home / "tuned", output_dir=tmp_path / name, **more)
        assert result.model.dtype == dtype
        assert load_file(tmp_path / name / "model.safetensors")["model.norm.weight"].dtype == dtype


def test_merge_refuses_what_is_no_adapter_and_a_full_folder(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words("merge", {"adapter": home / "base", "output_dir": tmp_path / "one"})) == 2
    assert "no adapter_config.json" in capsys.readouterr().err
    assert main(words("merge", {"adapter": home / "tuned", "output_dir": home / "base"})) == 2
    assert "not empty" in capsys.readouterr().err


class Hub:
    """In the place of huggingface_hub's HfApi."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self) -> "Hub":
        return self

    def _called(self, name: str, **given: Any) -> None:
        if name == self.failing:
            raise ConnectionError("no route")
        self.calls.append((name, given))

    def create_repo(self, repo_id: str, **given: Any) -> None:
        self._called("create_repo", repo_id=repo_id, **given)

    def upload_folder(self, **given: Any) -> None:
        self._called("upload_folder", **given)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "get_token", lambda: "a token")
    return monkeypatch


def test_only_the_models_files_are_uploaded(home: Path, tmp_path: Path, online: pytest.MonkeyPatch) -> None:
    api = Hub()
    online.setattr(hub, "HfApi", api)
    assert main(words("dpo", options(home, "dpo", tmp_path / "run", **LORA, push_to_hub="me/mine", max_steps=1))) == 0
    (created, made), (uploaded, given) = api.calls
    assert (created, made) == ("create_repo", {"repo_id": "me/mine", "private": True, "exist_ok": True})
    assert (uploaded, given["repo_id"], given["folder_path"]) == ("upload_folder", "me/mine", tmp_path / "run")
    names = set(given["allow_patterns"])
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "README.md"} <= names
    assert all((tmp_path / "run" / name).is_file() for name in names)
    assert not names & {"reference.safetensors", "metrics.jsonl", "run.yaml", "summary.json", "curves.png"}


def test_nothing_reaches_the_hub_unasked(home: Path, tmp_path: Path, online: pytest.MonkeyPatch) -> None:
    api = Hub()
    online.setattr(hub, "HfApi", api)
    assert main(words("sft", options(home, "sft", tmp_path / "run", max_steps=1))) == 0
    assert main(words("sft", options(home, "sft", tmp_path / "dry", push_to_hub="me/mine", dry_run=True))) == 0
    assert api.calls == []


def test_without_a_token_nothing_begins(
    home: Path, tmp_path: Path, online: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    online.setattr(hub, "get_token", lambda: None)
    assert main(words("sft", options(home, "sft", tmp_path / "run", push_to_hub="me/mine"))) == 2
    assert "hf auth login" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("failing", ["create_repo", "upload_folder"])
def test_a_hub_that_fails_is_exit_5(
    home: Path, tmp_path: Path, online: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failing: str
) -> None:
    online.setattr(hub, "HfApi", Hub(failing))
    given = options(home, "sft", tmp_path / "run", push_to_hub="me/mine", **LORA, max_steps=1)
    assert main(words("sft", given)) == 5
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "me/mine" in error and "no route" in error
    trained = (tmp_path / "run" / "adapter_model.safetensors").is_file()
    assert trained == (failing == "upload_folder")
    if trained:  # what is left is the upload
        api = Hub()
        online.setattr(hub, "HfApi", api)
        assert main(words("sft", {**given, "resume": True})) == 0
        assert [name for name, _ in api.calls] == ["create_repo", "upload_folder"]


def test_without_bitsandbytes_its_install_is_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else find(name, *rest)
    )
    given = options(home, "sft", tmp_path / "run", **LORA, load_in_4bit=True)
    assert main(words("sft", given)) == 2
    assert "pip install bitsandbytes" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="no bitsandbytes")
@pytest.mark.parametrize("changes", [{"dtype": "float32"}, {"dtype": "bf16"}, {"use_dora": True, "dtype": "float32"}])
def test_qlora_trains_an_adapter_on_four_bits(home: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    place = tmp_path / "base"
    tiny.write_model(place, tiny.llama(vocab_size=300, hidden_size=64, intermediate_size=128))
    given = options(home, "dpo", tmp_path / "run", model=place, lora_r=4, load_in_4bit=True, max_steps=12, **changes)
    result = accord.dpo(**given)
    weight = result.model.model.layers[0].self_attn.q_proj.base_layer.weight
    assert weight.dtype == torch.uint8
    assert weight.quant_state.quant_type == "nf4" and weight.quant_state.nested
    first, *_, last = lines(tmp_path / "run" / "metrics.jsonl")
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6 if changes["dtype"] == "float32" else 2e-2)
    assert last["loss"] < first["loss"]
    again = {**given, "model": tmp_path / "run", "output_dir": tmp_path / "on", "max_steps": 1}
    del again["lora_r"]
    again.pop("use_dora", None)
    accord.dpo(**again)
    accord.logprobs(model=tmp_path / "on", data=home / "pairs.jsonl", output=tmp_path / "scores.jsonl")
