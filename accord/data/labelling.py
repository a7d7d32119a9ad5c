"""A labelling database as groups: one moment of it, in a stream, in the order of import.

What is read of the tables of accord.collect.schema: project (id, name), item (id, project_id, key, prompt, tools,
category, weight, k), output (item_id, place, content, model), account (id, key, name), assignment (id, item_id,
account_id, kind, status, shown) and judgement (assignment_id, revision, answer, active_ms). Of each assignment the
newest revision counts. Answers to groups of known answer check annotators, and are no judgements of the data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from accord.data.choose import as_reply
from accord.data.labelling_address import Address, Taken, address_of
from accord.data.labelling_answers import UNNAMED, judgement_of, text_of
from accord.data.labelling_consensus import Consensus, consensus_of
from accord.data.lines import Raw, RowOrigin
from accord.data.plain_formats import plain
from accord.errors import InputError
from accord.records import Completion, Group, Judgement, Origin

if TYPE_CHECKING:
    from sqlalchemy import Connection

PAGE = 1000  # groups that are held at a time
SAID = "('label', 'imported', 'adjudication')"

PROJECTS = "SELECT id, name FROM project ORDER BY name"
ITEMS = """SELECT id, key, prompt, tools, category, weight, k FROM item
    WHERE project_id = :project AND id > :after ORDER BY id LIMIT :most"""
OUTPUTS = """SELECT o.item_id, o.content, o.model FROM output o JOIN item i ON i.id = o.item_id
    WHERE i.project_id = :project AND o.item_id BETWEEN :first AND :last ORDER BY o.item_id, o.place"""
JUDGEMENTS = f"""SELECT a.id AS assignment, a.item_id, a.kind, a.shown, c.key, c.name, j.answer, j.active_ms
    FROM assignment a JOIN judgement j ON j.assignment_id = a.id JOIN account c ON c.id = a.account_id
    WHERE a.project_id = :project AND a.item_id BETWEEN :first AND :last AND a.status = 'done' AND a.kind IN {SAID}
    ORDER BY a.item_id, a.id, j.revision"""


class Project(NamedTuple):
    """id: its number in the database."""

    id: int
    name: str


def labelled_groups(
    connection: Connection, project: str | int | None = None, take: Taken = "all", *, unjudged: bool = False
) -> Iterator[Group]:
    """The groups of a project of which something is said; with `unjudged` also the others.

    connection: in a transaction that sees one moment. take: "all" judgements; "adjudicated": where a group is settled,
    that judgement alone; "majority", "mean_rank", "dawid_skene": one judgement that is the consensus of all, or what
    settles it. InputError: no such project, or several and none is named.
    """
    own = project_of(connection, project)
    consensus = consensus_of(take, lambda: _all_groups(connection, own))
    for group in _all_groups(connection, own):
        if group.judgements or unjudged:
            yield replace(group, judgements=_taken(group, take, consensus))


def _taken(group: Group, take: Taken, consensus: Consensus | None) -> tuple[Judgement, ...]:
    settled = [one for one in group.judgements if one.settled]
    if take != "all" and settled:
        return (settled[-1],)
    return group.judgements if consensus is None else consensus.judgements(group)


def project_of(connection: Connection, which: str | int | None) -> Project:
    """By name or number, or the only one. InputError: there is none, or there are several."""
    from sqlalchemy import text

    every = [Project(*row) for row in connection.execute(text(PROJECTS))]
    found = [one for one in every if which is None or which in (one.name, one.id)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(one.name for one in every[:20]) or "none"
    if which is None and every:
        fix = f"name one: ?project={every[0].name} at the end of the address"
        raise InputError(f"{len(every)} projects: {names}", where="project", fix=fix)
    raise InputError(f"no project {which!r}" if which is not None else "no project", fix=f"there are: {names}")


def _all_groups(connection: Connection, project: Project) -> Iterator[Group]:
    from sqlalchemy import text

    after, number = 0, 0
    while True:
        where = {"project": project.id, "after": after, "most": PAGE}
        items = connection.execute(text(ITEMS), where).all()
        if not items:
            return
        span = {"project": project.id, "first": items[0].id, "last": items[-1].id}
        outputs: dict[int, list[Completion]] = {}
        for item, content, model in connection.execute(text(OUTPUTS), span):
            outputs.setdefault(item, []).append(Completion(text_of(json.loads(content)), model))
        newest = {row[0]: row for row in connection.execute(text(JUDGEMENTS), span)}
        said: dict[int, list[Judgement]] = {}
        count = {item.id: item.k for item in items}
        for _, item_id, *row in newest.values():
            said.setdefault(item_id, []).append(_judgement(row, count[item_id]))
        for item in items:
            number += 1
            source = RowOrigin(f"project {project.name}", number)
            yield _group(item, outputs.get(item.id, []), said.get(item.id, []), source)
        after = items[-1].id


def _judgement(row: Sequence[Any], k: int) -> Judgement:
    kind, shown, key, name, answer, active_ms = row
    return judgement_of(
        json.loads(answer),
        k=k,
        shown=json.loads(shown) if shown != "[]" else (),
        annotator=None if key.startswith(UNNAMED) else name,
        active_ms=active_ms,
        settled=kind == "adjudication",
    )


def _group(item: Any, outputs: Sequence[Completion], said: Sequence[Judgement], source: Origin) -> Group:
    return Group(
        id=item.key,
        prompt=text_of(json.loads(item.prompt)),
        completions=tuple(outputs),
        judgements=tuple(said),
        weight=item.weight,
        category=item.category,
        tools=tuple(json.loads(item.tools)) if item.tools else (),
        source=source,
    )


def database_rows(name: str) -> Iterator[Raw]:
    """What stages take of the database of this address. A text that an annotator wrote is a completion of its own.

    InputError: it cannot be read, is no labelling database, or holds no judgement yet.
    """
    for group in groups_at(address_of(name)):
        for one in demonstrated(group):
            yield one.source, one


def groups_at(address: Address) -> Iterator[Group]:
    """The labelled groups of an address, as of the moment when the first is asked for."""
    found = 0
    with opened(address) as connection:
        for group in labelled_groups(connection, address.project, address.take):
            found += 1
            yield replace(group, source=RowOrigin(str(address), group.source.line))
    if not found:
        raise InputError("nothing is judged yet", where=str(address), fix="label some groups: accord collect serve")


def demonstrated(group: Group) -> Iterator[Group]:
    """The group without the texts that annotators wrote, if anything else is said of it, and a group for each text."""
    texts = [one for one in group.judgements if one.written is not None]
    others = tuple(one for one in group.judgements if one.written is None)
    if not texts or others:
        yield replace(group, judgements=others)
    for number, one in enumerate(texts, 1 + bool(others)):
        completion = Completion(as_reply(group, str(one.written)))
        id = group.id if number == 1 else f"{group.id}.{number}"
        weight = group.weight / len(texts)
        yield replace(group, id=id, completions=(completion,), judgements=(), weight=weight)


@contextmanager
def opened(address: Address) -> Iterator[Connection]:
    """One moment of a database, only to be read. InputError: it cannot be reached, or is no labelling database."""
    try:
        from sqlalchemy import create_engine
        from sqlalchemy.exc import DBAPIError, SQLAlchemyError
    except ImportError as error:
        fix = "pip install accord[collect]"
        raise InputError("SQLAlchemy is not installed, which reads databases", where=str(address), fix=fix) from error
    file = address.file
    if file is not None and not Path(file).is_file():
        raise InputError("no such file", where=str(address), fix="check the path")
    engine = None
    try:
        engine = create_engine(address.url.replace("postgresql://", "postgresql+psycopg://", 1))
        with engine.connect() as connection:
            if address.is_sqlite:
                connection.exec_driver_sql("PRAGMA query_only = ON")
                connection.exec_driver_sql("BEGIN")
            else:
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            yield connection
    except (SQLAlchemyError, ImportError, ValueError) as error:
        said = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
        known = isinstance(error, DBAPIError) and ("no such table" in said or "does not exist" in said)
        what = "is no labelling database" if known else "cannot be read"
        raise InputError(f"{what} ({said})", where=str(address), fix="check the address") from error
    finally:
        if engine is not None:
            engine.dispose()


def digest_of_database(name: str) -> str:
    """SHA-256 over what stages read at this address: of other judgements another, whatever file they lie in."""
    found = hashlib.sha256()
    for group in groups_at(address_of(name)):
        said = [one.said for one in group.judgements]
        outputs = [[plain(one.content), one.model] for one in group.completions]
        row = [group.id, plain(group.prompt), group.weight, group.category, list(group.tools), outputs, said]
        found.update(json.dumps(row, sort_keys=True).encode())
    return found.hexdigest()
