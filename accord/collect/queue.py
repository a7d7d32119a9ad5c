"""Which group an annotator gets next. Exactly as many judgements as wanted: never one more, whoever asks when.

A group is counted as taken from the moment it is handed out (a lease) until it is judged, skipped, or left alone for
too long. That happens within one transaction that writes: on SQLite nobody else writes meanwhile, on PostgreSQL the row
of the group is locked, and rows that others hold are passed over.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    exists,
    func,
    select,
    text,
)

from accord.collect import queries
from accord.collect.layouts import wire
from accord.collect.projects import Project, find
from accord.collect.refusals import NotAllowed, NotThere
from accord.collect.schema import assignment, item, judgement
from accord.collect.settings import Settings

SWEPT = 200  # leases that one request frees, at most


@dataclass(frozen=True)
class Page:
    """A group as its annotator sees it: no model's name, no id of the group, outputs in the order shown.

    prompt and outputs: a text, or a list of messages, as JSON has them. answer, draft: by letters.
    """

    assignment: int
    project: int
    item: int
    number: int
    kind: str
    status: str
    shown: tuple[int, ...]
    prompt: Any
    outputs: tuple[Any, ...]
    tools: Any
    category: str | None
    sensitive: bool
    expires: float | None
    revision: int = 0
    answer: dict[str, Any] | None = None
    draft: dict[str, Any] | None = None
    draft_version: int = 0
    active_ms: int = 0


@dataclass(frozen=True)
class Progress:
    """How far one annotator is. left: how many more there are for them now; active_ms: of all their pages."""

    done: int
    skipped: int
    left: int
    active_ms: int


@dataclass(frozen=True)
class Rules:
    """What one account may get in one project."""

    sensitive: bool
    categories: tuple[str, ...] | None = None
    most: int | None = None
    flagged_at: int = 3

    def allow(self) -> list[ColumnElement[bool]]:
        """Conditions on items."""
        said: list[ColumnElement[bool]] = [item.c.skips < self.flagged_at]
        if not self.sensitive:
            said.append(item.c.sensitive.is_(False))
        if self.categories is not None:
            said.append(item.c.category.in_(self.categories))
        return said


def next_page(connection: Connection, secret: bytes, project_id: int, account_id: int, now: float) -> Page | None:
    """The open page of this account, or a new one; None where nothing is left for it.

    NotAllowed: not active, not a member, or the project is archived. NotThere: no such project.
    """
    found = find(connection, project_id)
    rules = rules_for(connection, found, account_id)
    if connection.dialect.name == "postgresql":  # two tabs of one person are not given two pages
        key = {"a": project_id, "b": account_id}
        connection.execute(text("SELECT pg_advisory_xact_lock(hashint8(:a) # 7, hashint8(:b))"), key)
    free_lapsed(connection, project_id, now)
    if (own := _own_open(connection, project_id, account_id)) is not None:
        renew(connection, own, found.settings, now)
        return page(connection, own, account_id)
    number = _number(connection, project_id, account_id)
    if rules.most is not None and number > rules.most:
        return None
    kind, chosen = _chosen(connection, secret, found, account_id, rules, number)
    if chosen is None:
        return None
    made = _hand_out(connection, secret, found, chosen, account_id, kind=kind, number=number, now=now)
    return page(connection, made, account_id)


def rules_for(connection: Connection, found: Project, account_id: int) -> Rules:
    """NotAllowed where this account may not label in this project."""
    who = connection.execute(queries.WHO, {"account": account_id, "project": found.id}).first()
    if who is None or not who.active or who.role == "viewer":
        raise NotAllowed("this account does not label", fix="ask an admin")
    if found.archived:
        raise NotAllowed("this project is closed", where=found.name, fix="ask an admin")
    if found.settings.members == "chosen" and who.account_id is None:
        raise NotAllowed("not a member of this project", where=found.name, fix="ask an admin")
    categories = None if who.categories is None else tuple(json.loads(who.categories))
    return Rules(who.sensitive, categories, found.settings.most, found.settings.skips_to_flag)


def free_lapsed(connection: Connection, project_id: int, now: float) -> None:
    """Groups of leases that have run out are free again; what was drafted stays with the annotator."""
    for row in connection.execute(queries.LAPSED, {"project": project_id, "now": now}).all():
        connection.execute(queries.LAPSE, {"which": row.id, "now": now})
        if row.kind == "label":
            give_back(connection, row.item_id)


def give_back(connection: Connection, item_id: int) -> None:
    """One judgement of this group is wanted again."""
    connection.execute(queries.ADD_TAKEN, {"which": item_id, "more": -1})


def renew(connection: Connection, assignment_id: int, settings: Settings, now: float) -> None:
    """Who works on a page keeps it."""
    until = now + 60 * settings.lease_minutes
    connection.execute(queries.RENEW, {"which": assignment_id, "until": until})


def _own_open(connection: Connection, project_id: int, account_id: int) -> int | None:
    return connection.execute(queries.OWN_OPEN, {"account": account_id, "project": project_id}).scalar()


def _number(connection: Connection, project_id: int, account_id: int) -> int:
    """The number of this account's next page."""
    found = connection.execute(queries.LAST_NUMBER, {"account": account_id, "project": project_id}).scalar()
    return int(found or 0) + 1


def _chosen(
    connection: Connection, secret: bytes, found: Project, account_id: int, rules: Rules, number: int
) -> tuple[str, int | None]:
    """(kind, item). Whether a page is one of known answer is drawn from its number, so asking again changes nothing."""
    draw = int.from_bytes(_drawn(secret, "gold", found.id, account_id, number)[:8], "big") / 2**64
    if draw < found.settings.gold_share:
        gold = _first_item(connection, found.id, account_id, rules, gold=True)
        if gold is not None:
            return "gold", gold
    return "label", _first_item(connection, found.id, account_id, rules, gold=False)


def _first_item(connection: Connection, project_id: int, account_id: int, rules: Rules, *, gold: bool) -> int | None:
    """The first group that is wanted and that this account has not had; one whose lease ran out comes again.

    It is looked for behind the last one that the account got, then from the beginning: so nobody walks past all that
    they did before, and groups that came back are found, too.
    """
    of = {"account": account_id, "project": project_id}
    reached = connection.execute(queries.LAST_POSITION[gold], of).scalar()
    passes = [(True, False), (False, False)] if reached is not None else [(False, False)]
    if connection.dialect.name == "postgresql":  # where others hold all that is left, it is waited for
        passes.append((False, True))
    for behind, waits in passes:
        query = _wanted(rules, gold=gold, behind=behind, waits=waits)
        if (id := connection.execute(query, {**of, "reached": reached} if behind else of).scalar()) is not None:
            return int(id)
    return None


@lru_cache(maxsize=256)
def _wanted(rules: Rules, *, gold: bool, behind: bool, waits: bool) -> Select[Any]:
    """The first group by position that is wanted, that these rules allow, and that the account has not had.

    waits: for rows that others hold, instead of passing them over.
    """
    had = exists().where(
        assignment.c.item_id == item.c.id,
        assignment.c.account_id == bindparam("account"),
        text("assignment.status != 'lapsed'"),
    )
    query = select(item.c.id).where(item.c.project_id == bindparam("project"), ~had, *rules.allow())
    query = query.where(text("gold is not null" if gold else "taken < wanted and gold is null"))
    query = query.where(item.c.position > bindparam("reached")) if behind else query
    return query.order_by(item.c.position).limit(1).with_for_update(skip_locked=not waits, of=item)


def _drawn(secret: bytes, *of: object) -> bytes:
    """256 bits that are random to who does not know the secret, and the same each time."""
    return hmac.new(secret, ":".join(map(str, of)).encode(), hashlib.sha256).digest()


def order_shown(secret: bytes, item_id: int, account_id: int, k: int) -> list[int]:
    """(K,) the places of the outputs in the order in which this annotator sees them: uniform over all orders."""
    keys = [_drawn(secret, "order", item_id, account_id, place) for place in range(k)]
    return sorted(range(k), key=keys.__getitem__)


def _hand_out(
    connection: Connection,
    secret: bytes,
    found: Project,
    item_id: int,
    account_id: int,
    *,
    kind: str,
    number: int,
    now: float,
) -> int:
    """The page of this group for this account; where its lease had lapsed, the same page again."""
    if kind == "label":
        connection.execute(queries.ADD_TAKEN, {"which": item_id, "more": 1})
    expires = now + 60 * found.settings.lease_minutes
    of = {"item": item_id, "account": account_id, "kind": kind}
    if (lapsed := connection.execute(queries.OF_ITEM, of).scalar()) is not None:
        connection.execute(queries.AGAIN, {"which": lapsed, "until": expires})
        return int(lapsed)
    k = connection.execute(queries.K, {"item": item_id}).scalar_one()
    values = {
        "item_id": item_id,
        "account_id": account_id,
        "project_id": found.id,
        "kind": kind,
        "status": "open",
        "shown": json.dumps(order_shown(secret, item_id, account_id, k)),
        "number": number,
        "created": now,
        "expires": expires,
    }
    (made,) = connection.execute(queries.ADD_PAGE, values).inserted_primary_key or (0,)
    return int(made)


def page(connection: Connection, assignment_id: int, account_id: int) -> Page:
    """A page of this account. NotThere: there is none, or it is somebody else's."""
    row = connection.execute(queries.PAGE, {"which": assignment_id, "account": account_id}).first()
    if row is None:
        raise NotThere("no such page", where=str(assignment_id))
    shown = tuple(json.loads(row.shown))
    outputs = connection.execute(queries.CONTENTS, {"item": row.item_id}).scalars().all()
    newest = connection.execute(queries.NEWEST, {"which": assignment_id}).first()
    return Page(
        assignment=assignment_id, project=row.project_id, item=row.item_id, number=row.number, kind=row.kind,
        status=row.status, shown=shown, prompt=json.loads(row.prompt),
        outputs=tuple(json.loads(outputs[place]) for place in shown), tools=json.loads(row.tools or "null"),
        category=row.category, sensitive=row.sensitive, expires=row.expires,
        revision=newest.revision if newest else 0,
        answer=wire(json.loads(newest.answer), shown) if newest else None,
        draft=json.loads(row.answer) if row.version is not None else None, draft_version=row.version or 0,
        active_ms=max(row.active_ms or 0, (newest.active_ms or 0) if newest else 0),
    )  # fmt: skip


def progress(connection: Connection, project_id: int, account_id: int) -> Progress:
    """Counted when it is asked for, not with each page: it walks over all open groups."""
    found = find(connection, project_id)
    mine = (
        assignment.c.account_id == account_id,
        assignment.c.project_id == project_id,
        queries.OF_LABELLING,
    )
    by_status = connection.execute(select(assignment.c.status, func.count()).where(*mine).group_by(assignment.c.status))
    counts = {str(status): int(count) for status, count in by_status}
    newest = (
        select(func.max(judgement.c.active_ms).label("ms"))
        .join(assignment, assignment.c.id == judgement.c.assignment_id)
        .where(*mine)
        .group_by(judgement.c.assignment_id)
        .subquery()
    )
    active = connection.execute(select(func.coalesce(func.sum(newest.c.ms), 0))).scalar_one()
    left = _left(connection, found, account_id, sum(counts.values())) + counts.get("open", 0)
    return Progress(counts.get("done", 0), counts.get("skipped", 0), left, int(active))


def _left(connection: Connection, found: Project, account_id: int, had: int) -> int:
    """Groups that this account could still get, as things stand."""
    try:
        rules = rules_for(connection, found, account_id)
    except NotAllowed:
        return 0
    is_open = text("taken < wanted and gold is null")  # in these words the index of open groups is used
    wanted: list[Any] = [item.c.project_id == found.id, is_open, *rules.allow()]
    free = connection.execute(select(func.count()).select_from(item).where(*wanted)).scalar_one()
    own = (
        select(func.count())
        .select_from(assignment)
        .join(item, item.c.id == assignment.c.item_id)
        .where(assignment.c.account_id == account_id, assignment.c.status != "lapsed", *wanted)
    )
    left = free - connection.execute(own).scalar_one()
    return left if rules.most is None else min(left, max(0, rules.most - had))


def kinds_shown(shown: Sequence[int]) -> list[int]:
    """(K,) for each place of the file the place at which it was shown, 1 the first: Judgement.shown."""
    at = {place: i for i, place in enumerate(shown, 1)}
    return [at[place] for place in range(len(shown))]
