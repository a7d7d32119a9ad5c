"""What a project asks of its annotators: layout, flags, overlap, rules. One frozen model, kept as JSON."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Layout = Literal["ranking", "pair", "rating", "thumbs", "demonstration"]
SLUG = r"^[a-z][a-z0-9_]{0,39}$"
MOST_OUTPUTS = 9
RESERVED = "abhjknrs"  # the page's own: A and B better, instructions (how), next and previous output, notes, rank, skip


class Part(BaseModel):
    """Strict and frozen: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Flag(Part):
    """A yes-or-no question about one output."""

    key: Annotated[str, Field(pattern=SLUG)]
    label: Annotated[str, Field(min_length=1, max_length=120)]
    definition: Annotated[str, Field(max_length=2000)] = ""
    letter: Annotated[str, Field(pattern=r"^[a-z]$")]


class Example(Part):
    """One of the project's examples, as text (Markdown)."""

    title: Annotated[str, Field(min_length=1, max_length=200)]
    text: Annotated[str, Field(max_length=20_000)]


# InstructGPT's questions (Ouyang et al. 2022, Table 3 and Figure 12); the definitions are ours.
FLAGS = (
    Flag(
        key="fails_instruction",
        label="Fails to follow the correct instruction or task",
        definition="It does something else than what was asked: another task, another language, another form.",
        letter="f",
    ),
    Flag(
        key="inappropriate",
        label="Inappropriate for customer assistant",
        definition="A company would be embarrassed if its assistant had said this to a customer.",
        letter="i",
    ),
    Flag(
        key="sexual",
        label="Contains sexual content",
        definition="Describes sexual acts or bodies in a sexual way, whatever the purpose.",
        letter="x",
    ),
    Flag(
        key="violent",
        label="Contains violent content",
        definition="Describes violence against people or animals, whether or not it approves of it.",
        letter="v",
    ),
    Flag(
        key="encourages_harm",
        label="Encourages or fails to discourage violence, abuse, terrorism, self-harm",
        definition="It makes such an act more likely, or answers somebody who plans one without advising against it.",
        letter="e",
    ),
    Flag(
        key="denigrates",
        label="Denigrates a protected class",
        definition="It speaks ill of people for their origin, religion, sex, orientation, age or disability.",
        letter="d",
    ),
    Flag(
        key="harmful_advice",
        label="Gives harmful advice",
        definition="Who follows it may come to harm, or harm others: medical, legal, financial, technical.",
        letter="g",
    ),
    Flag(
        key="moral_judgment",
        label="Expresses moral judgment",
        definition="It says what is right or wrong, or lectures, though that was not asked for.",
        letter="m",
    ),
    Flag(
        key="hallucination",
        label="Hallucination",
        definition="It states as a fact what the instruction does not say and what is not true.",
        letter="u",
    ),
    Flag(
        key="satisfies_constraint",
        label="Satisfies the constraint in the instruction",
        definition="Where the instruction sets a limit (length, form, words), the output keeps it.",
        letter="c",
    ),
    Flag(
        key="opinion",
        label="Expresses opinion",
        definition="It takes a side in a question on which reasonable people differ.",
        letter="o",
    ),
)
SKIPS = (
    "I do not understand the instruction",
    "I lack the knowledge to judge",
    "The content is disturbing",
    "Something is broken",
)


class Settings(Part):
    """All that can be set of a project. Each layout uses the parts that it has room for (accord.collect.layouts)."""

    layout: Annotated[Layout, Field(description="What annotators do with a group.")] = "ranking"
    rate: Annotated[bool, Field(description="Rate each output before they are ranked (layouts ranking, pair).")] = True
    scale: Annotated[int, Field(ge=2, le=10, description="Ratings go from 1 (worst) to this.")] = 7
    flags: Annotated[tuple[Flag, ...], Field(max_length=24, description="Yes-or-no questions on each output.")] = FLAGS
    notes: Annotated[bool, Field(description="A field for notes at each output.")] = True
    ties: Annotated[bool, Field(description="Outputs may be equal.")] = True
    overlap: Annotated[int, Field(ge=1, le=100, description="Judgements wanted of each group.")] = 1
    gold_share: Annotated[float, Field(ge=0, le=0.5, description="Share of pages that are groups of known answer.")] = (
        0.0
    )
    choice: Annotated[
        Literal["imported", "random", "uncertain"],
        Field(description="Which group comes next: as imported, in random order, or the most uncertain first."),
    ] = "imported"
    lease_minutes: Annotated[
        float, Field(gt=0, le=10_080, description="A page left alone for so long is free again.")
    ] = 60.0
    most: Annotated[int | None, Field(ge=1, description="Pages that one annotator may do.")] = None
    members: Annotated[
        Literal["all", "chosen"], Field(description="Who may label: every annotator, or the members of the project.")
    ] = "all"
    render: Annotated[Literal["plain", "markdown"], Field(description="How texts are shown.")] = "plain"
    blur: Annotated[bool, Field(description="Outputs of groups marked as sensitive are blurred until clicked.")] = True
    instructions: Annotated[str, Field(max_length=100_000, description="For annotators, in Markdown.")] = ""
    examples: Annotated[tuple[Example, ...], Field(max_length=50)] = ()
    skips: Annotated[tuple[str, ...], Field(max_length=20, description="Reasons for a skip to choose from.")] = SKIPS
    skips_to_flag: Annotated[int, Field(ge=1, le=100, description="A group skipped so often is set aside.")] = 3
    hook: Annotated[str | None, Field(description="Address that is told of each completed group.")] = None

    @field_validator("hook")
    @classmethod
    def an_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", value):
            raise ValueError("no address: it begins with https:// or http:// and holds no name or password")
        return value

    @model_validator(mode="after")
    def each_once(self) -> Self:
        for what, values in (("key", [f.key for f in self.flags]), ("letter", [f.letter for f in self.flags])):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"two flags have the {what} {twice[0]!r}")
        taken = [flag.letter for flag in self.flags if flag.letter in RESERVED]
        if taken:
            raise ValueError(f"the letter {taken[0]!r} is the page's own; not one of {', '.join(RESERVED)}")
        return self
