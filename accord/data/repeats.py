"""Rows that repeat or contradict each other, and prompts on both sides of a split: by digests, a pass over the data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from accord.data.check import field_names
from accord.data.choose import pairs
from accord.data.findings import Finding
from accord.records import Class, Group, Origin, Text

GOOD = {True: "good", False: "bad"}
Digest = int  # 64 bits; among a million texts two are taken for the same with a chance of 3e-8


class Seen(NamedTuple):
    """What is kept of a row: where it stands, its id, and who judged it, where one person did."""

    origin: Origin
    id: str
    annotator: str | None

    def __str__(self) -> str:
        return f"{self.origin} (id {self.id})"


class Digests(NamedTuple):
    """A group as digests; completions: (K,) each together with the prompt."""

    prompt: Digest
    completions: tuple[Digest, ...]


def digests(group: Group) -> Digests:
    """A document, which has no prompt, stands for its own."""
    completions = [completion.content for completion in group.completions]
    prompt = _digest(b"", group.prompt or (completions[0] if completions else ""))
    start = prompt.to_bytes(8)
    return Digests(prompt, tuple(_digest(start, content) for content in completions))


class Repeats:
    """Takes groups one by one and remembers their digests: about half a kilobyte a group, however long its texts."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        self.prompts: dict[Digest, Seen] = {}  # where each prompt stands first
        self._rows: dict[Digest, Seen] = {}
        self._orders: dict[Digest, tuple[bool, Seen]] = {}  # pair -> does the one of the lower digest win
        self._classes: dict[Digest, tuple[Class, Seen]] = {}  # a text with its prompt -> what it is said to be

    def add(self, group: Group, made: Digests) -> bool:
        """made: `digests` of the group. Whether something was found."""
        here = Seen(group.source, group.id, _annotator(group))
        self.prompts.setdefault(made.prompt, here)
        twin = self._rows.setdefault(_row_digest(group, made), here)
        if twin is not here:
            self._say("duplicate", here, f"the same as {twin}")
            return True
        before = len(self.found)
        for i, j in _preferred(group):
            self._compare(group, here, i, j, made.completions)
        if len(group.completions) == 1:
            self._sort(group, here, made.completions[0])
        return len(self.found) > before

    def _compare(self, group: Group, here: Seen, best: int, worst: int, completions: Sequence[Digest]) -> None:
        """Completion `best` is preferred to `worst`; or, where there is only one, it is good (0) or bad (1)."""
        if len(completions) == 1:
            lower, pair = not worst, completions[0]
        else:
            one, other = completions[best], completions[worst]
            lower, pair = one < other, hash((min(one, other), max(one, other)))
        first, twin = self._orders.setdefault(pair, (lower, here))
        if first == lower or twin is here:
            return
        names = field_names(group)
        if len(completions) == 1:
            what = f"{names[0]} is {GOOD[lower]} here (id {here.id}), and {GOOD[first]} in {twin}"
        else:
            what = f"{names[best]} wins against {names[worst]} here (id {here.id}), and loses in {twin}"
        self._contradict(here, twin, what)

    def _sort(self, group: Group, here: Seen, text: Digest) -> None:
        """Its one completion is of another class here than where it was first seen."""
        said = {judgement.classes[0] for judgement in group.judgements if judgement.classes}
        if len(said) != 1:
            return
        (own,) = said
        first, twin = self._classes.setdefault(text, (own, here))
        if first != own:
            what = f"{field_names(group)[0]} is {_shown(own)} here (id {here.id}), and {_shown(first)} in {twin}"
            self._contradict(here, twin, what)

    def _contradict(self, here: Seen, twin: Seen, what: str) -> None:
        same_hand = here.annotator is not None and here.annotator == twin.annotator
        self._say("contradiction", here, what + (f", by the same annotator {here.annotator}" if same_hand else ""))

    def _say(self, name: str, here: Seen, what: str) -> None:
        self.found.append(Finding(name, here.origin, what, "", here.id))

    def shared(self, held: Repeats) -> Iterator[Finding]:
        """One finding a prompt that is held out too: about the first row here that has it."""
        for prompt, here in self.prompts.items():
            if (there := held.prompts.get(prompt)) is not None:
                yield Finding("shared_prompt", here.origin, f"the prompt is held out too: {there}", "prompt", here.id)


def _shown(one: Class) -> str:
    return one if isinstance(one, str) else f"[{', '.join(one)}]"


def _preferred(group: Group) -> list[tuple[int, int]]:
    """(best, worst) of each pair on which all judgements agree; (0, 0) of a single good completion, (0, 1) of a bad."""
    if len(group.completions) == 1:
        labels = {judgement.labels[0] for judgement in group.judgements if judgement.labels}
        return [(0, int(not label)) for label in labels] if len(labels) == 1 else []
    found = {(pair.chosen, pair.rejected) for pair in pairs(group)}
    return [(i, j) for i, j in found if (j, i) not in found] if len(group.judgements) > 1 else list(found)


def _annotator(group: Group) -> str | None:
    return group.judgements[0].annotator if len(group.judgements) == 1 else None


def _row_digest(group: Group, made: Digests) -> Digest:
    """The prompt, the completions and what was said of them by whom; two annotators who agree are two rows."""
    said = [
        (one.ranks, one.ratings, one.labels, one.annotator, one.classes, tuple(sorted(one.flags.items())), one.written)
        for one in group.judgements
    ]
    return hash((made.prompt, made.completions, tuple(said)))


def _digest(start: bytes, content: Text) -> Digest:
    made = hashlib.blake2b(start, digest_size=8)
    if isinstance(content, str):
        made.update(content.encode("utf-8", "surrogatepass"))
    else:
        for turn in content:
            extra = json.dumps(turn.extra, sort_keys=True, default=str) if turn.extra else ""
            made.update(f"\0{turn.role}\0{extra}\0{len(turn.content)}\0{turn.content}".encode("utf-8", "surrogatepass"))
    return int.from_bytes(made.digest())
