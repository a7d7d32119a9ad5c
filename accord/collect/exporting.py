"""A project's judgements as lines of JSON or CSV: of one moment, in a stream, the same bytes for what is the same."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import Connection

from accord.collect import events, projects
from accord.collect.database import Database
from accord.collect.spreadsheet import csv_lines
from accord.data.choose import demonstration, orders
from accord.data.formats import whole_row
from accord.data.labelling import demonstrated, labelled_groups
from accord.data.labelling_address import TAKES, Taken
from accord.data.plain_formats import plain
from accord.errors import InputError, StorageError
from accord.records import Group, Judgement, RecordError

Kind = Literal["groups", "pairs", "demonstrations", "csv", "csv_pairs"]
KINDS = get_args(Kind)
Ties = Literal["drop", "both"]
TIES = get_args(Ties)
Row = dict[str, Any]
BLOCK = 2**16  # bytes that are written or sent at a time


class Options(NamedTuple):
    """kind: "groups": everything, which can be imported again; "pairs": a row for each pair of outputs that a judgement
    compares; "demonstrations": what to imitate; "csv": a table of judgements, an output a row; "csv_pairs": the pairs
    as a table. take: as accord.data.labelling.labelled_groups. ties: of pairs, "drop" them; "both": as two rows of half
    the weight, each output once as the chosen one, which teach that neither is better. models: with their names.
    """

    kind: Kind = "groups"
    take: Taken = "all"
    ties: Ties = "drop"
    models: bool = False


EVERYTHING = Options()


class Exported(NamedTuple):
    """bytes: the size; sha256: of all of them."""

    rows: int
    sha256: str
    bytes: int


def export_rows(
    connection: Connection,
    project: int | str,
    *,
    kind: Kind = "groups",
    take: Taken = "all",
    ties: Ties = "drop",
    models: bool = False,
) -> Iterator[Row]:
    """The rows, in the order of import. InputError: an option that is not known, or no such project."""
    for name, value, known in (("kind", kind, KINDS), ("take", take, TAKES), ("ties", ties, TIES)):
        if value not in known:
            raise InputError(f"{value!r} is not known", where=name, fix="one of " + ", ".join(known))
    options = Options(kind, take, ties, models)
    for group in labelled_groups(connection, project, take, unjudged=kind == "groups"):
        yield from ROWS[kind](group, options)


def _groups(group: Group, options: Options) -> Iterator[Row]:
    yield whole_row(group)


def _pairs(group: Group, options: Options) -> Iterator[Row]:
    """Weighted as accord.data.choose.pairs weighs them: C(K,2) pairs share a judgement's part of the group's weight."""
    rows = (_pair(group, one, options) for one in _compared(group, options.ties))
    for number, row in enumerate(rows, 1):
        yield {"id": f"{group.id}.{number}", **row}


class Compared(NamedTuple):
    """Two outputs, by place, as one judgement has them. margin: by how much the first is better."""

    judgement: Judgement
    chosen: int
    rejected: int
    weight: float
    margin: float


def _compared(group: Group, ties: Ties) -> Iterator[Compared]:
    heard, same = orders(group), group.same
    for judgement, order in heard:
        every = list(combinations(sorted(order), 2))
        for i, j in every:
            weight = group.weight / len(heard) / len(every)
            if same[i] == same[j] or (order[i] == order[j] and ties == "drop"):
                continue
            if order[i] == order[j]:
                yield Compared(judgement, i, j, weight / 2, 0.0)
                yield Compared(judgement, j, i, weight / 2, 0.0)
            else:
                best, worst = (i, j) if order[i] > order[j] else (j, i)
                yield Compared(judgement, best, worst, weight, _gap(judgement, order, best, worst))


def _gap(judgement: Judgement, order: Mapping[int, float], best: int, worst: int) -> float:
    """By how much the better one is better: the margin that was said, else how many ranks or ratings lie between."""
    return float(order[best] - order[worst]) if judgement.margin is None else judgement.margin


def _pair(group: Group, one: Compared, options: Options) -> Row:
    chosen, rejected = group.completions[one.chosen], group.completions[one.rejected]
    row: Row = {"prompt": plain(group.prompt), "chosen": plain(chosen.content), "rejected": plain(rejected.content)}
    row |= {"margin": one.margin, "weight": one.weight, "annotator": one.judgement.annotator}
    row |= {"category": group.category, "tools": list(group.tools) or None}
    if options.models:
        row |= {"chosen_model": chosen.model, "rejected_model": rejected.model}
    return {name: value for name, value in row.items() if value is not None}


def _demonstrations(group: Group, options: Options) -> Iterator[Row]:
    """Every text that an annotator wrote; else the best output, where something says which it is."""
    texts = [one for one in group.judgements if one.written is not None]
    if texts:
        yield from (_imitated(one, options) for one in demonstrated(replace(group, judgements=tuple(texts))))
        return
    try:
        yield _imitated(demonstration(group), options)
    except RecordError:
        return  # nothing is best: nothing to imitate


def _imitated(group: Group, options: Options) -> Row:
    (one,) = group.completions
    row: Row = {"id": group.id, "prompt": plain(group.prompt), "completion": plain(one.content)}
    row |= {"category": group.category, "tools": list(group.tools) or None}
    row |= {"model": one.model if options.models else None, "weight": None if group.weight == 1 else group.weight}
    return {name: value for name, value in row.items() if value is not None}


def _table(group: Group, options: Options) -> Iterator[Row]:
    """An output of a judgement a row."""
    for judgement in group.judgements:
        said: Row = {"id": group.id, "category": group.category, "annotator": judgement.annotator}
        said |= {"settled": judgement.settled, "seconds": judgement.seconds, "text": judgement.written}
        if not group.completions:
            yield {**said, "prompt": _shown(plain(group.prompt))}
        for place, one in enumerate(group.completions):
            row = {**said, "prompt": _shown(plain(group.prompt)), "output": place + 1}
            for name in ("ranks", "ratings", "labels", "shown", "notes"):
                values = getattr(judgement, name)
                row[name.removesuffix("s") if name != "ratings" else "rating"] = values and values[place]
            row |= {f"flag {name}": values[place] for name, values in judgement.flags.items()}
            row["completion"] = _shown(plain(one.content))
            yield row | ({"model": one.model} if options.models else {})


def _shown(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


ROWS: dict[Kind, Callable[[Group, Options], Iterator[Row]]] = {
    "groups": _groups,
    "pairs": _pairs,
    "demonstrations": _demonstrations,
    "csv": _table,
    "csv_pairs": _pairs,
}


def lines(rows: Iterable[Row], kind: Kind) -> Iterator[bytes]:
    """The rows as the lines of the file."""
    if kind.startswith("csv"):
        return csv_lines(rows)
    return ((json.dumps(row, ensure_ascii=False) + "\n").encode() for row in rows)


class Export:
    """The bytes of an export as they are made, in blocks; `done` once they are all out. Of one moment of the database.

    The event `exported` tells the count and the hash; the log has it before the last block is out.
    """

    def __init__(self, database: Database, project: int | str, options: Options, *, actor: str, now: float) -> None:
        self.database, self.project, self.options = database, project, options
        self.actor, self.now = actor, now
        self.done: Exported | None = None
        self.rows = 0

    def __iter__(self) -> Iterator[bytes]:
        digest, size = hashlib.sha256(), 0
        held = bytearray()
        with self.database.read() as connection:
            own = projects.find(connection, self.project)
            found = export_rows(connection, own.id, **self.options._asdict())
            for line in lines(self._counted(found), self.options.kind):
                digest.update(line)
                size += len(line)
                held += line
                if len(held) >= BLOCK:
                    yield bytes(held)
                    held.clear()
        self.done = Exported(self.rows, digest.hexdigest(), size)
        detail = {**self.options._asdict(), **self.done._asdict()}
        with self.database.write() as connection:
            events.append(connection, self.actor, "exported", own.name, detail, project=own.id, now=self.now)
        if held:
            yield bytes(held)

    def _counted(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            self.rows += 1
            yield row


def export_to(
    database: Database,
    project: int | str,
    path: str | os.PathLike[str],
    *,
    actor: str,
    now: float,
    options: Options = EVERYTHING,
) -> Exported:
    """Writes a file, aside and then in its place: whole, or not at all. StorageError: it cannot be written."""
    place = Path(path)
    aside = place.with_name(f".{place.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        number = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        fix = "give a file that can be written to"
        raise StorageError(f"cannot be written ({error.strerror or error})", where=str(path), fix=fix) from error
    try:
        export = Export(database, project, options, actor=actor, now=now)
        with os.fdopen(number, "wb") as file:
            for block in export:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, place)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise StorageError(what, where=str(path), fix="give a file that can be written to") from error
    finally:
        aside.unlink(missing_ok=True)
    assert export.done is not None
    return export.done
