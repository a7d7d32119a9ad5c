"""What a run says of itself: samples, summary, the last lines on the terminal, the object that Python gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accord.models.sample import sample
from accord.stages.evaluation import Evaluation
from accord.stages.session import Session
from accord.stages.setup import say


@dataclass
class Result:
    """What a stage gives back to Python."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    metrics: dict[str, float]  # of the last log line, held-out ones as eval_...
    output_dir: Path
    summary: dict[str, Any]


def write_samples(session: Session, step: int) -> None:
    """What the model answers to a few prompts, into samples.jsonl."""
    count = session.config.run.samples
    prompts = [ids for ids in session.prompts if len(ids)][:count]
    if not prompts:
        return
    with session.begun.model.segmented():
        made = sample(
            session.begun.model.network,
            prompts,
            max_new_tokens=session.config.run.sample_tokens,
            end=int(session.begun.tokenizer.eos_token_id),
            seed=session.config.train.seed,
        )
    decode = session.begun.tokenizer.decode
    rows = [
        {"prompt": decode(prompt), "completion": decode(ids), "tokens": len(ids)}
        for prompt, ids in zip(prompts, made, strict=True)
    ]
    session.folder.add_samples(step, rows)


def summarise(
    session: Session, before: Evaluation | None, after: Evaluation | None, metrics: Mapping[str, float], seconds: float
) -> dict[str, Any]:
    now = after.to_json()["figures"] if after else {}
    was = before.to_json()["figures"] if before else {}
    held = {name: {"before": was.get(name), "after": figure} for name, figure in now.items()}
    return {
        "command": session.command,
        "steps": session.total,
        "seconds": seconds,
        "train_groups": session.begun.data.trained,
        "held_out_groups": after.groups if after else 0,
        "held_out": held,
        "metrics": dict(metrics),
        "data": {"fingerprint": session.begun.data.fingerprint, "report": session.begun.data.report.summary()},
        "layout": session.begun.model.layout,
    }


def report(session: Session, before: Evaluation | None, after: Evaluation | None, seconds: float) -> None:
    say(f"{session.total} steps in {seconds:.0f} s; the model and all about the run: {session.folder.path}")
    if after is None:
        say("no held-out data: --validation 0.1 would have said how good the model is")
        return
    for name in ("loss", "rewards/accuracies", "mean_token_accuracy"):
        if name in after.estimates:
            was = f"{before.estimates[name].mean:.4f} -> " if before else ""
            now = after.estimates[name]
            interval = f"95 % interval {now.interval.low:.4f} to {now.interval.high:.4f}"
            say(f"held-out {name}: {was}{now.mean:.4f} ({interval}; {after.groups} groups)")
