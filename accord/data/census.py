"""A pass over a data set: what it holds, and what only its rows together show."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from accord.data.bias import bias_findings, imbalance_findings
from accord.data.choose import standing
from accord.data.findings import Finding, Stage
from accord.data.label_columns import says
from accord.data.measures import Measures, characters
from accord.data.near import Near
from accord.data.repeats import Repeats, digests
from accord.records import Group

Holds = Literal["comparison", "ranking", "label", "class", "demonstration", "document", "prompt", "unjudged"]
FOR: dict[Holds, Stage] = {
    "comparison": "dpo",
    "ranking": "dpo",
    "label": "kto",
    "class": "classify",
    "demonstration": "sft",
    "document": "pretrain",
    "prompt": "rl",
    "unjudged": "evaluate",
}


class Census:
    """Takes groups one by one and keeps digests and lengths of them, about a kilobyte each, never their texts.

    near: whether to look for nearly equal rows, most of its time.
    """

    def __init__(self, source: str = "", *, near: bool = True) -> None:
        self.source = source
        self.holds: Counter[Holds] = Counter()
        self.annotators: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.categories: Counter[str] = Counter()
        self.judgements = 0
        self.unsound = 0  # groups that are only counted
        self.lengths = Measures("characters")
        self.repeats = Repeats()
        self._near = Near() if near else None

    def add(self, group: Group, *, sound: bool = True) -> None:
        """sound: whether a stage can use it; what it cannot use is only counted."""
        self.source = self.source or group.source.file
        self.holds[holds(group)] += 1
        self.judgements += len(group.judgements)
        self.unsound += not sound
        self.annotators.update(judgement.annotator for judgement in group.judgements if judgement.annotator)
        self.models.update(completion.model for completion in group.completions if completion.model)
        if group.category:
            self.categories[group.category] += 1
        made = digests(group)
        sizes = [characters(completion.content) for completion in group.completions]
        self.lengths.add(group, characters(group.prompt), sizes, made.prompt)
        if sound and not self.repeats.add(group, made) and self._near is not None:
            self._near.add(group, hash((made.prompt, frozenset(made.completions))))

    @property
    def groups(self) -> int:
        return self.holds.total()

    @property
    def stage(self) -> Stage | None:
        """The stage that such data are for; None before the first group."""
        return FOR[self.holds.most_common(1)[0][0]] if self.holds else None

    def to_json(self) -> dict[str, Any]:
        """Counts, those of names with the most first."""
        named = {"annotators": self.annotators, "models": self.models, "categories": self.categories}
        return {
            "holds": dict(self.holds.most_common()),
            "prompts": len(self.repeats.prompts),
            "judgements": self.judgements,
            **{name: dict(counts.most_common()) for name, counts in named.items()},
        }

    def findings(self, lengths: Measures | None = None) -> list[Finding]:
        """Of the rows together: repeats, contradictions, near repeats, length bias, annotators.

        lengths: in another unit than characters, for the length bias.
        """
        lengths = lengths or self.lengths
        near = self._near.findings() if self._near is not None else []
        bias = bias_findings(lengths.bias(), self.source, lengths.unit)
        return [*self.repeats.found, *near, *bias, *imbalance_findings(self.annotators, self.source)]


def holds(group: Group) -> Holds:
    """What kind of data a group is."""
    k = len(group.completions)
    if any(one.written is not None for one in group.judgements):
        return "demonstration"
    if k == 0:
        return "prompt"
    if group.judgements and all(says(one) and not standing(one) for one in group.judgements):
        return "class"
    if k == 1:
        return "label" if group.judgements else "demonstration" if group.prompt else "document"
    if not group.judgements:
        return "unjudged"
    return "comparison" if k == 2 else "ranking"
