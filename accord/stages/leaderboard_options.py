"""The options of `accord leaderboard`."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from accord.stages.options import Conflict, OnBadRow, Options, Seed, Split

StyleName = Literal["length", "headers", "lists", "bold", "position"]


class VerdictOptions(Options):
    """Which comparisons."""

    panel: ClassVar[str] = "Data"
    data: list[str] = Field(
        title="FILE,...",
        description="Groups with ranks or ratings whose completions name their models, or rows that compare two models "
        "(docs/leaderboard.md); several with commas.",
    )
    split: Split = "train"
    on_bad_row: OnBadRow = "error"
    by: Literal["none", "category"] = Field("none", description="A table for each category of the data.")


class StrengthOptions(Options):
    """How strengths are found, and how sure they are."""

    panel: ClassVar[str] = "Strengths"
    anchor: str | None = Field(
        None, title="MODEL", description="The model of strength 0 and Elo 1000; not given: the mean of all."
    )
    ties: Literal["half", "davidson", "rao_kupper"] = Field(
        "half", description="A tie counts half a win for each, or is an outcome with a strength of its own."
    )
    rankings: Literal["pairs", "plackett_luce"] = Field(
        "pairs", description="A ranking of K counts as its K (K - 1) / 2 pairs, which share its weight, or as a whole."
    )
    ridge: float = Field(
        0.0, ge=0, description="Pulls strengths to their mean: finite ones also for models that never lost."
    )
    errors: Literal["clustered", "bootstrap", "fisher"] = Field(
        "clustered",
        description="Standard errors by the sandwich, by resampling, or as if all comparisons were independent.",
    )
    cluster: Literal["prompt", "annotator", "none"] = Field(
        "prompt", description="Judgements that may depend on each other: those of one prompt, of one annotator; none."
    )
    rounds: int = Field(1000, ge=50, le=100_000, description="Resamples of the bootstrap.")
    seed: Seed = Field(0, description="Of the bootstrap.")
    level: float = Field(0.95, gt=0, lt=1, description="Of the intervals.")
    style: list[StyleName] = Field(
        [],
        title="LIST",
        description="Strengths beside the effect of these, as length,headers,lists,bold of the texts, or position (who "
        "was shown first).",
    )
    style_ridge: float = Field(0.5, ge=0, description="Pulls the effects of style to 0.")

    @model_validator(mode="after")
    def of_use(self) -> Self:
        defaults = {key: field.default for key, field in type(self).model_fields.items()}
        changed = {key for key, value in defaults.items() if getattr(self, key) != value}
        if self.rankings == "plackett_luce":
            for key in ("ties", "style"):
                if key in changed:
                    raise Conflict(key, "belongs to pairs, and rankings is plackett_luce", "leave one of the two out")
        if self.errors != "bootstrap":
            for key in ("rounds", "seed"):
                if key in changed:
                    raise Conflict(key, f"belongs to the bootstrap, and errors is {self.errors}", "errors bootstrap")
        if self.errors == "fisher" and "cluster" in changed:
            raise Conflict("cluster", "errors fisher takes every comparison for itself", "leave it out")
        if "style_ridge" in changed and not self.style:
            raise Conflict("style_ridge", "pulls nothing, as no style is given", "give style too, or leave it out")
        if len(set(self.style)) < len(self.style):
            raise Conflict("style", "names one thing twice", "name each once")
        return self
