"""The options of `accord score` and `accord reward-bench`."""

import warnings
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from accord.stages.options import Conflict, MaxTokens, Options, Threads

PICTURES = (".png", ".pdf", ".svg")


class ScoringOptions(Options):
    """What the score of a completion is, and where scores go."""

    panel: ClassVar[str] = "Scores"
    output: str = Field(
        title="FILE",
        description="The .jsonl file to write, one line a completion; packed if its name ends in .gz or .zst.",
    )
    normalised: bool = Field(
        False,
        description="Less the mean of the demonstrations' scores, which a model of accord reward keeps: they have 0.",
    )
    label: str | None = Field(
        None,
        title="NAME",
        description="Of a classifier: the label whose log-odds are the score; not given: all probabilities alone.",
    )
    report: str = Field(
        "auto",
        title="FILE.json",
        description="Write the report on judged data as JSON to this file too; auto: it is shown; none: neither.",
    )
    plot: str | None = Field(None, title="FILE.png", description="Draw the report: .png, .pdf or .svg.")
    max_tokens: MaxTokens = None
    threads: Threads = None

    @model_validator(mode="after")
    def a_picture_of_a_report(self) -> Self:
        if self.plot is not None and not self.plot.lower().endswith(PICTURES):
            raise Conflict("plot", f"{self.plot!r} is no picture", f"a name ending in {', '.join(PICTURES)}")
        if self.plot is not None and self.report == "none":
            raise Conflict("plot", "a picture of no report", "leave out report, or plot")
        return self


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", 'Field name "json"')  # pydantic's own `json` is deprecated, and not used here

    class BenchOptions(Options):
        """By which rules, by what score, and where the table goes."""

        panel: ClassVar[str] = "Benchmark"
        spec: Literal["auto", "rewardbench", "rewardbench2", "plain"] = Field(
            "auto",
            description="Whose sections and weights: RewardBench's, RewardBench 2's, or none (each subset, and all "
            "rows alike); auto: the one that knows every subset of the data.",
        )
        reference: str | None = Field(
            None,
            title="DIR_OR_NAME",
            description="The model is a policy, scored by its implicit reward against this reference (DPO).",
        )
        reference_free: Literal["mean", "sum"] | None = Field(
            None,
            description="The model is a policy, scored without a reference: by the mean or the sum of its "
            "log-probabilities.",
        )
        label: str | None = Field(
            None, title="NAME", description="Of a classifier: the label whose log-odds are the score."
        )
        texts: Literal["auto", "turns", "plain"] = Field(
            "auto",
            description="A prompt and answers of plain text: as turns in the chat template, or as text that goes on; "
            "auto: as turns in rows with a subset, if the tokenizer has a template.",
        )
        scores: str | None = Field(
            None, title="FILE", description="Write each row's scores and whether they are right, as .jsonl."
        )
        json: str | None = Field(  # type: ignore[assignment]
            None,
            title="FILE|-",
            description="Write the tables as JSON to this file too; - for standard output instead.",
        )
        markdown: str | None = Field(
            None, title="FILE.md", description="Write the tables as Markdown to this file too."
        )
        max_tokens: MaxTokens = None
        threads: Threads = None

        @model_validator(mode="after")
        def one_kind_of_score(self) -> Self:
            if self.reference is not None and self.reference_free is not None:
                raise Conflict("reference_free", "not together with reference", "give one of the two")
            asked = "reference" if self.reference is not None else "reference_free"
            if self.label is not None and getattr(self, asked) is not None:
                raise Conflict("label", f"a policy has none, and {asked} is given", "give one of the two")
            return self
