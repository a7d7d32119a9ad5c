"""Groups -> a project: all of them or none, in flat memory, and while others label.

What is read is first set down in a file aside: reading takes longer than writing, and annotators wait only for that.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Literal, NamedTuple, get_args

from sqlalchemy import Connection, bindparam, insert, select, update

from accord.collect import events, projects
from accord.collect.database import Database
from accord.collect.importing_judgements import Judgements
from accord.collect.layouts import PARTS
from accord.collect.numbering import numbers
from accord.collect.schema import item, output
from accord.collect.settings import Settings
from accord.data.fields import Counted
from accord.data.labelling_answers import kept_of
from accord.data.plain_formats import plain
from accord.errors import InputError
from accord.records import Group, Judgement

Handling = Literal["named", "keep", "gold", "drop"]
HANDLINGS = get_args(Handling)
DIGITS = 16  # of the hash that is the id of a group whose file gives it none
Line = dict[str, Any]


class New(NamedTuple):
    """A project that is made with its groups."""

    name: str
    settings: Settings


class Imported(NamedTuple):
    """new, same: groups, of which `same` were there already. judgements: that came with the new ones. repeated: of
    them those by which somebody corrects their own; the newest counts."""

    new: int
    same: int
    judgements: int
    repeated: int = 0


def import_groups(
    database: Database,
    project: int | New,
    groups: Iterable[Group],
    *,
    actor: str,
    judgements: Handling = "keep",
    sensitive: bool = False,
    batch: int = 1000,
    now: float,
) -> Imported:
    """Adds groups to a project, or nothing if one of them cannot be added.

    project: its number, or a new one, which is there only if all went well.
    judgements: "keep" them as those of annotators; who has no account gets one that cannot log in. "named": only those
    that name their annotator, as a comparison in a file that is to be labelled does not. "gold": the first
    is the known answer, the others go. "drop": only prompts and outputs. A group that is there already with the same
    texts is left as it is, its new judgements too. InputError: the same id with other texts; too many outputs for the
    project's layout; no judgement where it is to be the known answer.
    """
    if judgements not in HANDLINGS:
        raise InputError(f"{judgements!r} is not known", where="judgements", fix="one of " + ", ".join(HANDLINGS))
    with database.read() as connection:
        settings = project.settings if isinstance(project, New) else projects.find(connection, project).settings
    with tempfile.TemporaryFile(mode="w+", encoding="utf-8") as aside:
        reader = _Reader(PARTS[settings.layout].outputs, settings.layout, judgements)
        for group in groups:
            aside.write(json.dumps(reader.line(group), ensure_ascii=False) + "\n")
        aside.seek(0)
        with database.write() as connection:
            made = projects.create(connection, *project, actor, now) if isinstance(project, New) else project
            own = projects.find(connection, made)
            found = _written(connection, own, _batches(aside, batch), sensitive=sensitive, now=now)
            if own.settings.choice != "imported" and found.new:
                projects.order_items(connection, own.id, own.settings)
            detail = {**found._asdict(), "kept": judgements, "sensitive": sensitive}
            events.append(connection, actor, "groups imported", own.name, detail, project=own.id, now=now)
    return found


class _Reader:
    """Groups -> what is set down of them, checked."""

    def __init__(self, outputs: tuple[int, int], layout: str, judgements: Handling) -> None:
        self.least, self.most = outputs
        self.layout, self.judgements = layout, judgements
        self.counted: dict[str, int] = {}

    def line(self, group: Group) -> Line:
        outputs = [(_json(plain(one.content)), one.model) for one in group.completions]
        where = f"{group.source} (id {group.id})"
        if not self.least <= len(outputs) <= self.most:
            wanted = str(self.least) if self.least == self.most else f"{self.least} to {self.most}"
            fix = "leave the group out, or take a project of another layout"
            raise InputError(f"{len(outputs)} outputs, and the layout {self.layout} has {wanted}", where=where, fix=fix)
        prompt, tools = _json(plain(group.prompt)), _json(list(group.tools)) if group.tools else None
        names: list[str | None] = [group.category, group.id, *(one.model for one in group.completions)]
        names += [one.annotator for one in group.judgements]
        if any("\0" in name for name in names if name):
            raise InputError("a name with a zero byte, which no database holds", where=where, fix="take it out")
        gold = self._gold(group.judgements, where) if self.judgements == "gold" else None
        kept = group.judgements if self.judgements in ("keep", "named") else ()
        if self.judgements == "named":
            kept = tuple(one for one in kept if one.annotator is not None)
        return {
            "key": self._key(group, prompt, [content for content, _ in outputs]),
            "prompt": prompt,
            "tools": tools,
            "category": group.category,
            "weight": group.weight,
            "gold": gold,
            "source": str(group.source),
            "outputs": outputs,
            "judgements": [[one.annotator, one.settled, *_kept(one, where)] for one in kept],
        }

    def _key(self, group: Group, prompt: str, outputs: Sequence[str]) -> str:
        """Its id; where only its line number is known, a hash of its texts: the same again when it is imported again,
        from whatever line of whatever file."""
        if not isinstance(group.id, Counted):
            return group.id
        digest = hashlib.sha256(json.dumps([prompt, *outputs]).encode()).hexdigest()[:DIGITS]
        self.counted[digest] = number = self.counted.get(digest, 0) + 1
        return digest if number == 1 else f"{digest}-{number}"

    def _gold(self, judgements: Sequence[Judgement], where: str) -> str:
        if not judgements:
            raise InputError("no judgement that could be the known answer", where=where, fix="leave the group out")
        return _json(kept_of(judgements[0]).answer)


def _kept(judgement: Judgement, where: str) -> tuple[str, str, int | None]:
    answer, shown, active = kept_of(judgement)
    return _json(answer), _json(shown), active


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _batches(aside: IO[str], size: int) -> Iterator[list[Line]]:
    held: list[Line] = []
    for line in aside:
        held.append(json.loads(line))
        if len(held) == size:
            yield held
            held = []
    if held:
        yield held


def _written(
    connection: Connection, own: projects.Project, batches: Iterable[list[Line]], *, sensitive: bool, now: float
) -> Imported:
    said = Judgements(connection, own.id, now)
    new = same = 0
    for lines in batches:
        fresh = _fresh(connection, own.id, lines)
        same += len(lines) - len(fresh)
        new += len(fresh)
        if not fresh:
            continue
        ids = numbers(connection, item, len(fresh))
        for line, id in zip(fresh, ids, strict=True):
            said.add(id, line["judgements"])
        wanted = own.settings.overlap
        rows = [_item(line, id, own.id, sensitive, wanted, said.count) for line, id in zip(fresh, ids, strict=True)]
        connection.execute(insert(item), rows)
        outputs = [
            {"item_id": id, "place": place, "content": content, "model": model}
            for line, id in zip(fresh, ids, strict=True)
            for place, (content, model) in enumerate(line["outputs"])
        ]
        if outputs:
            connection.execute(insert(output), outputs)
        said.write()
    return Imported(new, same, said.written, said.repeated)


def _item(
    line: Line, id: int, project_id: int, sensitive: bool, wanted: int, count: Mapping[int, int]
) -> dict[str, Any]:
    own = {name: line[name] for name in ("key", "prompt", "tools", "category", "weight", "gold", "source")}
    place = {"id": id, "project_id": project_id, "position": float(id), "k": len(line["outputs"])}
    return {**own, **place, "sensitive": sensitive, "taken": count.get(id, 0), "wanted": wanted}


def _fresh(connection: Connection, project_id: int, lines: Sequence[Line]) -> list[Line]:
    """Those that are not there yet, each once. InputError: one is there with other texts."""
    known = _there(connection, project_id, [line["key"] for line in lines])
    found = []
    for line in lines:
        texts = [line["prompt"], line["tools"], [content for content, _ in line["outputs"]]]
        before = known.setdefault(line["key"], texts)
        if before is texts:
            found.append(line)
        elif before != texts:
            what, fix = f"a group {line['key']!r} with other texts is there already", "give it an id of its own"
            raise InputError(what, where=line["source"], fix=fix)
    return found


def _there(connection: Connection, project_id: int, keys: Sequence[str]) -> dict[str, list[Any]]:
    """id -> prompt, tools, outputs of those of these groups that are there."""
    columns = (item.c.id, item.c.key, item.c.prompt, item.c.tools)
    query = select(*columns).where(item.c.project_id == project_id, item.c.key.in_(keys))
    rows = connection.execute(query).all()
    texts: dict[int, list[str]] = {row.id: [] for row in rows}
    if rows:
        of = select(output.c.item_id, output.c.content).where(output.c.item_id.in_(list(texts)))
        for id, content in connection.execute(of.order_by(output.c.item_id, output.c.place)):
            texts[id].append(content)
    return {row.key: [row.prompt, row.tools, texts[row.id]] for row in rows}


def import_scores(
    database: Database, project_id: int, rows: Iterable[Mapping[str, Any]], *, actor: str, now: float
) -> int:
    """How uncertain groups are, as a model says: rows {id, score}, higher is labelled sooner where the project's choice
    is "uncertain". How many were given one. InputError: no such group, or no number; then none is changed."""
    scores: dict[str, float] = {}
    for number, row in enumerate(rows, 1):
        key, score = row.get("id"), row.get("score")
        if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) < 1e300:
            raise InputError("no finite number", where=f"row {number}: score", fix='give {"id": ..., "score": 0.7}')
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise InputError("no id of a group", where=f"row {number}: id", fix='give {"id": ..., "score": 0.7}')
        scores[str(key)] = float(score)
    with database.write() as connection:
        own = projects.find(connection, project_id)
        matches = (item.c.project_id == project_id, item.c.key == bindparam("of"))
        given = update(item).where(*matches).values(score=bindparam("to"))
        changed = 0
        for key, score in scores.items():
            done = connection.execute(given, {"of": key, "to": score})
            if not done.rowcount:
                raise InputError(f"no group {key!r}", where=own.name, fix="give the ids of its groups")
            changed += done.rowcount
        if own.settings.choice == "uncertain":
            projects.order_items(connection, project_id, own.settings)
        events.append(connection, actor, "scores imported", own.name, {"groups": changed}, project=project_id, now=now)
    return changed
