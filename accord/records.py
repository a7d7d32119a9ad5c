"""The one datum of the field: one prompt, K completions of it, and what was said about them.

Standard library only. Every station of the project takes groups and gives groups, or numbers about them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from accord.errors import InputError

ROLES = ("system", "developer", "user", "assistant", "tool")


class Origin(NamedTuple):
    """Where a group came from: file and line (counted from 1), or a data set's name and row."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class RecordError(InputError):
    """A row that is no group: names the file, the line and the field."""

    def __init__(self, what: str, *, origin: Origin | None = None, field: str = "", fix: str = "") -> None:
        self.origin, self.field = origin, field
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


@dataclass(frozen=True, slots=True)
class Completion:
    """What followed the prompt: plain text or turns, and the model that wrote it where that is known."""

    content: Text
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one annotator said of a group's K completions; every tuple given has K entries.

    ranks: 1 is best, equal ranks are ties. ratings: higher is better. labels: thumbs up or down.
    margin: by how much the best-ranked one wins (pairs).
    """

    ranks: tuple[int, ...] | None = None
    ratings: tuple[float, ...] | None = None
    labels: tuple[bool, ...] | None = None
    margin: float | None = None
    annotator: str | None = None


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
