"""The options of `accord convert`."""

from typing import ClassVar, Literal

from pydantic import Field

from accord.stages.options import Data, ImplicitPrompt, OnBadRow, Options, Split

FormatName = Literal[
    "comparison",
    "demonstration",
    "unpaired",
    "ranking",
    "group",
    "conversation",
    "document",
    "prompt",
    "implicit",
    "hh",
    "alpaca",
    "alpaca_unpaired",
    "alpaca_comparison",
    "sharegpt",
    "sharegpt_unpaired",
    "sharegpt_comparison",
    "ultrafeedback",
    "helpsteer",
]


class ConvertOptions(Options):
    """Which data, and what they become."""

    panel: ClassVar[str] = "Data"
    data: Data
    output: str = Field(
        title="OUT",
        description="The file to write, of the kind that its name ends in: .jsonl, .json, .csv (.gz or .zst after "
        "them) or .parquet.",
    )
    to: FormatName = Field(description="What its rows are to be; docs/data.md shows each.")
    split: Split = "train"
    on_bad_row: OnBadRow = "error"
    implicit_prompt: ImplicitPrompt = False
