"""What became of the rows of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from accord.evaluate.report.page import Folded, Grid, Part, Prose, Section
from accord.evaluate.report.ran import Ran
from accord.evaluate.report.values import mapping, number, rows, words

INTRO = "What was read, what was left out and why. Lengths are in tokens, prompt and longest answer together."
SIDES = {"train": "training", "held_out": "held out"}
LISTED = 20  # of the reasons of a kind


def section(runs: Sequence[Ran]) -> Section | None:
    """None where no run got as far as its data."""
    reports = [
        (ran, name, side, mapping(ran.data[side])) for ran in runs for side, name in SIDES.items() if side in ran.data
    ]
    kept = [one for one in reports if number(one[3].get("groups")) or number(one[3].get("read"))]
    if not kept:
        return None
    table = Grid(
        "Data of the runs",
        ["run", "part", "file", "read", "kept", "dropped", "shortest", "longest", "most allowed"],
        [[ran.name, name, _file(ran, side), *_counts(about)] for ran, name, side, about in kept],
        numeric=range(3, 9),
    )
    said = [line for ran, name, _, about in kept for line in _remarks(about, f"{ran.name}, {name}")]
    parts: list[Part] = [table]
    if said:
        parts.append(Folded(f"What was said of rows ({len(said)})", [Prose(line) for line in said]))
    return Section("data", "Data", INTRO, parts)


def _file(ran: Ran, side: str) -> str:
    held = ran.options.get("eval_data")
    if side == "held_out" and held is None:
        share = number(ran.options.get("validation"))
        return f"{100 * share:g} % of the prompts" if share else ""
    value = held if side == "held_out" else ran.options.get("data")
    if isinstance(value, str):
        name = PurePath(value).name
        return value if name in ("", value) else f"{name}\n{value}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _counts(about: Mapping[str, Any]) -> Iterator[str]:
    lengths = mapping(about.get("lengths"))
    dropped = sum(len(held) if isinstance(held, list) else 0 for held in mapping(about.get("dropped")).values())
    counts = (
        about.get("read"),
        about.get("kept", about.get("groups")),
        dropped + (number(lengths.get("dropped")) or 0),
    )
    for value in (*counts, *(lengths.get(name) for name in ("shortest", "longest", "max_length"))):
        found = number(value)
        yield "" if found is None else f"{found:,.0f}"


def _remarks(about: Mapping[str, Any], who: str) -> Iterator[str]:
    for reason, dropped in mapping(about.get("dropped")).items():
        named = rows(dropped)
        yield f"{who}: {len(named):,} dropped: {reason} (first: {named[0].get('where', '') if named else ''})"
    for text, note in mapping(about.get("notes")).items():
        yield f"{who}: {text} ({mapping(note).get('count', 1)} times, first {mapping(note).get('where', '')})"
    for name, seen in mapping(about.get("findings")).items():
        first = words(mapping(seen).get("first"))[:1]
        yield f"{who}: {name}: {mapping(seen).get('count', 1)} times{', first ' + first[0] if first else ''}"
    if ignored := words(about.get("ignored_columns")):
        yield f"{who}: columns that were not used: {', '.join(ignored[:LISTED])}"
