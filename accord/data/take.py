"""What each stage takes of a group, and when there is nothing in it to be learnt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from accord.data.choose import demonstration, document, labelled, pairs, rankings
from accord.data.classified import has_class
from accord.data.findings import FINDINGS, Stage
from accord.records import Group, Judged, RecordError

Take = Callable[[Group], Group]
Kind = Literal["pairs", "labels", "rankings"]  # what a loss compares

# What is to be found in a group, and the words for a group without judgements that say it.
FOUND: dict[Kind, tuple[Callable[[Judged], Sequence[object]], str]] = {
    "pairs": (pairs, "no ranks or ratings say which completion is better"),
    "labels": (labelled, "no labels, ranks or ratings say which completions are good"),
    "rankings": (rankings, "no ranks or ratings put the completions in order"),
}


def compared(kind: Kind, group: Group) -> Group:
    """The group itself, if it holds what such a loss learns from. RecordError where it does not."""
    found, what = FOUND[kind]
    if found(group):
        return group
    fix = FINDINGS["not_judged"].fix
    if kind != "labels" and len(group.completions) == 1 and labelled(group):
        what, fix = "a label and no comparison", "learn from labels: accord kto"
    elif group.judgements:
        what = "no completion is preferred to another"
    raise RecordError(what, origin=group.source, fix=fix, finding="not_judged")


def whole(group: Group) -> Group:
    """All of it."""
    return group


TAKES: dict[Stage, Take] = {
    "pretrain": document,
    "sft": demonstration,
    "dpo": partial(compared, "pairs"),
    "kto": partial(compared, "labels"),
    "reward": partial(compared, "pairs"),
    "classify": has_class,
    "rl": whole,
    "evaluate": whole,
}
