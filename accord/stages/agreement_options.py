"""The options of `accord agreement`."""

from typing import ClassVar, Literal

from pydantic import Field

from accord.stages.options import OnBadRow, Options, Seed, Split


class OpinionOptions(Options):
    """Whose judgements, and which of them are a model's."""

    panel: ClassVar[str] = "Data"
    data: list[str] = Field(
        title="FILE,...",
        description="Groups judged by several annotators, or rows that compare two models (docs/agreement.md); several "
        "with commas: what is the same item in two files is one.",
    )
    split: Split = "train"
    on_bad_row: OnBadRow = "error"
    models: list[str] = Field(
        [],
        title="NAME,...",
        description="Annotators that are models, and no people; with * for any letters, as gpt-4*.",
    )
    per_item: int | None = Field(
        None, ge=2, description="Count the first so many judgements of each item only; not given: all."
    )


class AgreementOptions(Options):
    """What counts as agreement, and how sure it is."""

    panel: ClassVar[str] = "Agreement"
    ties: Literal["zero", "half", "drop"] = Field(
        "drop",
        description="A tie against a decision between two: no agreement (zero), half of one, or left out together with "
        "ties on both sides (drop).",
    )
    least: int = Field(10, ge=1, description="Items that two annotators must have in common to be in the matrix.")
    cluster: Literal["prompt", "item"] = Field(
        "prompt", description="Items that may depend on each other: those of one prompt; item: none do."
    )
    rounds: int = Field(1000, ge=50, le=100_000, description="Resamples of the bootstrap.")
    seed: Seed = Field(0, description="Of the bootstrap.")
    level: float = Field(0.95, gt=0, lt=1, description="Of the intervals.")
