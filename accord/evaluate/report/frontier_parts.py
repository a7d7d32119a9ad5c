"""What accord frontier found, as a chapter: every score against the distance from the model, a point a policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from accord.evaluate.report.chart import Chart, Line
from accord.evaluate.report.json_parts import parts_of
from accord.evaluate.report.page import Charts, Grid, Notice, Part
from accord.evaluate.report.values import Json, ends, figure, mapping, number, rows, with_interval, words

SCORES = ("proxy", "gold")  # drawn: what the policies learned from, and what was meant
KEYS = frozenset({"points", "methods", "start", "kl", "reward"})


def frontier_parts(found: Json) -> Iterator[Part]:
    """Charts, the table, what each method's curve says; points without a figure are in the table alone."""
    points, start = rows(found["points"]), mapping(found["start"])
    names = list(dict.fromkeys(name for one in (start, *points) for name in mapping(one.get("figures"))))
    if charts := [_chart(name, points, start, str(found["kl"])) for name in SCORES if name in names]:
        yield Charts(
            "Score against distance", charts, "Vertical bars: intervals over prompts. The model itself is at 0."
        )
    beside = [name for name in names if name != found["kl"]]  # the estimate that is the distance has its column
    table = [
        [
            str(one.get("name")),
            *(with_interval("", value) for value in _figures(one, beside)),
            str(one.get("error") or ""),
        ]
        for one in (start, *points)
    ]
    columns = ["policy", f"KL to the model, nats an answer ({found['kl']})", *beside, "why there is nothing"]
    if not any(row[-1] for row in table):
        columns, table = columns[:-1], [row[:-1] for row in table]
    yield Grid("every policy", columns, table, "Second line: intervals over prompts.", range(1, len(beside) + 2))
    yield from (Notice(note, "note") for note in words(found.get("notes")))
    yield from parts_of(found["methods"], "what the curves say")


def _figures(one: Json, names: Sequence[str]) -> list[object]:
    return [one.get("kl"), *(mapping(one.get("figures")).get(name) for name in names)]


def _chart(name: str, points: Sequence[Json], start: Json, kl: str) -> Chart:
    methods = list(dict.fromkeys(str(one.get("method")) for one in points))
    lines = [
        _line(method, place, name, [start, *(one for one in points if str(one.get("method")) == method)])
        for place, method in enumerate(methods)
    ]
    said = [
        f"{line.name} {figure(y)} at {figure(x)}"
        for line in lines
        for x, y in zip(line.x, line.y, strict=True)
        if x > 0
    ]
    return Chart(
        name, lines, f"KL to the model ({kl}), nats an answer", "", f"{name} against distance. {'; '.join(said)}."
    )


def _line(method: str, place: int, name: str, points: Sequence[Json]) -> Line:
    """The points that lie somewhere, the nearest first."""
    found = []
    for one in points:
        value = mapping(mapping(one.get("figures")).get(name))
        x, y = number(mapping(one.get("kl")).get("mean")), number(value.get("mean"))
        if x is not None and y is not None:
            found.append((x, y, *(ends(value.get("interval")) or (y, y))))
    columns = list(zip(*sorted(found), strict=True)) or [(), (), (), ()]
    return Line(method, columns[0], columns[1], low=columns[2], high=columns[3], marks=True, colour=place)
