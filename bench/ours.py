"""Our side of one case, a process of its own: `accord.dpo`, `accord.sft` ... as users call it, watched from outside."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

from cases import BATCH, PROFILED, RANKED
from memory import Marks, peak
from samples import BETA, NEW_TOKENS, SAMPLES, reward

marks = Marks()
marks.add("start")

import torch  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402

import accord  # noqa: E402
from accord.models import layout, load, reference, sample  # noqa: E402
from accord.training import loop  # noqa: E402

marks.add("imports")


def timed(function: Callable[..., Any], seconds: list[float], name: str) -> Callable[..., Any]:
    """The function; every call adds its seconds and a mark."""

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        result = function(*args, **options)
        seconds.append(time.perf_counter() - began)
        marks.add(name)
        return result

    return call


def watched(fit: Callable[..., Any], operations: list[str], profiled: int | None) -> Callable[..., Iterator[Any]]:
    """The training loop with a mark after every step; `operations` gets the table of the step that is profiled."""

    def steps(*args: Any, **options: Any) -> Iterator[Any]:
        inner = fit(*args, **options)
        for step in range(1, 1_000_000):
            if step == profiled:
                with profile(activities=[ProfilerActivity.CPU]) as found:
                    result = next(inner, None)
                table = found.key_averages().table(sort_by="self_cpu_time_total", row_limit=12)
                operations.append(table)
            else:
                result = next(inner, None)
            if result is None:
                return
            marks.add(f"step {step}")
            yield result

    return steps


OWN: dict[str, dict[str, Any]] = {  # by stage; of GRPO what the other side has by default
    "dpo": {"beta": 0.1, "reference_cache": "none", "samples": 0},
    "sft": {"samples": 0},
    "grpo": {
        "reward": reward, "num_generations": SAMPLES, "max_new_tokens": NEW_TOKENS, "kl_coef": BETA, "samples": 0,
        "group_form": "published", "loss_aggregation": "token_mean",
    },
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=["dpo", "sft", "reward", "rankings", "grpo"])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("steps", type=int)
    parser.add_argument("dtype", choices=["float32", "bf16"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    pass_seconds: list[float] = []
    operations: list[str] = []
    # The stages import these names when they are first called, so they get the watched ones.
    load.load_network = timed(load.load_network, [], "model loaded")
    layout.settle = timed(layout.settle, [], "start-up comparison")
    reference.reference_logprobs = timed(reference.reference_logprobs, pass_seconds, "reference pass")
    loop.fit = watched(loop.fit, operations, PROFILED if asked.profile else None)
    sample.ends_of = lambda network, tokenizer: frozenset()  # no token ends a sample: all are of one length
    groups = RANKED if asked.stage == "rankings" else BATCH
    with tempfile.TemporaryDirectory(dir=asked.out.parent) as folder:
        result = getattr(accord, "reward" if asked.stage == "rankings" else asked.stage)(
            model=asked.model,
            data=asked.data,
            output_dir=folder,
            dtype=asked.dtype,
            device="cpu",
            shuffle=False,
            max_length=1024,
            batch_size=groups,
            max_steps=asked.steps,
            learning_rate=1e-4,
            lr_scheduler_type="constant",
            warmup_steps=0.0,
            logging_steps=1,
            save_steps=1_000_000,
            report_to="none",
            threads=os.cpu_count(),
            **OWN.get(asked.stage, {}),
        )
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    marks.add("end")
    assert result.summary["train_groups"] == groups * asked.steps, "a group was dropped: the sides differ"
    found = {
        "steps": [line["seconds_per_step"] for line in lines],
        "losses": [line["loss"] for line in lines],
        "reference": sum(pass_seconds) or None,
        "memory": peak(),
        "marks": marks,
        "operations": "".join(operations),
        "lengths": [line["completions/mean_length"] for line in lines if "completions/mean_length" in line],
        "tokens_saved": lines[-1]["tokens_saved"],
        "tokens": sum(line["tokens_per_second"] * line["seconds_per_step"] for line in lines),
        "layout": result.summary["layout"],
        "versions": {"accord": accord.__version__, "torch": torch.__version__},
    }
    asked.out.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
