"""What is written for `trl grpo` and `trl rloo`, or was for TRL's PPO, means the same here, or says why not."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tiny

import accord
from accord.cli import spelled
from accord.errors import InputError
from accord.records import Completion, Group, Message
from accord.stages.aliases import ANY, OLD, ROWS, Joined, Renamed, Settled
from accord.stages.commands import COMMANDS
from accord.stages.flat_yaml import Given
from accord.stages.leaves import leaves
from accord.stages.resolve import flat, load
from accord.stages.rl_aliases import RL_ROWS
from accord.stages.translate import rows_of, translate
from accord.stages.trl_function import of_groups

NEEDED = {"model": "m", "data": "p.jsonl", "output_dir": "out", "reward": "r"}
GRPO = leaves(COMMANDS["grpo"].config)

# Of GRPOConfig, RLOOConfig and their script arguments of TRL 1.16.0: the fields that its other stages have not.
FIELDS = """
num_generations num_generations_eval ds3_gather_for_generation generation_batch_size
steps_per_generation temperature top_p top_k min_p generation_kwargs chat_template_kwargs repetition_penalty
cache_implementation use_vllm vllm_mode vllm_model_impl vllm_enable_sleep_mode vllm_structured_outputs_regex
vllm_server_base_url vllm_server_host vllm_server_port vllm_server_timeout vllm_group_port vllm_gpu_memory_utilization
vllm_max_model_length vllm_tensor_parallel_size num_iterations epsilon epsilon_high delta sapo_temperature_neg
sapo_temperature_pos vespo_k_pos vespo_lambda_pos vespo_k_neg vespo_lambda_neg importance_sampling_level reward_weights
multi_objective_aggregation scale_rewards mask_truncated_completions top_entropy_quantile entropy_coef
use_adaptive_entropy entropy_coef_min entropy_coef_max entropy_coef_delta entropy_target max_tool_calling_iterations
vllm_importance_sampling_correction vllm_importance_sampling_mode vllm_importance_sampling_clip_max
vllm_importance_sampling_clip_min vllm_importance_sampling_cap off_policy_mask_threshold use_bias_correction_kl
log_completions log_multimodal num_completions_to_print log_unique_prompts log_completions_hub_repo
use_transformers_continuous_batching transformers_continuous_batching_config use_transformers_paged
cast_lm_head_to_fp32 normalize_advantages reward_clip_range reward_model_name_or_path reward_funcs
""".split()
# Those that they share with other stages, where they mean something else or have another default.
SHARED = """
beta loss_type per_device_train_batch_size gradient_accumulation_steps shuffle_dataset train_sampling_strategy
remove_unused_columns disable_dropout sync_ref_model ref_model_mixup_alpha ref_model_sync_steps model_name_or_path
max_completion_length
""".split()
# Of PPOConfig, which TRL 1.16 has no longer, and of earlier GRPOConfigs.
OLDER = """
num_ppo_epochs num_mini_batches kl_coef kl_estimator cliprange cliprange_value vf_coef gamma lam whiten_rewards
missing_eos_penalty stop_token stop_token_id response_length total_episodes sft_model_path reward_model_path exp_name
local_rollout_forward_batch_size num_sample_generations model_adapter_name ref_adapter_name
max_prompt_length
""".split()
BY_COMMAND = {"beta", "num_generations", "learning_rate"}  # TRL's default differs from one to the other


def found(command: str = "grpo", **options: object) -> dict[str, object]:
    return flat(load(COMMANDS[command].config, arguments=NEEDED | options))


def refusal(command: str = "grpo", **options: object) -> str:
    with pytest.raises(InputError) as caught:
        load(COMMANDS[command].config, arguments=NEEDED | options)
    return str(caught.value)


def test_every_option_of_theirs_has_a_row_and_every_row_an_option_of_ours() -> None:
    assert set(RL_ROWS) == {*FIELDS, *SHARED, *OLDER}
    assert len([*FIELDS, *SHARED, *OLDER]) == len(RL_ROWS)
    for name, row in RL_ROWS.items():
        assert (row.default is OLD) == (name in OLDER), name
        target = row.to if isinstance(row, Renamed | Joined) else name
        assert isinstance(row, Settled) or target in GRPO, name
        assert not (isinstance(row, Settled) and name in GRPO), name
        assert (name in ROWS) == (name in SHARED) or row.default is OLD, name


@pytest.mark.parametrize("name", [*FIELDS, *SHARED])
def test_the_default_of_trl_is_accepted_without_a_word(name: str) -> None:
    """Whoever writes down what TRL does anyway gets what he asks for."""
    if name not in BY_COMMAND:
        assert translate({name: Given(RL_ROWS[name].default)}, GRPO, "--").notes == []


def test_every_settled_option_says_why_and_what_to_do() -> None:
    for name, row in RL_ROWS.items():
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
        "from trl.scripts.grpo import GRPOScriptArguments as G\n"
        "from trl.scripts.rloo import RLOOScriptArguments as R\n"
        "def of(*classes):\n"
        "    classes = (*classes, ModelConfig, DatasetMixtureConfig)\n"
        "    fields = [f for c in classes for f in dataclasses.fields(c) if f.init]\n"
        "    made = lambda f: f.default if f.default_factory is dataclasses.MISSING else f.default_factory()\n"
        "    return {f.name: made(f) for f in fields}\n"
        "print(json.dumps([of(RLOOConfig, R), of(GRPOConfig, G)], default=str))\n"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": "", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True, env=environment)
    rloo, grpo = json.loads(done.stdout.splitlines()[-1])
    assert {*FIELDS, *SHARED} == set(RL_ROWS) & {*rloo, *grpo}
    for fields in (rloo, grpo):
        rows = rows_of(GRPO)
        assert set(fields) <= set(rows)
        assert {name for name, value in fields.items() if rows[name].default != value} <= BY_COMMAND


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_completion_length": "256"}, {"max_new_tokens": 256, "max_length": None}),
        ({"max_completion_length": 256, "max_length": 600}, {"max_new_tokens": 256, "max_length": 600}),
        ({"response_length": 53, "max_seq_length": 600}, {"max_new_tokens": 53, "max_length": 600}),
        ({"max_prompt_length": "512", "max_completion_length": 256},
         {"max_new_tokens": 256, "max_length": 768, "on_long": "truncate_prompt"}),
        ({"max_prompt_length": 512, "on_long": "drop"}, {"max_new_tokens": 128, "max_length": 640, "on_long": "drop"}),
        ({"beta": "0.04"}, {"kl_coef": 0.04}),
        ({"beta": 0.0, "num_iterations": 2}, {"kl_coef": 0.0, "num_ppo_epochs": 2}),
        ({"epsilon": "0.1", "epsilon_high": 0.1}, {"cliprange": 0.1}),
        ({"epsilon_high": None}, {"cliprange": 0.2}),
        # 8 completions a pass, 4 passes, 8 of each prompt: 4 prompts a step
        ({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4, "num_generations": 8},
         {"batch_size": 4, "num_generations": 8, "num_mini_batches": 1}),
        ({"per_device_train_batch_size": "16"}, {"batch_size": 4, "num_generations": 4}),  # of ours there are four
        ({"gradient_accumulation_steps": 2, "num_generations": 2}, {"batch_size": 8}),  # TRL's 8 a device
        ({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "steps_per_generation": 8,
          "num_generations": 4}, {"batch_size": 4, "num_mini_batches": 4}),
        ({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "generation_batch_size": 64},
         {"batch_size": 4, "num_mini_batches": 4}),
        ({"steps_per_generation": None, "generation_batch_size": None}, {"batch_size": 16, "num_mini_batches": 1}),
        ({"loss_type": "grpo"}, {"loss_aggregation": "sequence_mean"}),
        ({"loss_type": "dapo", "scale_rewards": "group"},
         {"loss_aggregation": "token_mean", "group_form": "published"}),
        ({"loss_type": ["bnpo"], "scale_rewards": False}, {"loss_aggregation": "token_mean", "group_form": "unbiased"}),
        ({"loss_type": "dr_grpo", "scale_rewards": "none"},
         {"loss_aggregation": "sequence_sum", "group_form": "unbiased"}),
        ({"use_bias_correction_kl": False}, {"kl_loss": "k3"}),
        ({"use_bias_correction_kl": "true"}, {"kl_loss": "k2"}),
        ({"mask_truncated_completions": True}, {"missing_eos": "mask", "missing_eos_penalty": None}),
        ({"mask_truncated_completions": "false", "missing_eos_penalty": "1.5"},
         {"missing_eos": "subtract", "missing_eos_penalty": 1.5}),
        ({"missing_eos_penalty": 2, "missing_eos": "replace"}, {"missing_eos": "replace", "missing_eos_penalty": 2.0}),
        ({"missing_eos_penalty": None}, {"missing_eos": "score"}),
        ({"reward_clip_range": [-5, 5]}, {"reward_clip": 5.0}),
        ({"reward_clip_range": "[-5, 5]"}, {"reward_clip": 5.0}),
        ({"disable_dropout": False, "shuffle_dataset": "false"}, {"dropout": True, "shuffle": False}),
        ({"importance_sampling_level": "token", "chat_template_kwargs": {"thinking": False}},
         {"ratio": "token", "chat_template_kwargs": {"thinking": False}}),
        ({"bf16": True, "eval_strategy": "epoch", "validation": 0.1, "save_strategy": "no"},
         {"dtype": "bf16", "eval_steps": "epoch", "save_steps": None}),
    ],
)  # fmt: skip
def test_values_mean_what_they_mean_there(given: dict[str, object], expected: dict[str, object]) -> None:
    options = found(**given)
    assert {key: options[key] for key in expected} == expected


def test_a_process_more_is_a_batch_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    options = found(per_device_train_batch_size=2, gradient_accumulation_steps=3, generation_batch_size=48)
    assert (options["batch_size"], options["num_mini_batches"]) == (6, 2)


def test_samples_in_all_become_steps() -> None:
    """TRL's PPO: a round of 8 x 2 x 4 prompts with a sample each, 3 times in 4 minibatches; 1,000 samples need 16."""
    options = found(
        "ppo", total_episodes=1000, per_device_train_batch_size=8, gradient_accumulation_steps=2, num_mini_batches=4,
        num_ppo_epochs=3,
    )  # fmt: skip
    assert (options["batch_size"], options["max_steps"]) == (16, 16 * 3 * 4)
    assert found("rl", algorithm="ppo", total_episodes=100)["max_steps"] == 7 * 4  # rounds of 16, each 4 times
    assert found("rl", algorithm="rloo", total_episodes=100)["max_steps"] == 2  # rounds of 16 x 4


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"reward_model_name_or_path": "scorer"}, "scorer"),
        ({"reward_model_path": "scorer"}, "scorer"),
        ({"reward_funcs": "lib.rewards.polite"}, "lib.rewards:polite"),
        ({"reward_funcs": '["lib.polite", "mine:short"]'}, ["lib:polite", "mine:short"]),
        ({"reward_model_name_or_path": "scorer", "reward_funcs": ["lib.polite"], "reward_weights": [1, 0.5]},
         ["scorer", "lib:polite"]),
    ],
)  # fmt: skip
def test_where_rewards_come_from(given: dict[str, object], expected: object) -> None:
    needed = {key: value for key, value in NEEDED.items() if key != "reward"}
    assert flat(load(COMMANDS["grpo"].config, arguments=needed | given))["reward"] == expected


def test_ppo_names_the_policy_and_its_tokenizer_apart(capsys: pytest.CaptureFixture[str]) -> None:
    needed = {key: value for key, value in NEEDED.items() if key not in ("model", "reward")}
    given = {"model_name_or_path": "base", "sft_model_path": "tuned", "reward_model_path": "scorer"}
    options = flat(load(COMMANDS["ppo"].config, arguments=needed | given))
    assert (options["model"], options["reward"]) == ("tuned", "scorer")
    assert capsys.readouterr().err == (
        "note: --model_name_or_path: not used, as sft_model_path is given, with its tokenizer\n"
    )


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"use_vllm": "true"}, "--use_vllm: true has no counterpart, as samples are made in this process"),
        ({"top_p": "0.9"}, "--top_p: 0.9 has no counterpart, as a policy gradient is that of the distribution"),
        ({"loss_type": "cispo"}, "--loss_type: cispo has no counterpart, as the loss is that of the clipped ratio: "
         "one of grpo, dapo, bnpo, dr_grpo"),
        ({"scale_rewards": "batch"}, "--scale_rewards: batch has no counterpart, as rewards are divided by"),
        ({"importance_sampling_level": "sequence"}, "--importance_sampling_level: sequence has no counterpart, as"),
        ({"epsilon_high": 0.28}, "--epsilon_high: 0.28 has no counterpart, as ratios have one bound on both sides"),
        ({"epsilon": 0.0}, "--epsilon: 0.0 is out of range: cliprange must be greater than 0"),
        ({"beta": 0.1, "kl_coef": 0.1}, "--kl_coef: the same option as --beta: keep one of the two"),
        ({"beta": -1}, "--beta: -1 is out of range: kl_coef must be at least 0"),
        ({"per_device_train_batch_size": 2, "num_generations": 4},
         "--per_device_train_batch_size: 2 completions by num_generations 4 is no whole number: other numbers, or"),
        ({"gradient_accumulation_steps": 4, "steps_per_generation": 6},
         "--steps_per_generation: 6 passes by those of a step, 4 is no whole number"),
        ({"reward_clip_range": [-1, 5]}, "--reward_clip_range: [-1, 5] has no counterpart, as rewards are kept within"),
        ({"sync_ref_model": "true"}, "--sync_ref_model: true has no counterpart, as the reference stays as it is"),
        ({"mask_truncated_completions": True, "missing_eos_penalty": 1},
         "--missing_eos_penalty: would not be used, as missing_eos is mask"),
        ({"max_completion_length": 0}, "--max_completion_length: 0 is out of range: max_new_tokens must be at least 1"),
        ({"kl_estimator": "k3"}, "--kl_estimator: k3 has no counterpart, as rewards have k1"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_says_why(given: dict[str, object], error: str) -> None:
    assert refusal(**given).startswith(error)


def test_functions_of_trls_own_are_not_here() -> None:
    needed = {key: value for key, value in NEEDED.items() if key != "reward"}
    for name, why in {"accuracy_reward": "it is a function of TRL's own", "mine": "it names no module"}.items():
        with pytest.raises(InputError, match=rf"^reward_funcs: {name} has no counterpart, as {why}"):
            load(COMMANDS["grpo"].config, arguments=needed | {"reward_funcs": ["lib.polite", name]}, where="")


def test_a_constant_factor_of_the_loss_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    found(loss_type="dr_grpo")
    assert capsys.readouterr().err == (
        "note: --loss_type: max_completion_length times TRL's, which max_grad_norm sees, and AdamW does not\n"
    )


def test_other_stages_keep_their_own_meaning() -> None:
    needed = {"model": "m", "data": "d.jsonl", "output_dir": "out"}
    dpo = flat(load(COMMANDS["dpo"].config, arguments=needed | {"beta": 0.3, "loss_type": ["ipo"]}))
    assert (dpo["beta"], dpo["loss_type"]) == (0.3, "ipo")
    dpo = flat(load(COMMANDS["dpo"].config, arguments=needed | {"per_device_train_batch_size": 6}))
    assert dpo["batch_size"] == 6
    with pytest.raises(InputError, match=r"^--num_iterations: unknown option"):
        load(COMMANDS["dpo"].config, arguments=needed | {"num_iterations": 1})


def test_on_the_command_line_several_words_follow_an_option() -> None:
    words = ["grpo", "--reward_funcs", "lib.a", "lib.b", "--reward_clip_range", "-5", "5", "--no_use_vllm"]
    assert spelled(words) == [
        "grpo", '--trl=reward_funcs=["lib.a", "lib.b"]', '--trl=reward_clip_range=["-5", "5"]', "--trl=use_vllm=false",
    ]  # fmt: skip


def conversation(prompt: str, answer: str) -> Group:
    return Group("g", (Message("user", prompt),), (Completion((Message("assistant", answer),)),))


def test_a_function_of_prompts_and_completions_is_called_as_trl_calls_it() -> None:
    seen: dict[str, Any] = {}

    def length(completions: list[Any], **columns: Any) -> list[float]:
        seen.update(columns, completions=completions)
        return [float(len(turns[0]["content"])) for turns in completions]

    assert list(of_groups(length, "f")([conversation("hi", "abc"), conversation("you", "")])) == [3.0, 0.0]
    assert seen["completions"] == [[{"role": "assistant", "content": "abc"}], [{"role": "assistant", "content": ""}]]
    assert seen["prompts"] == [[{"role": "user", "content": "hi"}], [{"role": "user", "content": "you"}]]

    def plain(prompts: list[str], completions: list[str], completion_ids: Any = None) -> list[float]:
        return [float(len(p + c)) for p, c in zip(prompts, completions, strict=True)]

    assert list(of_groups(plain, "f")([Group("g", "ab", (Completion("cde"),))])) == [5.0]


def test_a_function_that_wants_other_columns_is_refused_before_the_first_sample() -> None:
    def matches(completions: list[str], solution: list[str]) -> list[float]:
        return [0.0]

    with pytest.raises(
        InputError, match=r"^lib:matches: wants solution, and samples come with prompts and completions"
    ):
        of_groups(matches, "lib:matches")

    def own(groups: list[Group], completions: int = 1) -> list[float]:
        return []

    assert of_groups(own, "own") is own and of_groups(len, "len") is len


YAML = """
# As TRL's documentation has it.
model_name_or_path: {home}/model
dataset_name: {home}/prompts.jsonl
reward_funcs:
  - {function}
learning_rate: 1.0e-5
max_steps: 2
per_device_train_batch_size: 4
gradient_accumulation_steps: 2
num_generations: 4
max_completion_length: 6
max_prompt_length: null
beta: 0.04
epsilon: 0.2
loss_type: dr_grpo
scale_rewards: false
temperature: 0.9
gradient_checkpointing: false
bf16: false
logging_steps: 1
use_peft: true
lora_r: 4
lora_alpha: 8
lora_target_modules: [q_proj, v_proj]
use_vllm: false
log_completions: true
report_to: none
output_dir: {home}/out
"""
FUNCTION = """
def short(prompts, completions, **columns):
    return [-float(len(completion)) for completion in completions]
"""


def test_a_file_for_trl_grpo_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.write_model(tmp_path / "model")
    rows = [{"prompt": row["prompt"]} for row in tiny.comparisons(12)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "trl_rewards.py").write_text(FUNCTION)
    (tmp_path / "grpo.yaml").write_text(YAML.format(home=tmp_path, function="trl_rewards.short"))
    monkeypatch.syspath_prepend(tmp_path)
    result = accord.grpo(config=tmp_path / "grpo.yaml")
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert result.summary["steps"] == 2 and [line["step"] for line in lines] == [1, 2]
    assert all(line["rewards/short"] == line["objective/scores"] <= 0 for line in lines)
    assert (tmp_path / "out" / "adapter_config.json").exists()
