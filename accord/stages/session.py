"""One training run from start to end: what pretrain, sft and dpo share once they have data and an objective."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accord.data.batches import Batch, micro_batches
from accord.errors import InputError
from accord.models.load import save
from accord.models.logprobs import LanguageModel
from accord.models.sample import sample
from accord.stages.card import model_card
from accord.stages.config import TrainingConfig
from accord.stages.course import Course
from accord.stages.evaluation import Evaluation, evaluate
from accord.stages.options import TrainOptions
from accord.stages.resolve import dump, flat, load
from accord.stages.setup import (
    Data, Given, Machine, Take, Tokenise, dialogue_of, load_data, machine, network_of, ready, say, tokenizer_of
)
from accord.training import checkpoint
from accord.training.averaging import AVERAGES
from accord.training.loop import Means, StepResult, fit
from accord.training.objectives import Objective
from accord.training.optimizer import Recipe, Weights, options_of, recipe
from accord.training.progress import Progress
from accord.training.run import RunFolder
from accord.training.schedule import SCHEDULES, warmup_count

# Options that do not change what a run computes: they may differ when it is resumed.
FREE = {
    "output_dir", "resume", "logging_steps", "eval_steps", "save_steps", "save_total_limit", "report_to", "samples",
    "sample_tokens", "threads", "dry_run",
}  # fmt: skip


@dataclass
class Result:
    """What a stage gives back to Python."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    metrics: dict[str, float]  # of the last log line, held-out ones as eval_...
    output_dir: Path
    summary: dict[str, Any]


@dataclass
class Session:
    """A run that is ready to train."""

    command: str
    config: TrainingConfig
    begun: Begun
    course: Course
    held_objective: Objective
    prompts: Sequence[Any]  # token ids to sample from, before and after

    @property
    def total(self) -> int:
        """The optimiser steps of the whole run."""
        return total_steps(self.config.train, self.course.per_epoch)

    @property
    def folder(self) -> RunFolder:
        """The run folder; not in a dry run, which ends before."""
        assert self.begun.folder is not None
        return self.begun.folder

    def held_batches(self) -> Iterator[Batch]:
        """Micro-batches over the held-out groups."""
        data, model = self.begun.data, self.begun.model
        return micro_batches(data.groups, data.held, max_tokens=self.config.train.max_tokens, layout=model.layout)


def total_steps(train: TrainOptions, per_epoch: int) -> int:
    """max_steps where given, else the epochs' steps, a fraction rounded up."""
    return train.max_steps or max(1, math.ceil(round(train.num_train_epochs * per_epoch, 6)))


def optimizer_recipe(train: TrainOptions) -> Recipe:
    """The optimiser that the options ask for; options of other optimisers are left aside."""
    every = {
        "betas": (train.adam_beta1, train.adam_beta2),
        "eps": train.adam_epsilon if train.optimizer.startswith("adam") else None,
        "momentum": train.momentum,
    }
    own = {name: value for name, value in every.items() if name in options_of(train.optimizer)}
    return recipe(train.optimizer, weight_decay=train.weight_decay, **own)


def weights_of(network: PreTrainedModel, train: TrainOptions, dtype: torch.dtype) -> Weights:
    """The network's parameters made trainable in `dtype`, with optimiser and average."""
    if train.gradient_checkpointing:
        network.gradient_checkpointing_enable({"use_reentrant": False})
    average = None
    if train.average == "iterate":
        average = AVERAGES["iterate"]
    elif train.average == "ema":

        def average(masters: Mapping[str, torch.nn.Parameter]) -> Any:
            return AVERAGES["exponential"](masters, decay=train.ema_decay)

    # Dropout is off unless asked for; checkpointing works in training mode only, where a dropout of 0 does nothing.
    network.train(train.dropout or train.gradient_checkpointing)
    if not train.dropout:
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        for name in ("attention_dropout", "attn_pdrop"):
            for module in network.modules():
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, 0.0)
    return Weights.of(network, optimizer_recipe(train), dtype=dtype, average=average)


def check_resumed(folder: RunFolder, config: TrainingConfig) -> None:
    """InputError where the run that is there was started with other options that change what is computed."""
    path = folder.path / "run.yaml"
    if not path.exists():
        return
    before, now = flat(load(type(config), file=str(path))), flat(config)
    schedule = now.get("lr_scheduler_type")
    free = FREE | ({"max_steps", "num_train_epochs"} if schedule in ("constant", "inverse_sqrt") else set())
    differ = [f"{key} was {before[key]}, is {now[key]}" for key in now if key not in free and before[key] != now[key]]
    if differ:
        raise InputError(
            f"the run was started with other options: {'; '.join(differ)}",
            where=str(folder.path),
            fix="resume with the same options, or train anew in another --output_dir",
        )


def resume(session: Session) -> int:
    """Puts the newest checkpoint into the session; the number of steps that are done."""
    folder = session.folder
    place = folder.path / "checkpoints"
    checkpoint.sweep(place)
    if isinstance(session.config.run.resume, str):
        found: checkpoint.Checkpoint | None = checkpoint.load(Path(session.config.run.resume))
    else:
        found, skipped = checkpoint.newest(place)
        for one in skipped:
            say(f"warning: {one.path.name} is damaged and was left out: {one.reason}")
    if found is None:
        say(f"no checkpoint yet in {place}: starting anew")
        folder.take_back(0)
        return 0
    if found.run != folder.id or found.state["fingerprint"] != session.begun.data.fingerprint:
        what = "is of another run" if found.run != folder.id else "was trained on other data"
        raise InputError(what, where=str(found.path), fix="resume with the data and folder that the run began with")
    session.begun.weights.load_state_tensors({name: found.tensors(name) for name in found.files})
    folder.take_back(found.step)
    say(f"resuming after step {found.step} ({found.path})")
    return found.step


def train(session: Session) -> Result:
    """Trains, evaluates, saves; gives the trained model."""
    folder, run = session.folder, session.config.run
    began = time.time()
    done = resume(session) if run.resume else 0
    if run.report_to == "tensorboard":
        folder.open_tensorboard(done)
    if done == 0:
        write_samples(session, 0)
    before = held_out(session) if len(session.begun.data.held) and done == 0 else None
    if before is not None:
        folder.log(0, 0.0, {}, before.flat())
    latest = _loop(session, done)
    seconds = time.time() - began
    with session.begun.weights.averaged():
        after = held_out(session) if len(session.begun.data.held) else None
        write_samples(session, session.total)
        session.begun.weights.widen()
    session.begun.model.network.eval()
    if after is not None and not _evaluated_at(session, session.total):
        folder.log(session.total, session.total / session.course.per_epoch, {}, after.flat())
    metrics = {**latest, **({f"eval_{name}": value for name, value in after.flat().items()} if after else {})}
    summary = _summary(session, before, after, metrics, seconds)
    save(session.begun.model.network, session.begun.tokenizer, folder.path)
    folder.write_json("summary.json", summary)
    folder.write_text("README.md", model_card(session.command, session.config, summary))
    folder.draw_curves(f"accord {session.command}: {folder.path.name}")
    _report(session, before, after, seconds)
    return Result(session.begun.model.network, session.begun.tokenizer, metrics, folder.path, summary)


def _loop(session: Session, done: int) -> dict[str, float]:
    options, run, folder = session.config.train, session.config.run, session.folder
    warmup = warmup_count(options.warmup_steps, session.total)
    schedule = SCHEDULES[options.lr_scheduler_type]

    def rate(step: int) -> float:
        return options.learning_rate * schedule(step, session.total, warmup)

    steps = (session.course.at(index) for index in range(done, session.total))
    window = Window()
    latest = folder.metrics()[-1] if done and folder.metrics() else {}
    with Progress(session.command, session.total, start=done) as progress:
        for result in fit(
            session.begun.model,
            steps,
            session.begun.weights,
            rate,
            max_grad_norm=options.max_grad_norm,
            seed=options.seed,
            first=done,
        ):
            window.add(result)
            epoch = result.step / session.course.per_epoch
            last = result.step == session.total
            progress.advance(result.step, epoch, result.loss, result.groups, result.tokens)
            if result.step % run.logging_steps == 0 or last:
                latest = window.read()
                held: dict[str, float] = {}
                if _evaluated_at(session, result.step) and not (last and session.begun.weights.average):
                    held = held_out(session).flat()
                folder.log(result.step, epoch, latest, held)
                progress.log()
                window = Window()
            elif _evaluated_at(session, result.step):
                folder.log(result.step, epoch, {}, held_out(session).flat())
            if result.step % run.save_steps == 0 or last:
                save_checkpoint(session, result.step)
    return {key: value for key, value in latest.items() if isinstance(value, float)}


def _evaluated_at(session: Session, step: int) -> bool:
    return bool(len(session.begun.data.held)) and session.config.run.eval_steps is not None and step % session.config.run.eval_steps == 0


class Window:
    """The figures of the steps since the last log line, as one."""

    def __init__(self) -> None:
        self.means = Means()
        self.results: list[StepResult] = []

    def add(self, result: StepResult) -> None:
        self.means.merge(result.means)
        self.results.append(result._replace(means=Means()))

    def read(self) -> dict[str, float]:
        """Names as in metrics.jsonl. loss and grad_norm are means over the steps, the rest over their rows."""
        seconds = sum(result.seconds for result in self.results)
        tokens, rows = sum(r.tokens for r in self.results), sum(r.row_tokens for r in self.results)
        return {
            **self.means.read(),
            "loss": float(np.mean([result.loss for result in self.results])),
            "grad_norm": float(np.mean([result.grad_norm for result in self.results])),
            "learning_rate": self.results[-1].learning_rate,
            "tokens_per_second": tokens / seconds,
            "seconds_per_step": seconds / len(self.results),
            "tokens_saved": 1 - tokens / rows,
        }


def save_checkpoint(session: Session, step: int) -> None:
    """Everything that resuming needs. Random draws come from (seed, step), so no state of a generator is in it."""
    checkpoint.save(
        session.folder.path / "checkpoints",
        step,
        session.begun.weights.state_tensors(),
        {"fingerprint": session.begun.data.fingerprint},
        run=session.folder.id,
        keep=session.config.run.save_total_limit,
    )


def held_out(session: Session) -> Evaluation:
    """The held-out figures of the model as it stands."""
    return evaluate(session.begun.model, session.held_batches(), session.held_objective)


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


def _summary(
    session: Session, before: Evaluation | None, after: Evaluation | None, metrics: Mapping[str, float], seconds: float
) -> dict[str, Any]:
    held = {
        name: {"before": before and before.estimates[name]._asdict(), "after": after.estimates[name]._asdict()}
        for name in (after.estimates if after else ())
        if after
    }
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


def _report(session: Session, before: Evaluation | None, after: Evaluation | None, seconds: float) -> None:
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


@dataclass
class Begun:
    """A run up to the point where stages differ: data read, folder claimed, model loaded and checked."""

    tokenizer: PreTrainedTokenizerBase
    data: Data
    folder: RunFolder | None  # none in a dry run, which writes nothing
    model: LanguageModel
    weights: Weights
    place: Machine


def begin(command: str, config: TrainingConfig, given: Given, take: Take, tokenise: Tokenise, **how: Any) -> Begun:
    """Reads the data, claims the run folder, loads the model. how: options of the Dialogue."""
    place = machine(config.model, config.run.threads)
    tokenizer = tokenizer_of(config.model, given)
    data = load_data(
        config.data, given, lambda to: dialogue_of(tokenizer, config.model, to, **how), take=take, tokenise=tokenise
    )
    say(f"data: {data.report.summary()}")
    folder = None if config.run.dry_run else claim(command, config, data)
    network = network_of(config.model.model, given.get("model"), tokenizer, config.model, place)
    model = ready(network, data.groups, config.model)
    return Begun(tokenizer, data, folder, model, weights_of(network, config.train, place.dtype), place)


def claim(command: str, config: TrainingConfig, data: Data) -> RunFolder:
    """The run folder, this process's alone, with the resolved config and the data report in it."""
    folder = RunFolder(config.run.output_dir)
    continues = folder.claim(command, resume=bool(config.run.resume))
    if continues:
        check_resumed(folder, config)
    elif config.run.resume:
        say(f"nothing to resume in {folder.path}: starting anew")
    folder.write_text("run.yaml", dump(config))
    folder.write_json("data_report.json", data.to_json())
    return folder
