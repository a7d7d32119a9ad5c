"""A run before it trains: data read, folder claimed, model loaded and checked, its steps known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from accord.data.batches import Batch, micro_batches
from accord.data.dialogue import TokenGroup
from accord.data.encode import Ids
from accord.models.logprobs import LanguageModel
from accord.stages.config import TrainingConfig
from accord.stages.course import Course
from accord.stages.evaluation import Evaluation, evaluate
from accord.stages.options import TrainOptions
from accord.stages.resolve import dump
from accord.stages.resuming import check_resumed
from accord.stages.setup import (
    Data,
    Given,
    Machine,
    Take,
    Tokenise,
    dialogue_of,
    load_data,
    machine,
    moved,
    network_of,
    ready,
    say,
    tokenizer_of,
    within_context,
)
from accord.stages.trainable import weights_of
from accord.training.objectives import Objective
from accord.training.optimizer import Weights
from accord.training.run import RunFolder


@dataclass
class Begun:
    """A run up to the point where stages differ: data read, folder claimed, model loaded and checked."""

    tokenizer: PreTrainedTokenizerBase
    data: Data
    folder: RunFolder | None  # none in a dry run, which writes nothing
    model: LanguageModel
    weights: Weights
    place: Machine

    def cut(self, groups: Sequence[TokenGroup], places: Sequence[int]) -> Iterator[Batch]:
        """Micro-batches of these places of `groups`, as the machine and the model take them."""
        return micro_batches(groups, places, max_tokens=self.place.max_tokens, layout=self.model.layout)


@dataclass
class Session:
    """A run that is ready to train."""

    command: str
    config: TrainingConfig
    begun: Begun
    course: Course
    held_objective: Objective
    prompts: Sequence[Ids]  # token ids to sample from, before and after

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
        return self.begun.cut(self.begun.data.groups, self.begun.data.held)


def total_steps(train: TrainOptions, per_epoch: int) -> int:
    """max_steps where given, else the epochs' steps, a fraction rounded up."""
    return train.max_steps or max(1, math.ceil(round(train.num_train_epochs * per_epoch, 6)))


def held_out(session: Session) -> Evaluation:
    """The held-out figures of the model as it would be saved now: of the average, where one is kept."""
    with session.begun.weights.averaged():
        return evaluate(session.begun.model, session.held_batches(), session.held_objective)


@contextmanager
def begin(
    command: str, config: TrainingConfig, given: Given, take: Take, tokenise: Tokenise, **how: Any
) -> Iterator[Begun]:
    """Reads the data, claims the run folder and holds it, loads the model. how: options of the Dialogue."""
    place = machine(config.model, threads=config.run.threads, max_tokens=config.train.max_tokens)
    tokenizer = tokenizer_of(config.model, given)
    data = load_data(
        within_context(config.data, config.model, given),
        given,
        lambda to: dialogue_of(tokenizer, config.model, to, **how),
        take=take,
        tokenise=tokenise,
    )
    say(f"data: {data.report.summary()}")
    folder = None if config.run.dry_run else RunFolder(config.run.output_dir)
    try:
        if folder is not None:
            claim(folder, command, config, data)
        network = network_of(config.model.model, given.get("model"), tokenizer, config.model, place)
        moved(network, place.device, torch.float32)  # the masters are float32; `weights_of` makes the rest
        model = ready(network, data.groups, config.model)
        yield Begun(tokenizer, data, folder, model, weights_of(network, config.train, place.dtype), place)
    finally:
        if folder is not None:
            folder.close()


def claim(folder: RunFolder, command: str, config: TrainingConfig, data: Data) -> None:
    """Makes the run folder this process's, with the resolved config and the data report in it."""
    continues = folder.claim(command, resume=bool(config.run.resume))
    if continues:
        check_resumed(folder, config)
    elif config.run.resume:
        say(f"nothing to resume in {folder.path}: starting anew")
    folder.write_text("run.yaml", dump(config))
    folder.write_json("data_report.json", data.to_json())
