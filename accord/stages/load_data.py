"""The data of a run: files -> groups -> a split by prompt -> what the stage takes of each group -> tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

from transformers import PreTrainedTokenizerBase

from accord.data.dialogue import Dialogue, TokenGroup
from accord.data.length import fit_groups
from accord.data.order import prompt_key, split
from accord.data.read import Source, read_groups
from accord.data.report import DataReport, Refusals
from accord.errors import InputError
from accord.records import Group, RecordError
from accord.stages.options import DataOptions, LengthOptions, ModelOptions, ReadOptions
from accord.stages.setup import Given, context, say


def dialogue_of(tokenizer: PreTrainedTokenizerBase, options: ModelOptions, report: DataReport, **how: Any) -> Dialogue:
    """The one tokenising function of a run."""
    return Dialogue(tokenizer, template_kwargs=options.chat_template_kwargs, report=report, **how)


SomeReadOptions = TypeVar("SomeReadOptions", bound=ReadOptions)


def within_context(options: SomeReadOptions, model: ModelOptions, given: Given) -> SomeReadOptions:
    """The same options with a max_length that the model can take."""
    most = context(model, given)
    if most is None and options.max_length is None:
        raise InputError("not given, and the model's config names no context", where="max_length", fix="give one")
    if most is None or (options.max_length is not None and options.max_length <= most):
        return options
    if options.max_length is not None:
        say(f"max_length {options.max_length} is more than the model's context of {most}: {most} it is")
    return options.model_copy(update={"max_length": most})


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
        of_split = options.model_copy(update={"split": options.eval_split or options.split})
        held = read(given.get("eval_data", options.eval_data), of_split, held_report)
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
