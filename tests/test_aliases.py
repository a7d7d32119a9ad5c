"""What is written for `trl dpo`, `trl sft`, `trl kto` and `trl reward` means the same here, or says why not."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tiny

import accord
from accord.errors import InputError
from accord.stages.aliases import ANY, OLD, ROWS, Joined, Renamed, Same, Settled
from accord.stages.commands import COMMANDS
from accord.stages.flat_yaml import Given
from accord.stages.leaves import leaves
from accord.stages.resolve import flat, load
from accord.stages.translate import translate

NEEDED = {"model": "m", "data": "d.jsonl", "output_dir": "out"}
DOCS = Path(__file__).resolve().parents[1] / "docs"

# The fields of DPOConfig, SFTConfig, KTOConfig, RewardConfig, ScriptArguments, ModelConfig and DatasetMixtureConfig of
# TRL 1.16.0.
FIELDS = """
output_dir per_device_train_batch_size num_train_epochs max_steps learning_rate lr_scheduler_type lr_scheduler_kwargs
warmup_steps optim optim_args weight_decay adam_beta1 adam_beta2 adam_epsilon optim_target_modules
gradient_accumulation_steps average_tokens_across_devices max_grad_norm label_smoothing_factor bf16 fp16 bf16_full_eval
fp16_full_eval tf32 activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing
gradient_checkpointing_kwargs torch_compile torch_compile_backend torch_compile_mode use_liger_kernel
liger_kernel_config use_cache neftune_noise_alpha torch_empty_cache_steps auto_find_batch_size logging_strategy
logging_steps logging_first_step log_on_each_node logging_nan_inf_filter include_num_input_tokens_seen log_level
log_level_replica disable_tqdm report_to run_name project trackio_space_id trackio_bucket_id trackio_static_space_id
eval_strategy eval_steps eval_delay per_device_eval_batch_size prediction_loss_only eval_on_start
eval_do_concat_batches eval_use_gather_object eval_accumulation_steps include_for_metrics batch_eval_metrics
save_only_model save_strategy save_steps save_on_each_node save_total_limit enable_jit_checkpoint push_to_hub hub_token
hub_private_repo hub_model_id hub_strategy hub_always_push hub_revision load_best_model_at_end metric_for_best_model
greater_is_better ignore_data_skip restore_callback_states_from_checkpoint full_determinism seed data_seed use_cpu
accelerator_config parallelism_config dataloader_drop_last dataloader_num_workers dataloader_pin_memory
dataloader_persistent_workers dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order
remove_unused_columns label_names train_sampling_strategy length_column_name ddp_find_unused_parameters
ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout fsdp fsdp_config deepspeed debug
skip_memory_metrics do_train do_eval do_predict resume_from_checkpoint local_rank model_init_kwargs trust_remote_code
router_aux_loss_coef disable_dropout dataset_num_proc max_length truncation_mode padding_free pad_to_multiple_of
precompute_ref_log_probs precompute_ref_batch_size loss_type loss_weights ld_alpha f_divergence_type
f_alpha_divergence_coef label_smoothing beta use_weighting discopop_tau activation_offloading sync_ref_model
ref_model_mixup_alpha ref_model_sync_steps pad_token chat_template_path dataset_text_field dataset_kwargs eos_token
shuffle_dataset packing packing_strategy eval_packing completion_only_loss assistant_only_loss desirable_weight
undesirable_weight dataset_name dataset_config dataset_train_split dataset_test_split dataset_streaming
ignore_bias_buffers model_name_or_path model_revision dtype attn_implementation use_peft lora_r lora_alpha lora_dropout
lora_target_modules lora_target_parameters lora_modules_to_save lora_task_type use_rslora use_dora load_in_8bit
load_in_4bit bnb_4bit_quant_type use_bnb_nested_quant bnb_4bit_quant_storage datasets streaming test_split_size
center_rewards_coefficient
""".split()
# Defaults that cannot be honoured, so that they are refused where they are written down.
REFUSED = {"truncation_mode", "assistant_only_loss"}
# Left to the loss, with another default in each; of the stages; 1 is what None means; empty where we have no such list.
NO_ONE_DEFAULT = {"learning_rate", "datasets", "loss_type"}


def dpo(**options: object) -> dict[str, object]:
    return flat(load(COMMANDS["dpo"].config, arguments=NEEDED | options))


def refusal(command: str = "dpo", **options: object) -> str:
    with pytest.raises(InputError) as caught:
        load(COMMANDS[command].config, arguments=NEEDED | options)
    return str(caught.value)


def test_no_option_of_trl_is_unknown() -> None:
    ours = {key for command in ("dpo", "sft", "reward") for key in leaves(COMMANDS[command].config)}
    assert set(FIELDS) <= set(ROWS) and len(FIELDS) == len(set(FIELDS))
    for name, row in ROWS.items():
        assert (row.default is OLD) == (name not in FIELDS), name
        target = row.to if isinstance(row, Renamed | Joined) else name
        assert isinstance(row, Settled) or target in ours, name
        assert not (isinstance(row, Settled) and name in ours), name


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in NO_ONE_DEFAULT])
def test_the_default_of_trl_is_accepted_without_a_word(name: str) -> None:
    """Whoever writes down what TRL does anyway gets what he asks for."""
    given = {name: Given(ROWS[name].default)}
    if name in REFUSED:
        with pytest.raises(InputError, match="has no counterpart, as"):
            translate(given, leaves(COMMANDS["dpo"].config), "--")
    else:
        assert translate(given, leaves(COMMANDS["dpo"].config), "--").notes == [
            "--dataset_test_split: not used, as TRL uses it with eval_strategy"
        ] * (name == "dataset_test_split")


def test_every_settled_option_says_why_and_what_to_do() -> None:
    for name, row in ROWS.items():
        if isinstance(row, Settled):
            assert row.why and row.why[-1] != "." and row.fix, name
            if row.takes is not ANY:
                assert "has no counterpart, as " + row.why in refusal(**{name: "something else"})


def test_the_table_is_that_of_the_installed_trl() -> None:
    python = os.environ.get("ACCORD_BENCH_PEER_PYTHON")
    if not python:
        pytest.skip("ACCORD_BENCH_PEER_PYTHON does not name a Python with TRL")
    script = (
        "import dataclasses, json\n"
        "from trl import *\n"
        "found = {}\n"
        "trained = (KTOConfig, RewardConfig, SFTConfig, DPOConfig)\n"
        "for c in (*trained, ScriptArguments, ModelConfig, DatasetMixtureConfig):\n"
        "    for f in dataclasses.fields(c):\n"
        "        made = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default\n"
        "        if f.init: found[f.name] = made\n"
        "print(json.dumps(found, default=str))\n"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == set(FIELDS)
    different = {name for name, value in found.items() if ROWS[name].default != value}
    assert different == {"learning_rate"}  # which differs from stage to stage


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"per_device_train_batch_size": "2", "gradient_accumulation_steps": "8"}, {"batch_size": 16}),
        ({"per_device_train_batch_size": 4}, {"batch_size": 4}),
        ({"gradient_accumulation_steps": 4}, {"batch_size": 32}),  # TRL's 8 a device
        ({"bf16": "true"}, {"dtype": "bf16"}),
        ({"bf16": True, "dtype": "float32"}, {"dtype": "bf16"}),
        ({"bf16": "false", "torch_dtype": "bfloat16"}, {"dtype": "bf16"}),
        ({"bf16": False}, {"dtype": "float32"}),
        ({"torch_dtype": "auto"}, {"dtype": None}),
        ({"dtype": "bfloat16", "fp16": "false"}, {"dtype": "bf16"}),
        ({"eval_strategy": "steps", "eval_steps": "50", "validation": 0.1}, {"eval_steps": 50}),
        ({"eval_strategy": "steps", "logging_steps": 25, "validation": 0.1}, {"eval_steps": 25}),
        ({"eval_strategy": "epoch", "eval_steps": 5, "validation": 0.1}, {"eval_steps": "epoch"}),
        ({"eval_strategy": "no", "eval_steps": 5}, {"eval_steps": None}),
        ({"save_strategy": "no"}, {"save_steps": None}),
        ({"save_strategy": "epoch", "logging_strategy": "epoch"}, {"save_steps": "epoch", "logging_steps": "epoch"}),
        ({"use_peft": "true"}, {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05}),
        ({"use_peft": True, "lora_r": 64, "lora_target_modules": None}, {"lora_r": 64, "lora_alpha": 32}),
        ({"use_peft": False, "lora_r": 64}, {"lora_r": None}),
        ({"lora_r": 8}, {"lora_r": 8, "lora_dropout": 0.0}),
        ({"loss_type": ["sigmoid"]}, {"loss_type": "sigmoid"}),
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": ["1", "0.5"]},
         {"loss_type": [{"name": "sigmoid", "weight": 1.0}, {"name": "sft", "weight": 0.5}]}),
        ({"loss_type": '["sigmoid", "bco_pair"]', "loss_weights": '["2", "1"]'},
         {"loss_type": [{"name": "sigmoid", "weight": 2.0}, {"name": "bco_pair", "weight": 1.0}]}),
        ({"warmup_ratio": "0.2"}, {"warmup_steps": 0.2}),
        ({"max_steps": "-1"}, {"max_steps": None}),
        ({"optim": "adamw_torch_fused", "lr_scheduler_type": "constant_with_warmup"},
         {"optimizer": "adamw", "lr_scheduler_type": "constant"}),
        ({"sync_ref_model": True, "ref_model_mixup_alpha": 0.5, "ref_model_sync_steps": 64},
         {"sync_reference": "soft", "sync_alpha": 0.5, "sync_steps": 64}),
        ({"disable_dropout": "false"}, {"dropout": True}),
        ({"use_cpu": True}, {"device": "cpu"}),
        ({"truncation_mode": "keep_end"}, {"on_long": "truncate_prompt"}),
        ({"resume_from_checkpoint": "true"}, {"resume": True}),
        ({"resume_from_checkpoint": "out/checkpoint-5"}, {"resume": "out/checkpoint-5"}),
        ({"save_total_limit": None}, {"save_total_limit": None}),
        ({"save_total_limit": 1}, {"save_total_limit": 2}),
        ({"train_sampling_strategy": "sequential"}, {"shuffle": False}),
        ({"push_to_hub": True, "hub_model_id": "me/mine"}, {"push_to_hub": "me/mine"}),
        ({"push_to_hub": "me/mine"}, {"push_to_hub": "me/mine"}),
        ({"push_to_hub": False}, {"push_to_hub": None}),
        ({"ld_alpha": None, "beta": "0.3", "f_divergence_type": "js_divergence"},
         {"ld_alpha": 1.0, "beta": 0.3, "f_divergence_type": "js_divergence"}),
    ],
)  # fmt: skip
def test_values_mean_what_they_mean_there(given: dict[str, object], expected: dict[str, object]) -> None:
    found = dpo(**given)
    assert {key: found[key] for key in expected} == expected


def test_a_process_more_is_a_batch_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert dpo(per_device_train_batch_size=2, gradient_accumulation_steps=3)["batch_size"] == 24


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"dataset_name": "trl-lib/x", "eval_strategy": "steps"}, ("trl-lib/x", "train", "trl-lib/x", "test")),
        ({"dataset_name": "trl-lib/x", "eval_strategy": "no"}, ("trl-lib/x", "train", None, None)),
        ({"dataset_name": "x", "eval_strategy": "epoch", "dataset_train_split": "a", "dataset_test_split": "b"},
         ("x", "a", "x", "b")),
        ({"dataset_name": "x", "eval_strategy": "steps", "validation": 0.1}, ("x", "train", None, None)),
        ({"dataset_name": "x", "eval_steps": 500}, ("x", "train", None, None)),
        ({"data": "x", "eval_data": "y", "dataset_test_split": "b"}, ("x", "train", "y", "b")),
        ({"datasets": [{"path": "x", "split": "s", "columns": None}]}, ("x", "s", None, None)),
        ({"datasets": [{"path": "json", "data_files": "x.jsonl"}]}, ("x.jsonl", "train", None, None)),
    ],
)  # fmt: skip
def test_what_is_held_out_is_what_trl_holds_out(given: dict[str, object], expected: tuple[object, ...]) -> None:
    config = load(COMMANDS["dpo"].config, arguments={"model": "m", "output_dir": "o"} | given)
    found = flat(config)
    assert tuple(found[key] for key in ("data", "split", "eval_data", "eval_split")) == expected


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"fp16": "true"}, "--fp16: true has no counterpart, as nothing is trained in float16: --dtype bf16"),
        ({"dtype": "float16"}, "--dtype: float16 has no counterpart, as models compute in float32 or bf16"),
        ({"optim": "adafactor"}, "--optim: adafactor has no counterpart, as the optimisers are AdamW"),
        ({"lr_scheduler_type": "cosine_with_restarts"},
         "--lr_scheduler_type: 'cosine_with_restarts' is not one of the choices"),
        ({"packing": "true"}, "--packing: true has no counterpart, as micro-batches are filled anyway"),
        ({"save_strategy": "best"}, "--save_strategy: best has no counterpart"),
        ({"logging_strategy": "no"}, "--logging_strategy: no has no counterpart"),
        ({"warmup_ratio": "1.5"}, "--warmup_ratio: 1.5 has no counterpart, as it is a fraction of all steps"),
        ({"per_device_train_batch_size": "0"}, "--per_device_train_batch_size: 0 is not a whole number, at least 1"),
        ({"max_seq_length": "1"}, "--max_seq_length: 1 is out of range: max_length must be at least 2"),
        ({"model_name_or_path": "x"}, "--model_name_or_path: the same option as --model: keep one of the two"),
        ({"bf16": "true", "dtype": "float32", "torch_dtype": "auto"},
         "--torch_dtype: the same option as --dtype: keep one of the two"),
        ({"loss_weights": ["1"]}, "--loss_weights: "),
        ({"loss_type": ["sigmoid", "ipo"], "loss_weights": ["1"]}, "--loss_weights: 1 weights for 2 losses"),
        ({"push_to_hub": "true"}, "--push_to_hub: true has no counterpart, as it takes the name on the hub"),
        ({"eval_strategy": "steps"}, "--eval_strategy: no held-out data to evaluate on: give validation"),
        ({"datasets": [{"path": "a"}, {"path": "b"}]}, "--datasets: the same option as --data"),
        ({"hub_token": "secret-1"}, "--hub_token: what stands there has no counterpart, as secrets do not belong"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_says_why(given: dict[str, object], error: str) -> None:
    assert refusal(**given).startswith(error)


def test_a_mixture_keeps_what_is_ours_and_parts_of_data_sets_are_refused_with_the_reason() -> None:
    given = {"model": "m", "output_dir": "o", "datasets": [{"path": "a", "columns": None}, {"path": "b", "weight": 2}]}
    config: Any = load(COMMANDS["sft"].config, arguments=given)
    assert config.data.data == [{"path": "a"}, {"path": "b", "weight": 2}]
    with pytest.raises(InputError, match="datasets: this has no counterpart, as parts of data sets"):
        load(COMMANDS["sft"].config, arguments={"datasets": [{"path": "a", "columns": ["x"]}, {"path": "b"}]})


def test_stages_differ() -> None:
    sft = flat(load(COMMANDS["sft"].config, arguments=NEEDED | {"loss_type": "nll"}))
    assert "loss_type" not in sft
    assert refusal("sft", loss_type="dft").startswith("--loss_type: dft has no counterpart, as this stage has one loss")
    assert refusal("sft", beta=0.1).startswith("--beta: unknown option")
    with pytest.raises(InputError, match=r"^--fp16: unknown option"):  # it trains nothing
        load(COMMANDS["logprobs"].config, arguments={"model": "m", "data": "d", "output": "o", "fp16": False})
    kto = flat(load(COMMANDS["kto"].config, arguments=NEEDED | {"loss_type": ["kto"], "desirable_weight": 1.5}))
    assert (kto["loss_type"], kto["desirable_weight"]) == ("kto", 1.5)


def test_the_command_line_wins_over_the_file_in_any_spelling(tmp_path: Path) -> None:
    file = tmp_path / "trl.yaml"
    file.write_text(
        "model_name_or_path: a\nper_device_train_batch_size: 4\ngradient_accumulation_steps: 8\nbf16: true\n"
    )

    def found(**arguments: object) -> dict[str, object]:
        rest = {"data": "d", "output_dir": "o"}
        return flat(load(COMMANDS["dpo"].config, file=str(file), arguments=rest | arguments))

    assert (found()["model"], found()["batch_size"]) == ("a", 32)
    assert found(model="b")["model"] == "b"
    assert found(per_device_train_batch_size=2)["batch_size"] == 16
    assert found(batch_size=5)["batch_size"] == 5
    assert found(bf16=False)["dtype"] == "float32"


def test_an_error_names_what_was_written_where(tmp_path: Path) -> None:
    file = tmp_path / "trl.yaml"
    file.write_text("model_name_or_path: a\nmodel: b\n")
    with pytest.raises(InputError, match=r"trl.yaml:2: model: the same option as .*trl.yaml:1: model_name_or_path"):
        load(COMMANDS["dpo"].config, file=str(file))
    file.write_text("model: a\n\ngradient_accumulation_steps: x\n")
    with pytest.raises(InputError, match=r"trl.yaml:3: gradient_accumulation_steps: x is not a whole number"):
        load(COMMANDS["dpo"].config, file=str(file))


def test_what_has_no_effect_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    dpo(precompute_ref_log_probs=True, dataloader_num_workers=0, padding_free="false")
    assert capsys.readouterr().err == (
        "note: --precompute_ref_log_probs: not needed here: the reference is always computed once, before step 1, and "
        "kept\n"
    )


YAML = """
# As TRL's documentation has it.
model_name_or_path: {home}/model
dataset_name: {home}/prefs.jsonl
test_split_size: 0.3
learning_rate: 5.0e-6
num_train_epochs: 1
per_device_train_batch_size: 2
gradient_accumulation_steps: 4
gradient_checkpointing: true
bf16: false
eval_strategy: steps
eval_steps: 2
logging_steps: 1
use_peft: true
lora_r: 4
lora_alpha: 8
lora_target_modules: [q_proj, v_proj]
loss_type: [sigmoid, ipo]
loss_weights: [1.0, 0.5]
dataloader_num_workers: 2
report_to: none
output_dir: {home}/out
"""


def test_a_file_for_trl_dpo_trains(tmp_path: Path) -> None:
    tiny.write_model(tmp_path / "model")
    (tmp_path / "prefs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tiny.comparisons(30)))
    (tmp_path / "dpo.yaml").write_text(YAML.format(home=tmp_path))
    result = accord.dpo(config=tmp_path / "dpo.yaml", max_length=200)
    assert result.summary["steps"] == -(-result.summary["train_groups"] // 8)
    assert (tmp_path / "out" / "adapter_config.json").exists()
    again = accord.dpo(
        model_name_or_path=str(tmp_path / "model"), dataset_name=str(tmp_path / "prefs.jsonl"), max_steps=1,
        output_dir=tmp_path / "python", report_to="none", per_device_train_batch_size=4,
    )  # fmt: skip
    assert again.summary["steps"] == 1


def test_the_page_for_those_who_come_from_trl_is_current() -> None:
    found = importlib.util.spec_from_file_location("from_trl", DOCS / "from_trl.py")
    assert found is not None and found.loader is not None
    page: Any = importlib.util.module_from_spec(found)
    found.loader.exec_module(page)
    text = (DOCS / "from_trl.md").read_text(encoding="utf-8")
    assert page.renewed(text) == text, "run `python docs/from_trl.py`"
    assert all(f"`{name}`" in text for name in ROWS)


def test_rows_that_have_the_same_name_are_ours() -> None:
    ours = leaves(COMMANDS["dpo"].config)
    assert all(name in ours for name, row in ROWS.items() if isinstance(row, Same))
