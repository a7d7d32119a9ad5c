"""Any result in JSON as tables: lists of objects are rows, and estimates are shown with their intervals.

Nothing is left out but what is too long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from accord.evaluate.report.page import Grid, Part, Prose
from accord.evaluate.report.values import Json, ends, figure, mapping, number, rows

MOST = 100  # rows of a table
DEEP = 4
MEANS = ("mean", "value", "win_rate", "difference")  # under which an estimate has its middle
SPREAD = {"mean", "value", "interval", "standard_error", "std", "n"}
LONGEST = 300  # characters of a text in a cell


def parts_of(found: object, title: str, depth: int = 0) -> Iterator[Part]:
    """The tables of a value. title: of where it stands."""
    if isinstance(found, list):
        if table := rows(found):
            yield _table(table, title)
        elif found:
            yield Prose(f"{title}: {_listed(found)}")
    elif isinstance(found, Mapping):
        plain = {key: text for key, value in found.items() if (text := cell(value)) is not None}
        if plain:
            yield Grid(
                title,
                ["", "value"],
                [[str(key), text] for key, text in plain.items()],
                numeric=(1,) if _numbers(plain.values()) else (),
            )
        for key, value in found.items():
            if key not in plain and depth < DEEP:
                yield from parts_of(value, f"{title}: {key}" if title else str(key), depth + 1)


def _table(table: Sequence[Json], title: str) -> Grid:
    columns = [
        name for name in dict.fromkeys(key for row in table for key in row) if any(cell(row.get(name)) for row in table)
    ]
    cells = [[cell(row.get(name)) or "" for name in columns] for row in table[:MOST]]
    left = len(table) - len(cells)
    numeric = [place for place in range(1, len(columns)) if _numbers([row[place] for row in cells])]
    return Grid(
        title,
        [name.replace("_", " ") for name in columns],
        cells,
        f"{left:,} more rows are in the file." if left else "",
        numeric,
    )


def cell(value: object) -> str | None:
    """What stands in one cell; None: too much for one, and empty: nothing is known."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return "" if number(value) is None else figure(value)
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[:LONGEST]} …"
    if (interval := ends(value)) is not None:
        return f"{figure(interval[0])} to {figure(interval[1])}"
    return estimate(mapping(value))


def estimate(found: Json) -> str | None:
    """An estimate and its interval in two lines; None where this is no estimate."""
    middle = next((one for name in MEANS if (one := number(found.get(name))) is not None), None)
    if middle is None or not ("interval" in found or found.keys() <= SPREAD):
        return None
    interval = ends(found.get("interval"))
    return figure(middle) + (f"\n{figure(interval[0])} to {figure(interval[1])}" if interval else "")


def _numbers(texts: object) -> bool:
    held = [text for text in texts if text]  # type: ignore[attr-defined]
    return bool(held) and all(text[0].isdigit() or text[0] in "-+" for text in held)


def _listed(found: Sequence[object]) -> str:
    shown = ", ".join(text for one in found[:MOST] if (text := cell(one)) is not None)
    return shown + (f" and {len(found) - MOST:,} more" if len(found) > MOST else "")
