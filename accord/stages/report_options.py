"""The options of `accord report`."""

from typing import ClassVar

from pydantic import Field

from accord.stages.options import Options


class PageOptions(Options):
    """What a page shows, and where it goes."""

    panel: ClassVar[str] = "Page"
    run: list[str] = Field(
        [],
        title="RUN,...",
        description="Run folders, or directories above them, as that of a sweep: all runs below are shown.",
    )
    compare: list[str] = Field(
        [],
        title="FILE.json,...",
        description="Results that accord compare, winrate, safety or another command wrote with --json.",
    )
    title: str | None = Field(None, title="TEXT", description="Title of the page; not given: the runs' names.")
    output: str = Field("report.html", title="FILE.html", description="The file to write.")
