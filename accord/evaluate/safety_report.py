"""The table of `accord safety` as people read it: figures, then how far they are from the first model's."""

from __future__ import annotations

import math
from collections.abc import Iterator

from accord.evaluate.safety_table import Against, Cell, Head, Table
from accord.stages.tables import markdown_table

WIDE = 4  # columns of a table on the terminal; more go into further tables
UNKNOWN_DIRECTION = "better?"


def tables(table: Table) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """(title, rows) of every table that is shown: figures of a few columns, and below them their differences."""
    for start in range(0, len(table.heads), WIDE):
        part = slice(start, start + WIDE)
        yield "what the answers are", figures(table, part)
        if len(table.models) > 1:
            yield f"less {table.base}", differences(table, part)


def figures(table: Table, part: slice = slice(None)) -> list[dict[str, str]]:
    heads = table.heads[part]
    return [
        {"model": model}
        | {header(head): _figure(cell, head) for head, cell in zip(heads, table.rows[model][part], strict=True)}
        for model in table.models
    ]


def differences(table: Table, part: slice = slice(None)) -> list[dict[str, str]]:
    """Of the models but the one that they are held against."""
    heads = table.heads[part]
    return [
        {"model": model}
        | {
            header(head): "" if cell is None or cell.against is None else _difference(cell.against, head)
            for head, cell in zip(heads, table.rows[model][part], strict=True)
        }
        for model in table.models
        if model != table.base
    ]


def header(head: Head) -> str:
    """Its name, and which direction is better."""
    return f"{head.title} ({head.better or UNKNOWN_DIRECTION})"


def _figure(cell: Cell | None, head: Head) -> str:
    if cell is None:
        return ""
    mean, _, (low, high) = cell.estimate
    if head.share:
        return f"{100 * mean:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    return f"{mean:.3f}" + ("" if math.isnan(low) else f" ({low:.3f} to {high:.3f})")


def _difference(against: Against, head: Head) -> str:
    gap, (low, high) = against.difference.difference, against.difference.interval
    times, digits = (100, 1) if head.share else (1, 3)
    text = f"{times * gap:+.{digits}f}"
    if not math.isnan(low):
        text += f" ({times * low:+.{digits}f} to {times * high:+.{digits}f})"
    return f"{text} {against.verdict}*" if against.verdict else text


def lines(table: Table) -> Iterator[str]:
    """How the table came about."""
    percent = f"{100 * table.level:g} %"
    yield (
        f"{percent} intervals: of shares Wilson's, of means Student's, answers to one prompt counted as one where they "
        "are alike; (lower), (higher): what is better"
    )
    if strange := [head.name for head in table.heads if head.better is None]:
        yield f"which direction is better is not known of {', '.join(strange)}: give --better NAME=lower or NAME=higher"
    tests = sorted({(one.difference.test, one.paired) for one in _against(table)})
    if tests:
        how = {True: "paired by prompt", False: "of different prompts"}
        named = ", ".join(f"{test} ({how[paired]})" for test, paired in tests)
        yield f"differences from {table.base}: {named}"
        several = f", p corrected by Holm's rule for the {len(table.heads)} columns of a row" if table.heads[1:] else ""
        yield f"*: sure at {1 - table.level:.2g}{several}; the intervals are each for itself"
    for head, counts in _counts(table):
        yield f"{head.title}: {counts}"


def _against(table: Table) -> Iterator[Against]:
    for cells in table.rows.values():
        yield from (cell.against for cell in cells if cell is not None and cell.against is not None)


def _counts(table: Table) -> Iterator[tuple[Head, str]]:
    """How many values each figure is made of, of each column."""
    for place, head in enumerate(table.heads):
        found = {model: cells[place] for model, cells in table.rows.items()}
        sizes = {(cell.n, cell.prompts) for cell in found.values() if cell is not None}
        if len(sizes) == 1:
            ((n, prompts),) = sizes
            yield head, f"{n:,} values of {prompts:,} prompts each"
        else:
            known = [(model, cell) for model, cell in found.items() if cell is not None]
            parts = [f"{model} {cell.n:,} of {cell.prompts:,} prompts" for model, cell in known]
            yield head, f"values: {', '.join(parts)}"


def markdown(table: Table) -> str:
    """Both tables, whole, and how they came about."""
    made: list[str] = []
    sides = [("## What the answers are", figures(table))]
    if len(table.models) > 1:
        sides.append((f"## Less {table.base}", differences(table)))
    for title, rows in sides:
        made += [title, "", *markdown_table(rows), ""]
    return "\n".join([*made, *(f"- {line}" for line in lines(table))])
