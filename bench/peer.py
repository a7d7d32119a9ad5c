"""The other side of one case, in its own environment and process: the trainers of TRL on the same rows, in order."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cases import BATCH, RANKED, K
from memory import Marks, peak
from samples import BETA, NEW_TOKENS, SAMPLES, reward

marks = Marks()
marks.add("start")

import torch  # noqa: E402
import transformers  # noqa: E402
import trl  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)

marks.add("imports")


class Clock(TrainerCallback):
    """Seconds from the beginning to the end of every optimiser step; loading the batch is not in it (nor in ours)."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.began = 0.0

    def on_step_begin(self, *args: Any, **options: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, *args: Any, **options: Any) -> None:
        self.seconds.append(time.perf_counter() - self.began)
        marks.add(f"step {len(self.seconds)}")


class TimedDpo(trl.DPOTrainer):  # type: ignore[misc]
    """Times the reference pass: whole, as ours is, batching included."""

    reference = 0.0

    def _precompute_ref_logps(self, *args: Any, **options: Any) -> Any:
        marks.add("model loaded")
        began = time.perf_counter()
        result = super()._precompute_ref_logps(*args, **options)
        self.reference += time.perf_counter() - began
        marks.add("reference pass")
        return result


def options(folder: str, steps: int, dtype: str) -> dict[str, Any]:
    """What both trainers are told."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": BATCH,
        "max_steps": steps,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant",
        "train_sampling_strategy": "sequential",
        "gradient_checkpointing": False,
        "bf16": dtype == "bf16",
        "use_cpu": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "seed": 0,
    }


def of_samples(common: dict[str, Any]) -> Any:
    """The same prompts of a step, each with as many samples; the end of a text is never drawn."""
    count = {"per_device_train_batch_size": BATCH * SAMPLES, "num_generations": SAMPLES, "shuffle_dataset": False}
    length = {"max_completion_length": NEW_TOKENS, "generation_kwargs": {"min_new_tokens": NEW_TOKENS}}
    return trl.GRPOConfig(**{**common, **count, **length}, beta=BETA)


def tokens(trainer: Any) -> int:
    """Those of all rows of a reward model's data, padding not counted."""
    names = [name for name in ("chosen_ids", "rejected_ids") if name in trainer.train_dataset.column_names]
    return sum(len(ids) for name in names for ids in trainer.train_dataset[name])


def main(stage: str, model: str, data: str, steps: int, dtype: str, out: Path) -> None:
    torch.set_num_threads(os.cpu_count() or 1)
    rows = [json.loads(line) for line in Path(data).read_text(encoding="utf-8").splitlines()]
    ranked, pairs = stage == "rankings", K * (K - 1) // 2
    assert len(rows) == (RANKED * pairs if ranked else BATCH) * steps
    kind = AutoModelForSequenceClassification if stage in ("reward", "rankings") else AutoModelForCausalLM
    clock = Clock()
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        given: dict[str, Any] = {
            "model": kind.from_pretrained(model, dtype=torch.float32),
            "train_dataset": Dataset.from_list(rows),
            "processing_class": AutoTokenizer.from_pretrained(model),
            "callbacks": [clock],
        }
        common = options(folder, steps, dtype)
        if stage == "grpo":
            trainer = trl.GRPOTrainer(args=of_samples(common), reward_funcs=reward, **given)
        elif stage == "dpo":
            dpo = trl.DPOConfig(**common, max_length=1024, beta=0.1, precompute_ref_log_probs=True)
            trainer = TimedDpo(args=dpo, **given)
        elif stage == "sft":
            sft = trl.SFTConfig(**common, max_length=1024, completion_only_loss=True)
            trainer = trl.SFTTrainer(args=sft, **given)
        else:
            # All pairs of a group at once, so that the memory is that of 30 rows; a step has several groups.
            cut = {"per_device_train_batch_size": pairs, "gradient_accumulation_steps": RANKED} if ranked else {}
            trainer = trl.RewardTrainer(args=trl.RewardConfig(**{**common, **cut}, max_length=1024), **given)
        trainer.train()
        marks.add("end")
    history = trainer.state.log_history
    found = {
        "steps": clock.seconds,
        "losses": [line["loss"] for line in history if "loss" in line],
        "reference": getattr(trainer, "reference", None),
        "memory": peak(),
        "tokens": tokens(trainer),
        "lengths": [line["completions/mean_length"] for line in history if "completions/mean_length" in line],
        "marks": marks,
        "versions": {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__},
    }
    out.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5], Path(sys.argv[6]))
