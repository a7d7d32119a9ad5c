"""The data of a run: one source or a mixture -> tokens -> who is trained on and who is held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from accord.data.dialogue import TokenGroup
from accord.data.order import held_out, places
from accord.data.report import DataReport
from accord.data.sources import Source
from accord.data.table import fingerprint, mark_of
from accord.errors import InputError
from accord.stages.intake import Preparation, Prepared
from accord.stages.options import DataOptions, ModelOptions, Part, ReadOptions
from accord.stages.setup import Given, context, say

Places = npt.NDArray[np.int64]
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
    """The groups of a run as tokens: `groups[:trained]` are trained on, the rest is held out.

    train: the places that an epoch goes through; of a mixture some stand there more than once, others not at all.
    """

    groups: list[TokenGroup]
    trained: int
    train: list[int]
    report: DataReport
    held_report: DataReport | None
    fingerprint: str
    parts: Sequence[dict[str, Any]] = ()  # of a mixture: what each source gives

    @property
    def held(self) -> range:
        return range(self.trained, len(self.groups))

    def to_json(self) -> dict[str, Any]:
        """For data_report.json."""
        held_out = {"groups": len(self.held), **(self.held_report.to_json() if self.held_report else {})}
        mixture = {"mixture": list(self.parts)} if self.parts else {}
        return {
            "train": {"groups": self.trained, **self.report.to_json(), **mixture},
            "held_out": held_out,
            "fingerprint": self.fingerprint,
        }


def load_data(preparation: Preparation, options: DataOptions, given: Given) -> Data:
    """Files -> tokens -> a split by prompt.

    The split goes by the prompt as it was read, so that every stage holds out the same prompts of the same file.
    """
    parts = (Part(cast(str, given["data"])),) if "data" in given else options.parts
    prepared = [preparation.of(cast(Source, part.path), part.split or options.split) for part in parts]
    whole, out, held_report = _joined(prepared), None, None
    held = held_out(whole.asks, options.validation)
    if options.eval_data is not None:
        source = cast(Source, given.get("eval_data", options.eval_data))
        out = preparation.of(source, options.eval_split or options.split)
        held_report = out.report
        if not options.allow_shared_prompts:
            _refuse_shared_prompts(whole, out)
    train = np.flatnonzero(~held)
    times = _times(parts, prepared)[train]
    if not times.any():
        what = f"nothing to train on: {whole.report.summary()}"
        raise InputError(what, where="data", fix="see the reasons above, and the weights of a mixture")
    data = _data(preparation, _at(whole, train), times, out or _at(whole, np.flatnonzero(held)))
    shown = _shown(parts, prepared, times, train) if len(parts) > 1 else ()
    return data._replace(held_report=held_report, parts=shown)


def _data(preparation: Preparation, train: Prepared, times: Places, held: Prepared) -> Data:
    """times (G,): how often an epoch goes through each group."""
    pack = preparation.intake.pack
    epoch = np.repeat(np.arange(len(train.groups)), times).tolist()
    if pack is None:
        marks = [train.mark.tobytes(), held.mark.tobytes(), times.tobytes() if (times != 1).any() else b""]
        groups = [*train.groups, *held.groups]
        return Data(groups, len(train.groups), epoch, train.report, None, fingerprint(marks))
    blocks = pack([train.groups[place] for place in epoch], preparation.options)
    groups = [*blocks, *pack(held.groups, preparation.options)]
    name = fingerprint([mark_of(block) for block in groups])
    return Data(groups, len(blocks), list(range(len(blocks))), train.report, None, name)


def _joined(prepared: Sequence[Prepared]) -> Prepared:
    """All sources, one after the other."""
    if len(prepared) == 1:
        return prepared[0]
    groups = [group for one in prepared for group in one.groups]
    mark, asks = (np.concatenate([getattr(one, name) for one in prepared]) for name in ("mark", "asks"))
    return Prepared(groups, mark, asks, DataReport.merged([one.report for one in prepared]))


def _at(prepared: Prepared, chosen: Places) -> Prepared:
    groups = [prepared.groups[place] for place in chosen.tolist()]
    return Prepared(groups, prepared.mark[chosen], prepared.asks[chosen], prepared.report)


def _times(parts: Sequence[Part], prepared: Sequence[Prepared]) -> Places:
    """(G,) how often an epoch goes through each group: the whole part of its source's weight, and once more for the
    share of prompts that the rest says, chosen by a hash of the prompt."""
    found = []
    for part, one in zip(parts, prepared, strict=True):
        every, rest = divmod(part.weight, 1.0)
        # Other bytes of the digest than those that say who is held out: the two choices have nothing in common.
        found.append(int(every) + (places(one.asks, at=8) < rest).astype(np.int64))
    return np.concatenate(found)


def _shown(
    parts: Sequence[Part], prepared: Sequence[Prepared], times: Places, train: Places
) -> tuple[dict[str, Any], ...]:
    """For people, of each source: its name, weight, groups, and how many of its groups an epoch goes through."""
    owner = np.repeat(np.arange(len(parts)), [len(one.groups) for one in prepared])[train]
    return tuple(
        {
            "data": part.path,
            "weight": part.weight,
            "groups": int((owner == number).sum()),
            "an_epoch": int(times[owner == number].sum()),
            "rows": one.report.summary(),
        }
        for number, (part, one) in enumerate(zip(parts, prepared, strict=True))
    )


def _refuse_shared_prompts(train: Prepared, held: Prepared) -> None:
    seen = {row.tobytes(): place for place, row in enumerate(train.asks)}
    shared = [(place, seen[row.tobytes()]) for place, row in enumerate(held.asks) if row.tobytes() in seen]
    if shared:
        mine, other = (one.groups[at].group.source for one, at in zip((held, train), shared[0], strict=True))
        others = f", and those of {len(shared) - 1:,} more groups" if len(shared) > 1 else ""
        raise InputError(
            f"the prompt of {mine} is also trained on ({other}){others}",
            where="eval_data",
            fix="remove it from one of the two (accord check lists all), use --validation instead, or allow it: "
            "--allow_shared_prompts",
        )
