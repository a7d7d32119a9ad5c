"""The options of `accord winrate`, but for those of its judges."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from accord.stages.options import Conflict, OnBadRow, Options, Seed, Split


class ComparedOptions(Options):
    """Who is compared with whom, and what says which is better."""

    panel: ClassVar[str] = "Data"
    data: list[str] = Field(
        [],
        title="FILE,...",
        description="Verdicts: groups with ranks or ratings whose completions name their models, AlpacaEval's "
        "annotations, or other rows that compare two models (docs/winrate.md); several with commas.",
    )
    model: list[str] = Field(
        [], title="MODEL,...", description="Whose win rates; not given: of every model in the data but the baseline."
    )
    against: str | None = Field(
        None,
        title="MODEL",
        description="The baseline; not given: AlpacaEval's generator_1, or the one that all others were compared with.",
    )
    split: Split = "train"
    on_bad_row: OnBadRow = "error"
    by: Literal["none", "category"] = Field("none", description="A row for each category of the data.")
    over: str | None = Field(
        None,
        title="COLUMN",
        description="A row for each value of this column of numbers, as a sampling temperature; --plot then draws win "
        "rates over it.",
    )

    @model_validator(mode="after")
    def of_one_kind(self) -> Self:
        if self.over is not None and self.by != "none":
            raise Conflict("over", "not together with by", "give one of the two")
        if self.against is not None and self.against in self.model:
            raise Conflict("against", f"{self.against!r} is also a model that is asked about", "give another one")
        return self


class WinRateOptions(Options):
    """How win rates are measured, and how sure they are."""

    panel: ClassVar[str] = "Win rate"
    interval: Literal["auto", "wilson", "bootstrap", "bca", "cluster"] = Field(
        "auto",
        description="auto: wilson where every prompt has one verdict and none is a tie, bootstrap where some are ties "
        "or chances, cluster where prompts have several verdicts.",
    )
    several: Literal["all", "first"] = Field(
        "all", description="Of several verdicts on the same models and prompt: all, or the first one only."
    )
    level: float = Field(0.95, gt=0, lt=1, description="Of the intervals.")
    rounds: int = Field(1000, ge=50, le=100_000, description="Resamples of a bootstrap.")
    seed: Seed = Field(0, description="Of what is resampled.")
    length_control: bool = Field(
        True, description="Also the win rate at equal length, where the data have the texts (docs/winrate.md)."
    )
    difficulty: str | None = Field(
        None,
        title="FILE.json",
        description="How hard each instruction is: a list of numbers by row, or an object with "
        "`instruction_difficulty` and perhaps `gamed_rows`; not given: estimated from three models or more.",
    )

    @model_validator(mode="after")
    def of_use(self) -> Self:
        if self.difficulty is not None and not self.length_control:
            raise Conflict("difficulty", "belongs to length control, which is off", "leave one of the two out")
        return self
