"""The options of `trl grpo` and `trl rloo` (TRL 1.16) and of TRL's former PPO, and what becomes of each here.

For the commands of reinforcement learning; these rows stand before those of `accord.stages.aliases`, where a name means
something else in other stages. OLD: of PPOConfig.
"""

from accord.stages.aliases import ANY, LEFT_OUT, NO_DDP, NOT_TRUE, OLD, Joined, Renamed, Row, Same, Settled

OWN_SAMPLER = "samples are made in this process"
ON_POLICY = "a policy gradient is that of the distribution that was sampled from, which nothing is cut off"
RATIO_OF_ONE = "old log-probabilities come from the model that is trained, not from the sampler"
NOT_MOVED = "the reference stays as it is"
NO_SUCH_LOSS = "it is of a loss that is not there"

RL_ROWS: dict[str, Row] = {
    # Rewards
    "reward_model_name_or_path": Joined(None, "reward", "before those of reward_funcs"),
    "reward_funcs": Joined(
        None, "reward", "module.function is module:function; functions of prompts and completions work as they are"
    ),
    "reward_model_path": Joined(OLD, "reward", "the critic begins as it, too"),
    "reward_weights": Same(None, "one each, in the order of reward", values={"none": LEFT_OUT}),
    "multi_objective_aggregation": Settled(
        "sum_then_normalize", ("sum_then_normalize",), "rewards are added up by weight", "--reward_weights"
    ),
    "reward_clip_range": Joined(None, "reward_clip", "as far below 0 as above"),
    "whiten_rewards": Same(OLD),
    "missing_eos_penalty": Joined(OLD, "missing_eos_penalty", "and missing_eos subtract, unless that is given"),
    "mask_truncated_completions": Renamed(
        False, "missing_eos", values={"true": "mask", "false": LEFT_OUT}, only=True
    ),
    # Samples
    "num_generations": Same("8, 2 (rloo)"),
    "num_generations_eval": Settled(None, (None,), "held-out prompts have num_generations samples, too"),
    "max_completion_length": Joined(512, "max_new_tokens", "max_length is the model's context unless given"),
    "response_length": Joined(OLD, "max_new_tokens", "as max_completion_length"),
    "max_prompt_length": Joined(OLD, "max_length", "with max_completion_length, and on_long truncate_prompt"),
    "temperature": Same(1.0),
    "top_p": Settled(1.0, (1.0, None), ON_POLICY, "leave it out; --temperature"),
    "top_k": Settled(0, (0, None), ON_POLICY, "leave it out; --temperature"),
    "min_p": Settled(None, (None, 0), ON_POLICY, "leave it out; --temperature"),
    "repetition_penalty": Settled(1.0, (1.0, None), ON_POLICY, "leave it out; --temperature"),
    "generation_kwargs": Settled(None, (None, {}), ON_POLICY, "--temperature, --stop"),
    "chat_template_kwargs": Same(None, values={"none": LEFT_OUT}),
    "stop_token": Settled(OLD, (None, "eos"), "a sample ends with EOS, or at a text of stop", "--stop TEXT"),
    "stop_token_id": Settled(OLD, (None,), "a sample ends with EOS, or at a text of stop", "--stop TEXT"),
    "cache_implementation": Settled(None, ANY, "how keys and values are kept changes no sample"),
    **dict.fromkeys(("use_transformers_continuous_batching", "use_transformers_paged"),
                    Settled(False, ANY, "samples that have ended leave the batch anyway")),
    "transformers_continuous_batching_config": Settled(None, ANY, "samples that have ended leave the batch anyway"),
    "max_tool_calling_iterations": Settled(None, (None,), "a sample is one completion: no tools are called"),
    "ds3_gather_for_generation": Settled(True, ANY, NO_DDP),
    "use_vllm": Settled(False, (False,), OWN_SAMPLER),
    **{f"vllm_{name}": Settled(default, ANY, OWN_SAMPLER) for name, default in {
        "mode": "colocate", "model_impl": "vllm", "enable_sleep_mode": False, "server_base_url": None,
        "server_host": "0.0.0.0", "server_port": 8000, "server_timeout": 240.0, "group_port": 51216,
        "gpu_memory_utilization": 0.3, "max_model_length": None, "tensor_parallel_size": 1}.items()},
    "vllm_structured_outputs_regex": Settled(None, (None,), ON_POLICY),
    **{f"vllm_importance_sampling_{name}": Settled(default, ANY, RATIO_OF_ONE) for name, default in {
        "correction": True, "mode": "sequence_mask", "clip_max": 3.0, "clip_min": None, "cap": None}.items()},
    # Steps: completions there, prompts here
    "per_device_train_batch_size": Joined(
        8, "batch_size", "times gradient_accumulation_steps and the processes, over num_generations: prompts"
    ),
    "gradient_accumulation_steps": Joined(1, "batch_size", "times per_device_train_batch_size, 8 where not given"),
    "steps_per_generation": Joined(None, "num_mini_batches", "over gradient_accumulation_steps"),
    "generation_batch_size": Joined(None, "num_mini_batches", "over the completions of a step"),
    "num_iterations": Renamed(1, "num_ppo_epochs"),
    "num_ppo_epochs": Same(OLD),
    "num_mini_batches": Same(OLD),
    "total_episodes": Joined(OLD, "max_steps", "the steps that learn from so many samples"),
    "local_rollout_forward_batch_size": Settled(OLD, ANY, "micro-batches follow from max_tokens"),
    "shuffle_dataset": Renamed(True, "shuffle"),
    "train_sampling_strategy": Settled("random", ANY, "the order is that of shuffle_dataset, as there"),
    "remove_unused_columns": Settled(False, ANY, "columns that are not used are named in the data report"),
    "disable_dropout": Renamed(False, "dropout", "the other way round", values=NOT_TRUE, only=True),
    "cast_lm_head_to_fp32": Settled(False, (False,), "the output layer computes as the model does", "--dtype float32"),
    # Loss
    "beta": Renamed("0.0, 0.05 (rloo)", "kl_coef"),
    "kl_coef": Same(OLD),
    "kl_estimator": Settled(
        OLD, ("k1",), "rewards have k1, whose mean is the KL", "leave it out; kl_in loss has k2 and k3"
    ),
    "use_bias_correction_kl": Renamed(
        True, "kl_loss", "k2 of whole samples has the KL's own gradient", values={"true": "k2", "false": "k3"},
        only=True,
    ),
    "epsilon": Joined(0.2, "cliprange", "on both sides"),
    "epsilon_high": Joined(None, "cliprange", "only where it is epsilon"),
    "delta": Settled(None, (None,), "a ratio has the two bounds of cliprange"),
    "cliprange": Same(OLD),
    "importance_sampling_level": Renamed(
        "token",
        "ratio",
        "a sequence's ratio is the geometric mean of its tokens' there, and their product here (ratio sequence)",
        values={"token": "token"},
        only=True,
    ),
    "loss_type": Joined(
        "dapo", "loss_aggregation", "grpo: sequence_mean; dapo, bnpo: token_mean, of the whole step; dr_grpo: "
        "sequence_sum, which is max_completion_length times as much",
    ),
    "scale_rewards": Renamed(
        "group",
        "group_form",
        "rewards are divided by their group's spread (published) or not at all (unbiased)",
        values={"group": "published", "true": "published", "none": "unbiased", "false": "unbiased"},
        only=True,
    ),
    "normalize_advantages": Renamed(False, "whiten_advantages", "over all tokens of a round"),
    "entropy_coef": Same(0.0, "its entropy is a sum or mean as loss_aggregation says, and always a mean there"),
    "use_adaptive_entropy": Settled(False, (False,), "the weight of the entropy stays", "--entropy_coef"),
    **{f"entropy_{name}": Settled(default, ANY, "the weight of the entropy stays") for name, default in {
        "coef_min": 0.0, "coef_max": 1.0, "coef_delta": 0.005, "target": 0.2}.items()},
    "top_entropy_quantile": Settled(1.0, (1.0,), "every token of a sample is learnt from"),
    "off_policy_mask_threshold": Settled(None, (None,), "every sample is learnt from", "leave it out; --target_kl"),
    **{name: Settled(default, ANY, NO_SUCH_LOSS) for name, default in {
        "sapo_temperature_neg": 1.05, "sapo_temperature_pos": 1.0, "vespo_k_pos": 2.0, "vespo_lambda_pos": 3.0,
        "vespo_k_neg": 3.0, "vespo_lambda_neg": 2.0}.items()},
    # The critic
    **{name: Same(OLD) for name in ("vf_coef", "cliprange_value", "gamma", "lam")},
    # Models
    "sft_model_path": Joined(OLD, "model", "model_name_or_path, which is the tokenizer's there, is not needed then"),
    "model_name_or_path": Joined(None, "model", "unless sft_model_path is given"),
    "sync_ref_model": Settled(False, (False,), NOT_MOVED),
    "ref_model_mixup_alpha": Settled(0.6, ANY, NOT_MOVED),
    "ref_model_sync_steps": Settled(512, ANY, NOT_MOVED),
    **dict.fromkeys(("model_adapter_name", "ref_adapter_name"), Settled(
        OLD, (None,), "the reference is the model as it begins, its adapter with it", "--model DIR, --reference DIR"
    )),
    # Logging
    "log_completions": Settled(False, ANY, "samples are shown and kept every sample_steps"),
    "num_completions_to_print": Settled(None, ANY, "the option samples says of how many prompts one is shown"),
    "num_sample_generations": Settled(OLD, ANY, "samples are shown and kept every sample_steps"),
    "log_unique_prompts": Settled(False, ANY, "one sample of a prompt is shown"),
    "log_multimodal": Settled(True, ANY, "samples are texts"),
    "log_completions_hub_repo": Settled(None, (None,), "samples stay in the run folder"),
    "exp_name": Settled(OLD, ANY, "a run is called run_name"),
}  # fmt: skip
