"""What every stage begins with: device, precision, tokenizer, network; and the data from files to token groups."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accord.data.dialogue import Dialogue, TokenGroup
from accord.data.length import fit_groups
from accord.data.order import prompt_key, split
from accord.data.read import Source, read_groups
from accord.data.report import DataReport, Refusals
from accord.errors import InputError
from accord.models.layout import Trial, settle
from accord.models.load import (
    check_vocabulary,
    choose_device,
    context_of,
    keep_freed_memory,
    load_network,
    load_tokenizer,
)
from accord.models.logprobs import LanguageModel
from accord.records import Group, RecordError
from accord.stages.options import DataOptions, LengthOptions, ModelOptions, ReadOptions
from accord.training.progress import Progress

Given = Mapping[str, object]
Say = Callable[[str], None]
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


class Machine(NamedTuple):
    """Where a run computes, in which numbers, and how many tokens at a time."""

    device: torch.device
    dtype: torch.dtype
    max_tokens: int


def machine(options: ModelOptions, *, threads: int | None, max_tokens: int | None) -> Machine:
    """The device, precision and micro-batches that the options ask for, or what suits the machine."""
    keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    device = choose_device(options.device)
    on_cpu = device.type == "cpu"
    dtype = options.dtype or ("float32" if on_cpu else "bf16")
    return Machine(device, DTYPES[dtype], max_tokens or (2048 if on_cpu else 16384))


def tokenizer_of(options: ModelOptions, given: Given) -> PreTrainedTokenizerBase:
    """The tokenizer that was given, or the model's own."""
    if (tokenizer := given.get("tokenizer")) is not None:
        return cast(PreTrainedTokenizerBase, tokenizer)
    name = options.model
    if (network := given.get("model")) is not None:
        name = str(getattr(network, "name_or_path", ""))
        if not name:
            raise InputError("a model object without a name", where="tokenizer", fix="pass tokenizer= as well")
    return load_tokenizer(name, chat_template=options.chat_template, trust_remote_code=options.trust_remote_code)


def network_of(
    name: str, given: object, tokenizer: PreTrainedTokenizerBase, options: ModelOptions, place: Machine
) -> PreTrainedModel:
    """The network that was given, in its own precision, or the one of this name, in float32."""
    if given is not None:
        network = cast(PreTrainedModel, given)
        moved(network, place.device, network.dtype)
    else:
        network = load_network(name, device=place.device, trust_remote_code=options.trust_remote_code)
    check_vocabulary(network, tokenizer)
    return network


def moved(network: PreTrainedModel, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """The same network on a device, in a precision."""
    to: Any = network.to
    changed: PreTrainedModel = to(device=device, dtype=dtype)
    return changed


def ready(network: PreTrainedModel, groups: Sequence[TokenGroup], options: ModelOptions) -> LanguageModel:
    """The network with the layout that the start-up comparison on the longest group allows."""
    longest = max(groups, key=lambda group: group.length)
    model, failed = settle(LanguageModel(network), longest, asked=options.layout)
    for trial in failed:
        say(_fallback(trial))
    if failed or options.layout != "auto":
        say(f"computing with the {model.layout} layout and the {model.head} output layer")
    return model


def say(text: str) -> None:
    """A line for the user, on standard error."""
    Progress("", 1).print(text)


def _fallback(trial: Trial) -> str:
    return f"note: not used, as the start-up comparison failed: {trial}"


def dialogue_of(tokenizer: PreTrainedTokenizerBase, options: ModelOptions, report: DataReport, **how: Any) -> Dialogue:
    """The one tokenising function of a run."""
    return Dialogue(tokenizer, template_kwargs=options.chat_template_kwargs, report=report, **how)


SomeReadOptions = TypeVar("SomeReadOptions", bound=ReadOptions)


def within_context(options: SomeReadOptions, model: ModelOptions, given: Given) -> SomeReadOptions:
    """The same options with a max_length that the model can take."""
    network = cast(PreTrainedModel | None, given.get("model"))
    context = context_of(model.model, network, trust_remote_code=model.trust_remote_code)
    if context is None and options.max_length is None:
        raise InputError("not given, and the model's config names no context", where="max_length", fix="give one")
    if context is None or (options.max_length is not None and options.max_length <= context):
        return options
    if options.max_length is not None:
        say(f"max_length {options.max_length} is more than the model's context of {context}: {context} it is")
    return options.model_copy(update={"max_length": context})


class Data(NamedTuple):
    """The groups of a run as tokens: `groups[:trained]` are trained on, the rest is held out."""

    groups: list[TokenGroup]
    trained: int
    report: DataReport
    held_report: DataReport | None
    fingerprint: str

    @property
    def train(self) -> range:
        return range(self.trained)

    @property
    def held(self) -> range:
        return range(self.trained, len(self.groups))

    def to_json(self) -> dict[str, Any]:
        """For data_report.json."""
        held_out = {"groups": len(self.held), **(self.held_report.to_json() if self.held_report else {})}
        return {
            "train": {"groups": self.trained, **self.report.to_json()},
            "held_out": held_out,
            "fingerprint": self.fingerprint,
        }


Take = Callable[[Group], Group]
Tokenise = Callable[[Dialogue, list[Group], ReadOptions], list[TokenGroup]]


def load_data(
    options: DataOptions,
    given: Given,
    make_dialogue: Callable[[DataReport], Dialogue],
    *,
    take: Take,
    tokenise: Tokenise,
) -> Data:
    """Files -> groups -> a split by prompt -> what the stage takes of each group -> tokens.

    The split comes first, so that every stage holds out the same prompts of the same file. take: the stage's part of a
    group, or RecordError.
    """
    report = DataReport()
    groups = read(given.get("data", options.data), options, report)
    held: list[Group] = []
    held_report = None
    if options.eval_data is not None:
        held_report = DataReport()
        held = read(given.get("eval_data", options.eval_data), options, held_report)
        _refuse_shared_prompts(groups, held)
    elif options.validation:
        groups, held = split(groups, options.validation)

    def tokens(part: list[Group], to: DataReport) -> list[TokenGroup]:
        taken = take_all(part, take, options.on_bad_row, to)
        return tokenise(make_dialogue(to), taken, options) if taken else []

    train = tokens(groups, report)
    if not train:
        raise InputError(f"nothing to train on: {report.summary()}", where="data", fix="see the reasons above")
    everything = [*train, *tokens(held, held_report or report)]
    return Data(everything, len(train), report, held_report, fingerprint(everything))


def read(source: object, options: ReadOptions, report: DataReport) -> list[Group]:
    """The groups of a source, as the options say."""
    return list(read_groups(cast(Source, source), split=options.split, on_bad_row=options.on_bad_row, report=report))


def take_all(groups: Iterable[Group], take: Take, on_bad_row: str, report: DataReport) -> list[Group]:
    """What a stage takes of each group; one that it cannot take is a bad row."""
    refusals = Refusals(on_bad_row, report)
    taken = []
    for group in groups:
        try:
            taken.append(take(group))
        except RecordError as error:
            refusals.add(error, id=group.id)
    refusals.close()
    return taken


def fitting(length: LengthOptions) -> Tokenise:
    """Tokenises, and applies the length policy."""
    return partial(_fitting, length)


def _fitting(length: LengthOptions, dialogue: Dialogue, groups: list[Group], options: ReadOptions) -> list[TokenGroup]:
    assert options.max_length is not None
    made = dialogue.many(groups, on_bad_row=options.on_bad_row)
    return fit_groups(
        made, dialogue, max_length=options.max_length, on_long=length.on_long, max_dropped=length.max_dropped
    )


def _refuse_shared_prompts(train: Sequence[Group], held: Sequence[Group]) -> None:
    seen = {prompt_key(group): group for group in train}
    for group in held:
        if (twin := seen.get(prompt_key(group))) is not None:
            raise InputError(
                f"the prompt of {group.source} is also trained on ({twin.source})",
                where="eval_data",
                fix="remove it from one of the two, or use --validation instead",
            )


def fingerprint(groups: Sequence[TokenGroup]) -> str:
    """sha256 over every token and where loss lies: equal only for the same data in the same order."""
    digest = hashlib.sha256()
    for group in groups:
        digest.update(f"{group.group.id}|{len(group.prompt)}|".encode() + group.prompt.tobytes())
        for completion in group.completions:
            digest.update(f"{len(completion.ids)}|{completion.loss}|".encode() + completion.ids.tobytes())
        digest.update(repr(group.group.judgements).encode())
    return digest.hexdigest()
