"""The options of `accord scaling`."""

import warnings
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from accord.stages.options import Conflict, Options, Seed
from accord.stages.score_options import PICTURES


class ScaledRunsOptions(Options):
    """Which runs."""

    panel: ClassVar[str] = "Data"
    runs: list[str] = Field(
        title="RUN,...",
        description="Run folders of accord pretrain, directories that such are below, or tables (.csv, .jsonl, .json, "
        ".parquet) with the columns parameters, tokens, loss, and perhaps name, compute.",
    )
    count: Literal["all", "without_embeddings"] = Field(
        "all", description="Which parameters of a run's model are counted: Hoffmann et al. 2022 count all."
    )


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", 'Field name "json"')  # pydantic's own `json` is deprecated, and not used here

    class LawOptions(Options):
        """Which law is fitted, what it is asked, and where the answers go."""

        panel: ClassVar[str] = "Law"
        against: Literal["auto", "parameters", "tokens", "compute", "both"] = Field(
            "auto",
            description="L = E + A / N^alpha of one of them, or of parameters and tokens both; auto: of what varies.",
        )
        at: list[str | float] = Field(
            [],
            title="SIZE,...",
            description="Sizes at which the loss is predicted, as 1e9; of a law of both parameters:tokens, 1e9:2e10.",
        )
        compute: list[float] = Field(
            [],
            title="FLOPS,...",
            description="Of a law of both: budgets of compute of which the best parameters and tokens are told; not "
            "given: 1, 10 and 100 times that of the largest run.",
        )
        delta: float = Field(
            1e-3, gt=0, le=10, description="Where the Huber loss of log L turns from squares to absolute values."
        )
        errors: Literal["auto", "runs", "residuals"] = Field(
            "auto",
            description="Intervals by resampling runs, or losses about the law; auto: runs, if there are 30 or more.",
        )
        rounds: int = Field(1000, ge=50, le=100_000, description="Resamples.")
        seed: Seed = Field(0, description="Of the resamples.")
        level: float = Field(0.95, gt=0, lt=1, description="Of the intervals.")
        json: str | None = Field(  # type: ignore[assignment]
            None, title="FILE|-", description="Write all of it as JSON to this file too; - for standard output instead."
        )
        markdown: str | None = Field(None, title="FILE", description="Write the tables as Markdown.")
        plot: str | None = Field(
            None, title="FILE.png", description="Draw the runs, the law and its interval; .pdf and .svg too."
        )

        @field_validator("plot")
        @classmethod
        def a_picture(cls, value: str | None) -> str | None:
            if value is not None and not value.lower().endswith(PICTURES):
                raise Conflict("plot", f"{value!r} is no picture", f"a name ending in {', '.join(PICTURES)}")
            return value

        @field_validator("compute")
        @classmethod
        def some_compute(cls, value: list[float]) -> list[float]:
            if any(one <= 0 for one in value):
                raise Conflict("compute", "a budget is not above 0", "give FLOPs, as 1e20")
            return value

        @model_validator(mode="after")
        def sizes_of_the_law(self) -> Self:
            for one in self.at:
                sizes_of(one)
            if self.compute and self.against not in ("auto", "both"):
                what = f"asks how to spend a budget, and the law is one of {self.against} alone"
                raise Conflict("compute", what, "against both, or leave it out")
            return self


def sizes_of(text: str | float) -> tuple[float, ...]:
    """1e9 -> (1e9,); 1e9:2e10 -> (1e9, 2e10). Conflict: neither."""
    try:
        found = tuple(float(part) for part in str(text).split(":"))
    except ValueError:
        found = ()
    if not 1 <= len(found) <= 2 or not all(0 < one < float("inf") for one in found):
        raise Conflict("at", f"{text!r} is no size", "give numbers above 0, as 1e9, or of both 1e9:2e10")
    return found
