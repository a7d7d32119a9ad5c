"""What the JSON API takes and gives, as OpenAPI describes it.

Answers are described here and checked in `accord.collect.layouts`, which knows what the project asks. What is given
back is described here and written by hand (api_shown.py): checking it each time would cost as much as making it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from accord.collect.settings import Flag, Layout, Settings

PREFIX = "/api/v1"
# For the description only: who asks is found out in `context`, which knows sessions, too.
TOKEN = Security(HTTPBearer(auto_error=False, description="A token of an account: read, label or admin."))
MOST_ID = 2**53 - 1  # what a page's JavaScript can hold, and every database
LONGEST = 7 * 24 * 3600 * 1000  # milliseconds: a page was open for at most a week
Id = Annotated[int, Path(ge=1, le=MOST_ID)]
Role = Literal["admin", "annotator", "viewer"]


class Given(BaseModel):
    """The body of a request: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Answer(BaseModel):
    """What an annotator says, by the letter of the place at which an output was shown; each part where it is asked."""

    ratings: dict[str, int] = Field({}, examples=[{"A": 5, "B": 2}])
    flags: dict[str, list[str]] = Field({}, examples=[{"A": ["sexual"]}])
    notes: dict[str, str] = Field({}, examples=[{"B": "..."}])
    excluded: list[str] = Field([], description="Outputs that are kept out of the ranking.")
    ranking: list[list[str]] = Field(
        [],
        description="Best first, equals together: each output that is included, once.",
        examples=[[["A", "D"], ["B"]]],
    )
    both_bad: bool = Field(False, description="Layout pair, with all outputs equal.")
    labels: dict[str, bool] = Field({}, description="Layout thumbs: good or bad.", examples=[{"A": True}])
    text: str = Field("", description="Layout demonstration: the ideal answer.")


Wire = Annotated[dict[str, Any], WithJsonSchema(Answer.model_json_schema())]


class Submission(Given):
    """An answer that is meant. The same `submission` again stores nothing new and gives the same receipt."""

    submission: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_.:-]{8,80}$", description="Made by the client, e.g. a UUID.")
    ]
    answer: Wire
    active_ms: Annotated[int, Field(ge=0, le=LONGEST, description="Time of work on the page.")] = 0
    wall_ms: Annotated[int, Field(ge=0, le=LONGEST, description="Time for which the page was open.")] = 0
    revision: Annotated[int, Field(ge=0, le=MOST_ID, description="The one that the page had; 0 for a first one.")] = 0


class DraftGiven(Given):
    """What is on the page now. `version` is that of the draft that it replaces, 0 for none."""

    version: Annotated[int, Field(ge=0, le=MOST_ID)]
    answer: Wire
    active_ms: Annotated[int, Field(ge=0, le=LONGEST)] = 0


class SkipGiven(Given):
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class Turn(BaseModel):
    """html: safe HTML, where the project shows Markdown."""

    role: str
    text: str
    html: str | None = None


class Output(BaseModel):
    letter: str
    turns: list[Turn]


class PageBody(BaseModel):
    """A group as one annotator sees it: who wrote the outputs is not in it, nor what others said."""

    assignment: int
    project: int
    number: int = Field(description="1, 2, ... of this annotator's pages in this project.")
    status: Literal["open", "done", "skipped", "lapsed"]
    prompt: list[Turn]
    outputs: list[Output]
    tools: Any = Field(description="The tools that the assistant could call, as the file gave them; or null.")
    category: str | None
    sensitive: bool
    expires: float | None = Field(description="When the page is free for others, if left alone (seconds since 1970).")
    revision: int
    answer: Answer | None = Field(description="As submitted last.")
    draft: Answer | None
    draft_version: int
    active_ms: int


class DraftStored(BaseModel):
    version: int


class ReceiptBody(BaseModel):
    """repeated: this submission had been stored before."""

    assignment: int
    revision: int
    status: str
    warnings: list[str] = Field(description="Where ratings and ranks contradict each other.")
    repeated: bool


class ProgressBody(BaseModel):
    done: int
    skipped: int
    left: int
    active_ms: int


class HistoryRow(BaseModel):
    """One page of one's own. prompt: its first words."""

    assignment: int
    number: int
    status: str
    ended: float | None
    reason: str | None
    revision: int
    category: str | None
    prompt: str


class HistoryBody(BaseModel):
    pages: list[HistoryRow]


class ShownExample(BaseModel):
    title: str
    html: str


class TaskBody(BaseModel):
    """What a project asks of its annotators: the part of its settings that a page needs."""

    project: int
    name: str
    layout: Layout
    rate: bool
    scale: int
    flags: tuple[Flag, ...]
    notes: bool
    ties: bool
    skips: list[str]
    instructions: str = Field(description="Safe HTML.")
    examples: list[ShownExample]
    render: Literal["plain", "markdown"]
    blur: bool


class ProjectBody(BaseModel):
    """settings: for admins and viewers."""

    id: int
    name: str
    version: int
    archived: bool
    created: float
    settings: Settings | None = None


class ProjectsBody(BaseModel):
    projects: list[ProjectBody]


def _tuples(value: Any) -> Any:
    """JSON has lists only; the settings are strict."""
    if not isinstance(value, dict):
        return value
    return {name: tuple(one) if isinstance(one, list) else one for name, one in value.items()}


SettingsGiven = Annotated[Settings, BeforeValidator(_tuples)]


class ProjectGiven(Given):
    name: Annotated[str, Field(min_length=1, max_length=200)]
    settings: SettingsGiven = Settings()


class ProjectChange(Given):
    """version: the one that was read; settings replace all settings."""

    version: Annotated[int, Field(ge=1, le=MOST_ID)]
    settings: SettingsGiven


class ImportedBody(BaseModel):
    """same: groups that had been there before, unchanged."""

    new: int
    same: int
    judgements: int


class AccountBody(BaseModel):
    id: int
    name: str
    role: Role
    active: bool
    sensitive: bool = Field(description="Sees groups that are marked as sensitive.")


class AccountsBody(BaseModel):
    accounts: list[AccountBody]


class AccountGiven(Given):
    name: Annotated[str, Field(min_length=1, max_length=80)]
    role: Role = "annotator"
    password: Annotated[str, Field(max_length=1000)]


class InvitationGiven(Given):
    role: Role = "annotator"
    project: Annotated[int, Field(ge=1, le=MOST_ID)] | None = None


class InvitationBody(BaseModel):
    """link: shown this once; who opens it makes an account."""

    link: str


class EventBody(BaseModel):
    id: int
    at: float
    actor: str
    kind: str
    project_id: int | None
    subject: str
    detail: dict[str, Any]
    previous: str
    hash: str


class LogBody(BaseModel):
    events: list[EventBody]


class Said(BaseModel):
    kind: str = Field(description="A word for programs: not_there, stale, invalid ...")
    what: str
    fix: str
    fields: dict[str, str] = Field(description="What is wrong, by the part of the answer.")


class ErrorBody(BaseModel):
    error: Said


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What an endpoint may refuse, for its description."""
    return {status: {"model": ErrorBody} for status in statuses}
