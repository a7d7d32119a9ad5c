"""A run before it trains: data read, folder claimed, model loaded and checked, its steps known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from accord.data.batches import Batch
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenGroup
from accord.data.encode import Ids
from accord.models.experts import check_balance
from accord.models.heads import Head
from accord.models.identity import Unidentified, frozen
from accord.models.logprobs import LanguageModel
from accord.models.scorer import pad_apart
from accord.stages.caches import tokens_of
from accord.stages.callbacks import Callback, callbacks_of
from accord.stages.config import DpoConfig, TrainingConfig
from accord.stages.course import Course
from accord.stages.entering import Entered, enter
from accord.stages.evaluation import Evaluation, evaluate
from accord.stages.hub import check_hub
from accord.stages.intake import Intake, Preparation
from accord.stages.load_data import Data, load_data, within_context
from accord.stages.losses import names_of
from accord.stages.online_config import OnlineDpoConfig
from accord.stages.options import LengthOptions, TrainOptions
from accord.stages.policy import check_adapter, policy_of
from accord.stages.setup import Given, Machine, apart, machine, ready, say, tokenizer_of
from accord.stages.trainable import weights_of
from accord.training.curves import PANELS, Panel
from accord.training.fitting import Room
from accord.training.objectives import Objective
from accord.training.optimizer import Weights
from accord.training.progress import Progress
from accord.training.run import RunFolder
from accord.training.saving import Saver
from accord.training.stop import Stop
from accord.training.trackers import require
from accord.training.trained import Beside, Trained
from accord.training.watch import LIFELESS, Remark


class Extra(Protocol):
    """Something with tensors that a checkpoint keeps."""

    def state_tensors(self) -> Mapping[str, Tensor]: ...

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None: ...


@dataclass
class Begun:
    """A run up to the point where stages differ: data read, folder claimed, model loaded and checked."""

    tokenizer: PreTrainedTokenizerBase
    data: Data
    preparation: Preparation  # how its sources became tokens
    folder: RunFolder | None  # none in a dry run, which writes nothing
    model: LanguageModel
    weights: Weights
    place: Machine
    entered: Entered
    callbacks: Sequence[Callback] = ()
    room: Room = field(default_factory=lambda: Room(say))  # how large micro-batches may be

    @cached_property
    def frozen(self) -> str:
        """Says which weights stay as they are, as an adapter's base; empty where all are trained."""
        with suppress(Unidentified):
            return frozen(self.model.network)
        return ""

    def cut(self, groups: Sequence[TokenGroup], places: Sequence[int]) -> Iterator[Batch]:
        """Micro-batches of these places of `groups`, as the machine and the model take them."""
        cut = micro_batches(
            groups, places, max_tokens=self.place.max_tokens, layout=self.model.layout, start=self.model.start
        )
        for batch in cut:
            yield from self.room.cut([batch])


class Findings(NamedTuple):
    """What a stage finds out about the model that it has trained."""

    summary: Mapping[str, Any]  # for summary.json, beside the usual
    card: Sequence[str] = ()  # lines of Markdown for the model card
    lines: Sequence[str] = ()  # said at the end


AtEnd = Callable[["Session"], Findings]


@dataclass
class Session:
    """A run that is ready to train."""

    command: str
    config: TrainingConfig
    begun: Begun
    course: Course
    held_objective: Objective
    prompts: Sequence[Ids]  # token ids to sample from, before and after
    after_step: Callable[[int], None] | None = None  # called with the number of steps done, after every step
    beside: Sequence[Beside] = ()  # further weights that its steps train
    figures: Callable[[], Mapping[str, float]] = dict  # what a log line says besides the steps' own
    news: Callable[[], Sequence[Remark]] = tuple  # warnings besides those of losses and gradients, since the last call
    warnings: Callable[[], Sequence[Remark]] = tuple  # all of them
    losses_tell: bool = True  # whether a loss that stands still or leaps is warned of
    lifeless: str = LIFELESS  # what helps where the gradient is 0 for long
    evaluation: Callable[[Session], Evaluation] | None = None  # in the place of the held-out objective's figures
    extra_state: Mapping[str, Extra] = field(default_factory=dict)  # goes into checkpoints, by file name
    progress: Progress | None = None  # while it trains
    shown: Callable[[], str] = str  # what its lines say in the place of the loss
    at_end: AtEnd | None = None  # looks at the trained model before it is written
    panels: Sequence[Panel] = PANELS  # of curves.png
    dry: Sequence[str] = ()  # what a dry run says besides
    told: Sequence[str] = ("loss", "rewards/accuracies", "mean_token_accuracy")  # held-out, said at the end
    stop: Stop = field(default_factory=Stop)  # hears the signals while the run trains
    saver: Saver = field(default_factory=lambda: Saver(say))  # writes its checkpoints

    @property
    def title(self) -> str:
        """What is trained, for people: the command, or the losses where they are not its usual one."""
        config = self.config
        if not isinstance(config, DpoConfig | OnlineDpoConfig) or config.preference.loss_type == "sigmoid":
            return self.command
        online = "online " if isinstance(config, OnlineDpoConfig) else ""
        return online + " + ".join(names_of(config.preference))

    @property
    def total(self) -> int:
        """The optimiser steps of the whole run."""
        return total_steps(self.config.train, self.course.per_epoch)

    @property
    def trained(self) -> Trained:
        """All weights that its steps train."""
        return Trained(self.begun.weights, self.beside)

    @property
    def folder(self) -> RunFolder:
        """The run folder; not in a dry run, which ends before."""
        assert self.begun.folder is not None
        return self.begun.folder

    def held_batches(self) -> Iterator[Batch]:
        """Micro-batches over the held-out groups; Left between two of them where the run is to stop."""
        return self.stop.passing(self.begun.cut(self.begun.data.groups, self.begun.data.held))


def total_steps(train: TrainOptions, per_epoch: int) -> int:
    """max_steps where given, else the epochs' steps, a fraction rounded up."""
    return train.max_steps or max(1, math.ceil(round(train.num_train_epochs * per_epoch, 6)))


def held_out(session: Session) -> Evaluation:
    """The held-out figures of the model as it would be saved now: of the average, where one is kept."""
    with session.begun.weights.averaged():
        if session.evaluation is not None:
            return session.evaluation(session)
        return evaluate(session.begun.model, session.held_batches(), session.held_objective, session.begun.room)


@contextmanager
def begin(
    command: str,
    config: TrainingConfig,
    given: Given,
    intake: Intake,
    length: LengthOptions | None = None,
    head: Callable[[Data], Head] | None = None,
) -> Iterator[Begun]:
    """Looks into the run folder, reads the data, claims the folder and holds it, loads the model.

    head: what takes the place of the model's output layer, for the data at hand; may refuse these.
    """
    require(config.run.report_to)
    callbacks = callbacks_of(given)
    place = machine(
        config.model, threads=config.run.threads, max_tokens=config.train.max_tokens, headed=head is not None
    )
    check_adapter(config, given)
    entered = enter(command, config, place)
    folder = entered.folder
    try:
        if config.run.push_to_hub is not None and not config.run.dry_run:
            check_hub(config.run.push_to_hub)
        tokenizer = tokenizer_of(config.model, given)
        entered.tell_clock(str(tokenizer.chat_template))
        options, cache = within_context(config.data, config.model, given), tokens_of(config.data.token_cache)
        preparation = Preparation(
            *(tokenizer, config.model, options, intake, length),
            apart=apart(config.model, given),
            cache=cache,
            clock=entered.clock,
        )
        data = load_data(preparation, options, given)
        say(f"data: {data.report.summary()}")
        for warning in data.report.warnings():
            say(f"note: {warning}")
        wanted = head(data) if head else None
        claim(entered, command, data)
        network = policy_of(config, given, tokenizer, place, wanted)
        if wanted is not None:
            told = pad_apart(
                network, tokenizer, {int(one.ids[-1]) for group in data.groups for one in group.completions}
            )
            if told is not None:
                say(f"note: pad token: {told}, as stock transformers looks for the last token that is not padding")
        model = ready(network, data.groups, config.model, keeps=not config.train.gradient_checkpointing)
        check_balance(network, np.concatenate([data.groups[0].prompt, data.groups[0].completions[0].ids]))
        weights = weights_of(network, config.train, place.dtype)
        yield Begun(tokenizer, data, preparation, folder, model, weights, place, entered, callbacks)
    except BaseException as error:
        if folder is not None:
            folder.end(error)
            folder.close(failed=True)
        raise
    else:
        if folder is not None:
            folder.end()
    finally:
        if folder is not None:
            folder.close()


def claim(entered: Entered, command: str, data: Data) -> None:
    """Makes a fresh folder this process's, with what the run is begun with in it; or checks the data that go on."""
    entered.data, entered.report = data.fingerprint, data.to_json()
    if entered.found is not None:
        entered.check_data(entered.found.state["data"], data.fingerprint)
    if entered.folder is not None and not entered.continues:
        entered.folder.claim(command, clock=entered.clock)
        entered.write()
