"""The options of TRL 1.16 (`trl dpo`, `trl sft`, `trl kto`, `trl reward`), and a few of earlier versions, and what
becomes of each here.

One row an option; `accord.stages.translate` applies them and docs/from_trl.md is made from them. Every row begins with
TRL's default (OLD where TRL 1.16 has dropped the option).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

OLD = object()  # stands for the default of an option that TRL 1.16 no longer has
ANY: tuple[object, ...] = ("any",)  # every value
LEFT_OUT = object()  # a value that means that our option is not given


class Same(NamedTuple):
    """Ours, under the same name. values: words of TRL's that have another name here."""

    default: object
    why: str = ""  # what the page says of it
    values: Mapping[str, object] = {}


class Renamed(NamedTuple):
    """Ours, under another name. values: as in Same; with `only`, other values are refused."""

    default: object
    to: str
    why: str = ""
    values: Mapping[str, object] = {}
    only: bool = False


class Joined(NamedTuple):
    """Decides our option `to` together with others: a function in `accord.stages.translate` says how."""

    default: object
    to: str
    why: str


class Settled(NamedTuple):
    """Nothing to choose here. `takes`: the values that are accepted, as what they ask for is done or without effect."""

    default: object
    takes: tuple[object, ...]
    why: str
    fix: str = "leave it out"


Row = Same | Renamed | Joined | Settled

NOT_TRUE: Mapping[str, object] = {"true": False, "false": True}
SPEED = "changes the speed at most"
NO_DDP = "Accord trains without accelerate and DeepSpeed"
LOADER = "no loader processes: data are tokens in memory before the first step"
REPORTER = "set its own environment variable"

ROWS: dict[str, Row] = {
    # Model
    "model_name_or_path": Renamed(None, "model"),
    "model_revision": Settled("main", ("main", None), "revisions are not chosen", "download it, --model DIR"),
    "trust_remote_code": Same(False),
    "dtype": Joined("float32", "dtype", "bfloat16 is bf16, auto is left to Accord; with bf16 true it is bf16"),
    "torch_dtype": Joined(OLD, "dtype", "as dtype"),
    "bf16": Joined(None, "dtype", "true: dtype bf16; false: dtype float32, unless dtype says bfloat16"),
    "fp16": Joined(False, "dtype", "there is no training in float16: bf16"),
    "bf16_full_eval": Settled(False, (False,), "held-out figures are computed in the numbers of training"),
    "fp16_full_eval": Settled(False, (False,), "held-out figures are computed in the numbers of training"),
    "tf32": Settled(None, (None, False), "float32 means float32", "--dtype bf16 is faster"),
    "attn_implementation": Settled(None, ANY, "the attention follows from the layout; the numbers are the same"),
    "model_init_kwargs": Settled(None, (None, {}), "the model is loaded as its directory says", "--dtype, --device"),
    "use_cache": Settled(False, ANY, "whether keys and values are kept follows from --layout"),
    "use_cpu": Renamed(False, "device", values={"true": "cpu", "false": LEFT_OUT}, only=True),
    "no_cuda": Renamed(OLD, "device", values={"true": "cpu", "false": LEFT_OUT}, only=True),
    "chat_template_path": Renamed(None, "chat_template", "a file with the template"),
    "eos_token": Settled(None, (None,), "the end of a text is the tokenizer's own", "change the tokenizer"),
    "pad_token": Settled(None, (None,), "padding is never read: no token is needed for it"),
    "disable_dropout": Renamed(True, "dropout", "the other way round", values=NOT_TRUE, only=True),
    "router_aux_loss_coef": Settled(None, (None,), "the coefficient is the one in the model's config.json"),
    # Adapters
    "use_peft": Joined(False, "lora_r", "true: lora_r 16, lora_alpha 32, lora_dropout 0.05 unless given"),
    "lora_r": Same(16, "its being given turns LoRA on"),
    "lora_alpha": Same(32),
    "lora_dropout": Same(0.05),
    "lora_target_modules": Same(None, "all-linear where not given", values={"none": LEFT_OUT}),
    "lora_target_parameters": Settled(None, (None,), "adapters go on linear layers", "--lora_target_modules"),
    "lora_modules_to_save": Settled(
        None, (None, [], ["score"], "score"), "with LoRA only the adapters are trained, and a reward model's score head"
    ),
    "lora_task_type": Settled("CAUSAL_LM", ("CAUSAL_LM", "SEQ_CLS"), "the stage decides it"),
    "use_rslora": Same(False),
    "use_dora": Same(False),
    "load_in_4bit": Same(False),
    "load_in_8bit": Settled(False, (False,), "quantised bases are of 4 bits", "--load_in_4bit"),
    "bnb_4bit_quant_type": Settled("nf4", ("nf4",), "4 bits means nf4"),
    "use_bnb_nested_quant": Settled(False, (False,), "the constants of nf4 are not quantised again"),
    "bnb_4bit_quant_storage": Settled(None, (None, "uint8"), "4-bit weights are stored as uint8"),
    # Data
    "dataset_name": Renamed(None, "data", "a .jsonl file, too"),
    "dataset_config": Settled(None, (None, "default"), "subsets are not chosen", "save it as .jsonl, --data FILE"),
    "dataset_train_split": Renamed("train", "split"),
    "dataset_test_split": Joined("test", "eval_split", "used where eval_strategy is not no: that split is held out"),
    "dataset_streaming": Settled(False, (False,), "data are read whole, so that their order is a function of the seed"),
    "streaming": Settled(False, (False,), "data are read whole, so that their order is a function of the seed"),
    "datasets": Joined([], "data", "entries with path, split, data_files, and weight, which TRL has not"),
    "test_split_size": Renamed(None, "validation", "chosen by a hash of the prompt"),
    "dataset_text_field": Settled("text", ("text",), "the column is called text", "rename the column"),
    "dataset_kwargs": Settled(None, (None, {}), "data are read as their columns say"),
    "dataset_num_proc": Settled(None, ANY, LOADER),
    "shuffle_dataset": Settled(False, ANY, "every epoch has a new order anyway, unless --shuffle false"),
    "train_sampling_strategy": Renamed(
        "random", "shuffle", "not by length", values={"random": True, "sequential": False}, only=True
    ),
    "group_by_length": Settled(OLD, (False,), "micro-batches have groups of like length anyway, steps are random"),
    "length_column_name": Settled("length", ANY, "lengths are counted"),
    "label_names": Settled(None, (None,), "the columns that are read have fixed names"),
    "remove_unused_columns": Settled(True, ANY, "columns that are not used are named in the data report"),
    "max_length": Same(1024, "a longer group is dropped and counted, or see on_long"),
    "max_seq_length": Renamed(OLD, "max_length"),
    "max_prompt_length": Settled(
        OLD, (None,), "only the whole has a limit, max_length", "leave it out; --on_long says what happens"
    ),
    "max_completion_length": Settled(
        OLD, (None,), "completions are never cut: their ends would be learnt", "leave it out; --on_long"
    ),
    "truncation_mode": Renamed(
        "keep_start",
        "on_long",
        "keep_start cuts the ends of completions, and what is left would be learnt as if it ended there",
        values={"keep_end": "truncate_prompt"},
        only=True,
    ),
    "packing": Settled(
        False, (False,), "micro-batches are filled anyway, and batch_size counts demonstrations, not blocks",
        "leave it out and raise the batch size",
    ),
    "packing_strategy": Settled("bfd", ANY, "micro-batches are filled without mixing demonstrations"),
    "eval_packing": Settled(None, (None, False), "held-out figures are those of single demonstrations"),
    "padding_free": Settled(False, ANY, "there is next to no padding anyway"),
    "pad_to_multiple_of": Settled("auto", ANY, "padding changes no number"),
    "completion_only_loss": Settled(None, (None, True), "sft learns completions only", "accord pretrain learns all"),
    "assistant_only_loss": Settled(
        False, (True,), "sft learns the assistant's turns only", "leave it out; accord pretrain learns all turns"
    ),
    # Loss
    "beta": Same(0.1),
    "loss_type": Joined(["sigmoid"], "loss_type", "a list becomes a combination; of sft only nll"),
    "loss_weights": Joined(None, "loss_type", "the weights of a list of losses"),
    "label_smoothing": Same(0.0),
    "center_rewards_coefficient": Renamed(None, "center_coefficient", values={"none": LEFT_OUT}),
    "ld_alpha": Same(None, "not given: off, which is 1", values={"none": LEFT_OUT}),
    "f_divergence_type": Same("reverse_kl"),
    "f_alpha_divergence_coef": Same(0.5),
    "use_weighting": Same(False),
    "discopop_tau": Same(0.05),
    "desirable_weight": Same(1.0),
    "undesirable_weight": Same(1.0),
    "rpo_alpha": Renamed(OLD, "nll_weight"),
    "reference_free": Settled(OLD, (False,), "losses without reference have names", "--loss_type simpo, cpo or orpo"),
    "label_smoothing_factor": Settled(0.0, (0.0,), "it would smooth the words' likelihood, not the preferences"),
    "precompute_ref_log_probs": Settled(False, ANY, "the reference is always computed once, before step 1, and kept"),
    "precompute_ref_batch_size": Settled(None, ANY, "micro-batches follow from max_tokens"),
    "sync_ref_model": Renamed(False, "sync_reference", values={"true": "soft", "false": LEFT_OUT}, only=True
    ),
    "ref_model_mixup_alpha": Renamed(0.6, "sync_alpha"),
    "ref_model_sync_steps": Renamed(512, "sync_steps"),
    # Steps, optimiser and schedule
    "per_device_train_batch_size": Joined(8, "batch_size", "times gradient_accumulation_steps and the processes"),
    "gradient_accumulation_steps": Joined(1, "batch_size", "times per_device_train_batch_size, 8 where not given"),
    "auto_find_batch_size": Settled(False, (False,), "max_tokens bounds the memory; the batch stays what was asked"),
    "num_train_epochs": Same(3.0),
    "max_steps": Same(-1, values={"-1": LEFT_OUT}),
    "learning_rate": Same("1e-6, 2e-5 (sft)"),
    "lr_scheduler_type": Same(
        "linear", "constant has a warm-up here",
        values={"constant_with_warmup": "constant"},
    ),
    "lr_scheduler_kwargs": Settled(None, (None, {}), "the schedules have no options beside the warm-up"),
    "warmup_steps": Same(0),
    "warmup_ratio": Joined(OLD, "warmup_steps", "below 1, where warmup_steps is that fraction"),
    "optim": Renamed(
        "adamw_torch_fused",
        "optimizer",
        "the optimisers are AdamW, SGD, Adagrad and RMSprop, in float32",
        values=dict.fromkeys(("adamw_torch", "adamw_torch_fused", "adamw_hf", "adamw"), "adamw")
        | {"sgd": "sgd", "adagrad": "adagrad", "rmsprop": "rmsprop"},
        only=True,
    ),
    "optim_args": Settled(None, (None,), "the optimisers' options have names", "--adam_beta1, --momentum ..."),
    "optim_target_modules": Settled(None, (None,), "the optimiser is the same for every layer"),
    "weight_decay": Same(0.0),
    "adam_beta1": Same(0.9),
    "adam_beta2": Same(0.999),
    "adam_epsilon": Same(1e-8),
    "max_grad_norm": Same(1.0),
    "gradient_checkpointing": Same(True),
    "activation_checkpointing": Renamed(None, "gradient_checkpointing", values={"none": LEFT_OUT}),
    "gradient_checkpointing_kwargs": Settled(None, ANY, "activations are computed again by the non-reentrant way"),
    "activation_checkpointing_kwargs": Settled(None, ANY, "activations are computed again by the non-reentrant way"),
    "activation_offloading": Settled(False, ANY, "activations stay on the device; max_tokens bounds them"),
    "average_tokens_across_devices": Settled(True, (True,), "a step's loss is a mean over the whole step, always"),
    "neftune_noise_alpha": Settled(None, (None,), "embeddings get no noise"),
    "seed": Same(42),
    "data_seed": Settled(None, (None,), "weights, order and dropout have one seed", "--seed"),
    "full_determinism": Settled(False, (False,), "a CPU gives the same bits anyway, a GPU is not forced to"),
    "torch_compile": Settled(False, ANY, SPEED),
    "torch_compile_backend": Settled(None, ANY, SPEED),
    "torch_compile_mode": Settled(None, ANY, SPEED),
    "use_liger_kernel": Settled(False, ANY, "the full logits are never held anyway"),
    "liger_kernel_config": Settled(None, ANY, "the full logits are never held anyway"),
    "torch_empty_cache_steps": Settled(None, ANY, SPEED),
    # Evaluation
    "eval_strategy": Joined("no", "eval_steps", "no: at the end only; steps: eval_steps; epoch: eval_steps epoch"),
    "evaluation_strategy": Joined(OLD, "eval_steps", "as eval_strategy"),
    "eval_steps": Same(None, "a whole number or epoch"),
    "eval_delay": Settled(0, (0,), "the first evaluation is before the first step"),
    "eval_on_start": Settled(False, ANY, "held-out data are evaluated before the first step anyway"),
    "per_device_eval_batch_size": Settled(8, ANY, "held-out figures are the same at any batch size"),
    "eval_accumulation_steps": Settled(None, ANY, "held-out figures are the same at any batch size"),
    "prediction_loss_only": Settled(False, ANY, "all figures come from the one pass"),
    "include_for_metrics": Settled([], ([], None), "figures come from the objective"),
    "batch_eval_metrics": Settled(False, ANY, "figures are added up row by row anyway"),
    "eval_do_concat_batches": Settled(True, ANY, "figures are added up row by row anyway"),
    "eval_use_gather_object": Settled(False, ANY, NO_DDP),
    "generate_during_eval": Settled(OLD, ANY, "--samples answers are written before and after training"),
    "metric_for_best_model": Same(None, "the prefix eval_ may be left out"),
    "greater_is_better": Same(None, "has to agree with the figure's own direction"),
    "load_best_model_at_end": Same(False),
    # Logging
    "logging_strategy": Joined("steps", "logging_steps", "epoch: logging_steps epoch; metrics are always written"),
    "logging_steps": Same(10, "a whole number or epoch"),
    "logging_first_step": Settled(False, ANY, "held-out figures are written before step 1 anyway"),
    "logging_dir": Settled(OLD, (None,), "curves are in output_dir/tensorboard"),
    "logging_nan_inf_filter": Settled(True, ANY, "a loss that is not finite ends the run"),
    "log_level": Settled("passive", ANY, "there is one level"),
    "log_level_replica": Settled("warning", ANY, "there is one level"),
    "log_on_each_node": Settled(True, ANY, "the first process writes"),
    "include_num_input_tokens_seen": Settled("no", ANY, "tokens per second are written anyway"),
    "disable_tqdm": Settled(None, ANY, "a bar is drawn on terminals only"),
    "report_to": Same("none", "tensorboard unless said otherwise", values={"all": "tensorboard,wandb,trackio,mlflow"}),
    "run_name": Same(None),
    "project": Same("huggingface"),
    "trackio_space_id": Settled(None, (None,), "trackio stays on this machine", "TRACKIO_SPACE_ID in the shell"),
    "trackio_bucket_id": Settled(None, (None,), "trackio stays on this machine", REPORTER),
    "trackio_static_space_id": Settled(None, (None, False), "trackio stays on this machine", REPORTER),
    "skip_memory_metrics": Settled(True, ANY, "memory is measured by --dry_run"),
    "debug": Settled("", ("", []), "--debug has no value here: it shows the traceback of a failure"),
    # Saving
    "output_dir": Same(None),
    "overwrite_output_dir": Settled(OLD, (False,), "no run is ever written over", "--resume, or a new folder"),
    "save_strategy": Joined("steps", "save_steps", "no: at the end only; epoch: save_steps epoch; not best"),
    "save_steps": Same(500, "a whole number or epoch"),
    "save_total_limit": Same(None, "at least 2, so that a damaged one loses nothing", values={"1": 2}),
    "save_only_model": Settled(False, ANY, "a checkpoint has all that exact resuming needs"),
    "save_safetensors": Settled(OLD, (True,), "nothing is ever pickled"),
    "save_on_each_node": Settled(False, ANY, "the first process writes"),
    "enable_jit_checkpoint": Settled(False, (False,), "a killed run resumes from its last checkpoint"),
    "resume_from_checkpoint": Renamed(None, "resume", "true or a path", values={"none": LEFT_OUT}),
    "ignore_data_skip": Settled(False, (False,), "a resumed run goes on with the data that it has not seen"),
    "restore_callback_states_from_checkpoint": Settled(False, ANY, "early stopping is always restored"),
    "push_to_hub": Joined(False, "push_to_hub", "USER/NAME; where it is true, hub_model_id is the name"),
    "hub_model_id": Joined(None, "push_to_hub", "the name, where push_to_hub is true"),
    "hub_token": Settled(None, (None,), "secrets do not belong in a config", "HF_TOKEN in the shell"),
    "hub_private_repo": Settled(None, (None, True), "a new repository is private", "open it on the hub"),
    "hub_strategy": Settled("every_save", ANY, "the model is pushed once, at the end"),
    "hub_always_push": Settled(False, (False,), "the model is pushed once, at the end"),
    "hub_revision": Settled(None, (None,), "the main branch is pushed to"),
    # Processes and machines
    **dict.fromkeys(("accelerator_config", "parallelism_config", "deepspeed", "fsdp", "fsdp_config"),
                    Settled(None, (None, {}, ""), NO_DDP)),
    **dict.fromkeys(("ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_static_graph",
                     "ddp_backend"), Settled(None, ANY, NO_DDP)),
    "ddp_timeout": Settled(1800, ANY, NO_DDP),
    "local_rank": Settled(-1, ANY, NO_DDP),
    "ignore_bias_buffers": Settled(False, ANY, NO_DDP),
    "dataloader_drop_last": Settled(False, (False,), "the last, smaller step of an epoch is made"),
    "dataloader_num_workers": Settled(0, ANY, LOADER),
    "dataloader_pin_memory": Settled(True, ANY, LOADER),
    "dataloader_persistent_workers": Settled(False, ANY, LOADER),
    "dataloader_prefetch_factor": Settled(None, ANY, LOADER),
    "dataloader_multiprocessing_context": Settled(None, ANY, LOADER),
    "dataloader_in_order": Settled(True, (True,), LOADER),
    "do_train": Settled(False, ANY, "a stage trains, and evaluates what is held out"),
    "do_eval": Settled(False, ANY, "a stage trains, and evaluates what is held out"),
    "do_predict": Settled(False, (False,), "a stage trains, and evaluates what is held out", "accord logprobs"),
}  # fmt: skip
