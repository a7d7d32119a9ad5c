"""The options of `accord safety`."""

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from accord.stages.options import Conflict, MaxTokens, OnBadRow, Options, Split


def directions_of(better: Sequence[str]) -> dict[str, Literal["lower", "higher"]]:
    """NAME=lower|higher -> name and direction. Conflict: one is neither."""
    found: dict[str, Literal["lower", "higher"]] = {}
    for one in better:
        name, _, side = one.rpartition("=")
        if not name or side not in ("lower", "higher"):
            raise Conflict("better", f"{one!r} is no direction", "NAME=lower or NAME=higher, as spam=lower")
        found[name] = "lower" if side == "lower" else "higher"
    return found


class PropertyOptions(Options):
    """Whose answers, and what is known of them."""

    panel: ClassVar[str] = "Data"
    data: list[str] = Field(
        title="FILE|MODEL,...",
        description="Answers with flags or scores (docs/safety.md), or directories of models, which answer --prompts; "
        "several with commas. The first is what the others are held against.",
    )
    split: Split = "train"
    on_bad_row: OnBadRow = "error"
    scores: list[str] = Field(
        [],
        title="NAME,...",
        description="Numbers of each answer that are columns of the table: columns of the data, aspects of its "
        "ratings, or ratings.",
    )
    classifier: list[str] = Field(
        [],
        title="DIR,...",
        description="Classifiers of accord classify: the probabilities of their labels are columns of the table.",
    )
    label: list[str] = Field(
        [],
        title="NAME,...",
        description="Of the classifiers' labels these alone; not given: those whose better direction is known, else "
        "all.",
    )
    threshold: float | None = Field(
        None, gt=0, lt=1, description="Count answers with at least this probability; not given: its mean."
    )

    @model_validator(mode="after")
    def of_classifiers(self) -> Self:
        for key in ("label", "threshold"):
            if getattr(self, key) and not self.classifier:
                raise Conflict(key, "is of a classifier, and none is given", "give classifier too, or leave it out")
        return self


class ComparisonOptions(Options):
    """What is better, than what, and how sure that is."""

    panel: ClassVar[str] = "Comparison"
    better: list[str] = Field(
        [],
        title="NAME=lower|higher,...",
        description="Which direction of a column is better, where its name does not say it (docs/safety.md).",
    )
    against: str | None = Field(
        None, title="MODEL", description="The model that the others are held against; not given: the first."
    )
    level: float = Field(0.95, gt=0, lt=1, description="Of the intervals; 1 less this is the level of the tests.")

    @property
    def directions(self) -> dict[str, Literal["lower", "higher"]]:
        """Name -> which direction is better."""
        return directions_of(self.better)

    @model_validator(mode="after")
    def are_directions(self) -> Self:
        directions_of(self.better)
        return self


class AnswerOptions(Options):
    """How models that are given answer, and how classifiers read."""

    panel: ClassVar[str] = "Models"
    prompts: str | None = Field(
        None, title="FILE_OR_NAME", description="What the models among the data answer; any format with a prompt."
    )
    n: int = Field(1, ge=1, le=1000, description="Answers of each model to each prompt.")
    answers: str | None = Field(
        None, title="DIR", description="Keep what the models answer there, a file for each; not given: nowhere."
    )
    dtype: Literal["float32", "bf16"] | None = Field(
        None, description="Number type of the computation; none: float32 on CPU, bf16 on GPU."
    )
    device: str | None = Field(None, title="DEVICE", description="cpu, cuda, cuda:1; not given: a GPU if there is one.")
    trust_remote_code: bool = Field(False, description="Run Python code that lies in the model directories.")
    max_tokens: MaxTokens = None
