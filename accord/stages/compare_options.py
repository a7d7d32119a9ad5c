"""The options of `accord compare`, but for those of answers and judges."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from accord.stages.options import Conflict, OnBadRow, Options, Seed, Split
from accord.stages.safety_options import directions_of


class EntrantOptions(Options):
    """Who is compared."""

    panel: ClassVar[str] = "Models"
    model: list[str] = Field(
        title="MODEL|FILE,...",
        description="Run folders or directories of models, which answer --prompts, files of answers, or reference for "
        "the completions of --prompts; with commas. The first is what the others are held against.",
    )
    reference: str | None = Field(
        None,
        title="MODEL",
        description="The directory from which the KL of every model is measured; not given: the first model, where it "
        "is one.",
    )
    split: Split = "train"
    on_bad_row: OnBadRow = "error"


class ComparedFiguresOptions(Options):
    """What is measured besides win rates, and how sure all of it is."""

    panel: ClassVar[str] = "Figures"
    classifier: list[str] = Field(
        [], title="DIR,...", description="Classifiers of accord classify: a table of what the answers are."
    )
    label: list[str] = Field([], title="NAME,...", description="Of the classifiers' labels these alone.")
    threshold: float | None = Field(
        None, gt=0, lt=1, description="Count answers with at least this probability; not given: its mean."
    )
    better: list[str] = Field(
        [],
        title="NAME=lower|higher,...",
        description="Which direction of a label is better, where its name does not say it (docs/safety.md).",
    )
    length_control: bool = Field(
        True, description="Also win rates against the first model at equal length (docs/winrate.md)."
    )
    difficulty: str | None = Field(
        None, title="FILE.json", description="How hard each instruction is, for that: as accord winrate takes it."
    )
    level: float = Field(0.95, gt=0, lt=1, description="Of the intervals.")
    rounds: int = Field(1000, ge=50, le=100_000, description="Resamples of a bootstrap.")
    seed: Seed = Field(0, description="Of the answers, the same for every model, and of what is resampled.")
    samples: int = Field(3, ge=0, le=10_000, description="Prompts whose answers are shown side by side.")

    @property
    def directions(self) -> dict[str, Literal["lower", "higher"]]:
        """Name -> which direction is better."""
        return directions_of(self.better)

    @model_validator(mode="after")
    def of_use(self) -> Self:
        directions_of(self.better)
        if self.difficulty is not None and not self.length_control:
            raise Conflict("difficulty", "belongs to length control, which is off", "leave one of the two out")
        for key in ("label", "threshold", "better"):
            if getattr(self, key) and not self.classifier:
                raise Conflict(key, "is of a classifier, and none is given", "give classifier too, or leave it out")
        return self
