"""Where tables go besides the terminal."""

import warnings
from typing import ClassVar

from pydantic import Field, field_validator

from accord.stages.options import Conflict, Options
from accord.stages.score_options import PICTURES

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", 'Field name "json"')  # pydantic's own `json` is deprecated, and not used here

    class PicturedOutput(Options):
        """Where tables go besides the terminal."""

        panel: ClassVar[str] = "Output"
        json: str | None = Field(  # type: ignore[assignment]
            None, title="FILE|-", description="Write all of it as JSON to this file too; - for standard output instead."
        )
        markdown: str | None = Field(None, title="FILE", description="Write the tables and how they were made.")
        plot: str | None = Field(None, title="FILE.png", description="Draw it: .png, .pdf or .svg.")

        @field_validator("plot")
        @classmethod
        def a_picture(cls, value: str | None) -> str | None:
            if value is not None and not value.lower().endswith(PICTURES):
                raise Conflict("plot", f"{value!r} is no picture", f"a name ending in {', '.join(PICTURES)}")
            return value

    class ReportedOutput(PicturedOutput):
        """The same, where JSON has the rows of the table alone, and a report all that stands behind them."""

        json: str | None = Field(
            None, title="FILE|-", description="Write the table as JSON to this file too; - for standard output instead."
        )
        report: str | None = Field(
            None,
            title="FILE",
            description="Write all about it as JSON: also pairs of models, counts, files, and how it was made.",
        )
