"""The one datum of the field: one prompt, K completions of it, and what was said about them.

Standard library only. Every station of the project takes groups and gives groups, or numbers about them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from accord.errors import InputError

ROLES = ("system", "developer", "user", "assistant", "tool")


class Origin(NamedTuple):
    """Where a group came from: file and line (counted from 1), or a data set's name and row. Line 0: the whole file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class RecordError(InputError):
    """A row that is no group, or that a stage cannot use: names the file, the line and the field.

    finding: its name in the table of accord.data.findings.
    """

    def __init__(
        self, what: str, *, origin: Origin | None = None, field: str = "", fix: str = "", finding: str = "malformed"
    ) -> None:
        self.origin, self.field, self.finding = origin, field, finding
        where = ": ".join(part for part in (str(origin) if origin else "", field) if part)
        super().__init__(what, where=where, fix=fix)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `extra` holds the template's other keys (`tool_calls`, `name`, ...), untouched."""

    role: str
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The dictionary that chat templates take."""
        return {"role": self.role, "content": self.content, **self.extra}


Turns = tuple[Message, ...]
Text = str | Turns
Class = str | tuple[str, ...]  # the one name of what a text is, or all names that hold of it


@dataclass(frozen=True, slots=True)
class Completion:
    """What followed the prompt: plain text or turns, and the model that wrote it where that is known."""

    content: Text
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one annotator said of a group's K completions; every tuple given has K entries.

    ranks: 1 is best, equal ranks are ties, None was kept out: it is neither better nor worse than any other.
    ratings: higher is better. labels: thumbs up or down.
    margin: by how much the best-ranked one wins (pairs). aspects: further ratings, which order nothing.
    classes: what each one is, by name. flags: yes or no to a name, None where that was not said.
    shown: the place at which each was shown, 1 the first. notes: what the annotator remarked on each, "" nothing.
    seconds: that the annotator was at it. settled: it settles what others disagree on. No stage learns from these, and
    no fingerprint has them. written: what the annotator wrote as the ideal completion; learnt where it is taken as one.
    """

    ranks: tuple[int | None, ...] | None = None
    ratings: tuple[float, ...] | None = None
    labels: tuple[bool, ...] | None = None
    margin: float | None = None
    annotator: str | None = None
    aspects: Mapping[str, tuple[float, ...]] = field(default_factory=dict, hash=False)
    classes: tuple[Class, ...] | None = None
    flags: Mapping[str, tuple[bool | None, ...]] = field(default_factory=dict, hash=False)
    shown: tuple[int, ...] | None = field(default=None, repr=False)
    notes: tuple[str, ...] | None = field(default=None, repr=False)
    seconds: float | None = field(default=None, repr=False)
    written: str | None = field(default=None, repr=False)
    settled: bool = field(default=False, repr=False)

    @property
    def said(self) -> dict[str, Any]:
        """What it says, by the names of its fields; what it does not have is left out."""
        values = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in values if value is not None and value is not False and value != {}}


class Judged(Protocol):
    """What is known of a group without its texts."""

    @property
    def id(self) -> str: ...
    @property
    def judgements(self) -> tuple[Judgement, ...]: ...
    @property
    def weight(self) -> float: ...
    @property
    def category(self) -> str | None: ...
    @property
    def source(self) -> Origin: ...
    @property
    def same(self) -> tuple[int, ...]:
        """(K,) for each completion the first one of the same text: 0, 1, 0 where the third repeats the first."""


@dataclass(frozen=True, slots=True)
class Said:
    """A group without its texts: what is left of it where they have become tokens."""

    id: str
    judgements: tuple[Judgement, ...]
    weight: float
    category: str | None
    source: Origin
    same: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt and K completions of it, with the judgements that people or models gave."""

    id: str
    prompt: Text
    completions: tuple[Completion, ...]
    judgements: tuple[Judgement, ...] = ()
    weight: float = 1.0
    category: str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    source: Origin = Origin("<memory>", 0)

    @property
    def same(self) -> tuple[int, ...]:
        """(K,) for each completion the first one of the same text: 0, 1, 0 where the third repeats the first."""
        contents = [completion.content for completion in self.completions]
        return tuple(contents.index(content) for content in contents)

    @property
    def said(self) -> Said:
        """The same without its texts."""
        return Said(self.id, self.judgements, self.weight, self.category, self.source, self.same)
