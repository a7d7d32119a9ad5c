"""A page of results as data, and the one HTML file that shows it.

The file asks for nothing from anywhere: no script, no font, no picture from outside. Every text is escaped, and what a
browser would obey inside a text (control characters, marks that turn the direction of writing) is shown as what it is.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from accord.evaluate.report.chart import Chart, Line
from accord.evaluate.report.chart_places import COLOURS, places
from accord.stages.tables import put

MIME = {"png": "image/png", "svg": "image/svg+xml"}
KEPT = "\n\t\u200c\u200d\u200e\u200f\u061c"  # line breaks, joiners and the marks that right-to-left writing needs
NAME = re.compile(r"[a-z][a-z0-9-]*")


class Prose(NamedTuple):
    """Plain sentences; an empty line begins a new paragraph."""

    text: str


class Notice(NamedTuple):
    """Something that a reader has to know before the figures are believed."""

    text: str
    kind: Literal["warning", "failure", "note"] = "warning"


class Code(NamedTuple):
    """What can be typed, or the content of a file, as it stands."""

    text: str
    title: str = ""


class Picture(NamedTuple):
    """A picture that was drawn elsewhere. alt: what it says, for those who do not see it."""

    title: str
    content: bytes
    kind: Literal["png", "svg"]
    alt: str
    caption: str = ""


class Grid(NamedTuple):
    """A table. The first column names the row. What stands below a cell's first line is shown smaller.

    numeric: places of the columns of numbers, which are set to the right. shade: of each cell in -1..1 (orange below 0,
    blue above), None for a cell without colour; not given: no colours.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    numeric: Sequence[int] = ()
    shade: Sequence[Sequence[float | None]] | None = None


class Reply(NamedTuple):
    """What one model said. score: as it is to be shown, with its unit; note: such as "cut at 64 tokens"."""

    model: str
    text: str
    score: str = ""
    note: str = ""


class Exchange(NamedTuple):
    """One prompt, and what each model said to it."""

    prompt: str
    replies: Sequence[Reply]


class Conversations(NamedTuple):
    """The same prompts answered by several models, side by side."""

    title: str
    exchanges: Sequence[Exchange]
    note: str = ""


class Charts(NamedTuple):
    """Small charts beside each other, which share one legend where their lines have the same names."""

    title: str
    charts: Sequence[Chart]
    note: str = ""


class Folded(NamedTuple):
    """Parts that are opened by who wants to see them."""

    title: str
    parts: Sequence[Part]


Part: TypeAlias = Prose | Notice | Code | Picture | Grid | Conversations | Charts | Folded


class Fact(NamedTuple):
    """A figure for the head of the page, such as ("win rate", "71.2 %", "65 to 77; after against before")."""

    label: str
    value: str
    note: str = ""


class Section(NamedTuple):
    """A chapter. id: for links to it, small letters, digits and hyphens, each once in a page."""

    id: str
    title: str
    intro: str
    parts: Sequence[Part]


class Page(NamedTuple):
    """The whole. summary: what a newcomer has to know first, as `Prose`."""

    title: str
    summary: str
    facts: Sequence[Fact]
    sections: Sequence[Section]
    footer: str = ""


def html(page: Page) -> str:
    """The page as one HTML document."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    names = [section.id for section in page.sections]
    assert len(set(names)) == len(names) and all(NAME.fullmatch(name) for name in names), names
    room = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    room.filters |= {
        "paragraphs": paragraphs,
        "source": source,
        "kind": kind,
        "lines": _lines,
        "shade": shade,
        "places": places,
    }
    room.filters["legend"] = legend
    return room.get_template("page.jinja").render(page=page)


def write(page: Page, file: Path) -> None:
    """Writes it whole or not at all. StorageError where it cannot be written."""
    put(file, html(page))


def kind(part: Part) -> str:
    """By what the template chooses how to show it."""
    return type(part).__name__


def plain(text: str) -> str:
    """The text with signs in the place of what a browser would obey or cannot show.

    Line breaks stay, and so do the joiners and marks that some scripts cannot be written without.
    """
    return "".join(map(_plain, text.replace("\r\n", "\n")))


@cache
def _plain(one: str) -> str:
    if one in KEPT or unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return one
    return f"⟨U+{ord(one):04X}⟩"


def paragraphs(text: str) -> Iterator[str]:
    """Of prose."""
    return (block.strip() for block in re.split(r"\n\s*\n", text) if block.strip())


def source(picture: Picture) -> object:
    """The picture as an address that holds it; nothing in it is to be escaped."""
    from markupsafe import Markup

    return Markup(f"data:{MIME[picture.kind]};base64,{base64.b64encode(picture.content).decode('ascii')}")


def shade(value: float) -> str:
    """The colour of a cell. At most 55 %, so that the ink on it stays readable."""
    colour = "var(--blue)" if value > 0 else "var(--orange)"
    return f"color-mix(in srgb, {colour} {55 * min(1.0, abs(value)):.0f}%, transparent)"


def legend(charts: Sequence[Chart]) -> list[tuple[Line, int, int]]:
    """Each line of the charts once, with its place in the palette and how often that was gone through before."""
    first: dict[tuple[str, int], Line] = {}
    for line in (line for chart in charts for line in chart.lines if line.name):
        first.setdefault((line.name, line.colour), line)
    return [(line, line.colour % COLOURS, line.colour // COLOURS) for line in first.values()]


def _lines(text: str) -> list[str]:
    return text.split("\n")


def _finalize(value: Any) -> Any:
    """Every text that comes into the template goes through `plain`; what was made here as HTML does not."""
    return plain(value) if type(value) is str else value
