"""The options of `accord theory`."""

from typing import ClassVar

from pydantic import Field

from accord.stages.options import Options


class TheoryOptions(Options):
    """How much of it."""

    panel: ClassVar[str] = "Theory"
    full: bool = Field(False, description="The long parts too: learning from sampled data, and how its error shrinks.")
    only: list[str] = Field(
        [], title="PART,...", description="Only these parts, as pairs, labels, modified; not given: all of them."
    )
