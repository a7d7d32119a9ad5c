"""What a run says of itself: samples, summary, the last lines on the terminal, the object that Python gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accord.models.sample import ends_of, sample
from accord.stages.config import DpoConfig, WriterConfig
from accord.stages.evaluation import Evaluation
from accord.stages.losses import in_numbers
from accord.stages.online_config import OnlineDpoConfig
from accord.stages.session import Session
from accord.stages.setup import say

LOSSES = DpoConfig | OnlineDpoConfig  # of stages with a loss of the tables


@dataclass
class Result:
    """What a stage gives back to Python."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    metrics: dict[str, float]  # of the last log line, held-out ones as eval_...
    output_dir: Path
    summary: dict[str, Any]


def write_samples(session: Session, step: int) -> None:
    """What the model answers to a few prompts, into samples.jsonl; nothing where it writes no text."""
    config = session.config
    if not isinstance(config, WriterConfig):
        return
    prompts = [ids for ids in session.prompts if len(ids)][: config.sampling.samples]
    if not prompts:
        return
    model, tokenizer = session.begun.model, session.begun.tokenizer
    made = sample(
        model,
        prompts,
        max_new_tokens=config.sampling.sample_tokens,
        ends=ends_of(model.network, tokenizer),
        seed=config.train.seed,
    )
    rows = [
        {"prompt": tokenizer.decode(prompt), "completion": tokenizer.decode(one.ids), "tokens": len(one.ids)}
        for prompt, (one,) in zip(prompts, made, strict=True)
    ]
    session.folder.add_samples(step, rows)


class Training(NamedTuple):
    """How the training of a run went."""

    steps: int
    seconds: float  # of training, earlier processes counted in
    before: Evaluation | None  # held-out figures before the first step
    after: Evaluation | None  # and of the model that is saved
    best: dict[str, Any] | None  # which step was best, by what; None where none is looked for
    ended: str | None  # why it ended before its last step, where it did
    warnings: Sequence[str] = ()  # what was seen while it trained, each with its step


def summarise(session: Session, went: Training, metrics: Mapping[str, float]) -> dict[str, Any]:
    now = went.after.to_json()["figures"] if went.after else {}
    was = went.before.to_json()["figures"] if went.before else {}
    held = {name: {"before": was.get(name), "after": figure} for name, figure in now.items()}
    return {
        "command": session.command,
        **({"losses": in_numbers(config.preference)} if isinstance(config := session.config, LOSSES) else {}),
        "steps": went.steps,
        "seconds": went.seconds,
        "train_groups": session.begun.data.trained,
        "held_out_groups": went.after.groups if went.after else 0,
        "held_out": held,
        "best": went.best,
        "ended": went.ended,
        "warnings": list(went.warnings),
        "changes": list(session.begun.entered.history),
        "metrics": dict(metrics),
        "data": {"fingerprint": session.begun.data.fingerprint, "report": session.begun.data.report.summary()},
        "layout": session.begun.model.layout,
    }


def report(session: Session, went: Training) -> None:
    if went.ended:
        say(f"ended after step {went.steps} of {session.total}: {went.ended}")
    say(f"{went.steps} steps in {went.seconds:.0f} s; the model and all about the run: {session.folder.path}")
    if went.best is not None and went.best["step"]:
        what = "which is saved" if went.best["saved"] else "the last is saved"
        say(f"best step by held-out {went.best['metric']}: {went.best['step']} ({went.best['value']:.4f}), {what}")
    before, after = went.before, went.after
    if after is None:
        say("no held-out data: --validation 0.1 would have said how good the model is")
        return
    for name in session.told:
        if name in after.estimates:
            was = f"{before.estimates[name].mean:.4f} -> " if before and name in before.estimates else ""
            now = after.estimates[name]
            interval = f"95 % interval {now.interval.low:.4f} to {now.interval.high:.4f}"
            say(f"held-out {name}: {was}{now.mean:.4f} ({interval}; {after.groups} groups)")
