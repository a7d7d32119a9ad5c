"""What annotators say: drafts, submissions, skips, corrections, and how disputes are settled.

Nothing that was acknowledged is lost or overwritten: a judgement is a row that is only added, a correction is the next
revision of it, and the same submission sent twice is stored once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from accord.collect import events, queries
from accord.collect.layouts import MOST_TEXT, canonical, warnings
from accord.collect.projects import Project, find
from accord.collect.queue import free_lapsed, give_back, renew, rules_for
from accord.collect.refusals import Conflict, Invalid, NotThere, Stale, Taken
from accord.collect.schema import assignment, item, judgement, outbox

MOST_DRAFT = 500_000  # characters
MOST_MS = 10**9  # eleven days; no page takes longer


@dataclass(frozen=True)
class Receipt:
    """What was stored. repeated: it had been stored before, and nothing was done now."""

    assignment: int
    revision: int
    status: str = "done"
    warnings: list[str] = field(default_factory=list)
    repeated: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _own(connection: Connection, assignment_id: int, account_id: int) -> tuple[Row[Any], Project]:
    """The page and its project, locked until the transaction ends. NotThere: none of this account."""
    row = connection.execute(queries.OWN, {"which": assignment_id, "account": account_id}).first()
    if row is None:
        raise NotThere("no such page", where=str(assignment_id))
    found = find(connection, row.project_id)
    rules_for(connection, found, account_id)
    return row, found


def save_draft(
    connection: Connection,
    assignment_id: int,
    account_id: int,
    *,
    version: int,
    answer: Any,
    active_ms: int,
    now: float,
) -> int:
    """Keeps what is not submitted yet, and the lease of who works on it. The new version of the draft.

    version: the one that the page has, 0 for none. Stale: another tab or machine stored a newer one.
    """
    own, found = _own(connection, assignment_id, account_id)
    text = json.dumps(answer, ensure_ascii=False)
    if not isinstance(answer, Mapping) or len(text) > MOST_DRAFT:
        raise Invalid(f"a draft is an object of at most {MOST_DRAFT} characters", where="answer")
    stored = connection.execute(queries.DRAFT_VERSION, {"which": assignment_id}).scalar() or 0
    if stored != version:
        raise Stale("a newer draft is stored, from another tab or machine", where=f"version {stored}")
    values = {"version": version + 1, "answer": text, "active_ms": _ms(active_ms), "saved": now}
    if stored:
        changed = {f"new_{name}": value for name, value in values.items()}
        connection.execute(queries.CHANGE_DRAFT, {"which": assignment_id, **changed})
    else:
        connection.execute(queries.ADD_DRAFT, {"assignment_id": assignment_id, **values})
    if own.status == "open":
        renew(connection, assignment_id, found.settings, now)
    return version + 1


def submit(
    connection: Connection,
    assignment_id: int,
    account_id: int,
    *,
    submission: str,
    answer: Any,
    active_ms: int,
    wall_ms: int,
    revision: int,
    now: float,
) -> Receipt:
    """Stores an answer, once. revision: the one that the page shows, 0 where it is new.

    Invalid: something is missing. Conflict: the same submission id, another body. Stale: another revision came between.
    Taken: the lease had lapsed, and others filled the group; the draft is kept.
    """
    if not isinstance(submission, str) or not 8 <= len(submission) <= 80 or not submission.isascii():
        raise Invalid("8 to 80 characters, such as a UUID", where="submission")
    payload = _payload(assignment_id, answer)
    if (stored := _stored(connection, submission, payload, account_id)) is not None:
        return stored
    own, found = _own(connection, assignment_id, account_id)
    if connection.dialect.name == "postgresql":  # it may have come while we waited for the page's row
        if (stored := _stored(connection, submission, payload, account_id)) is not None:
            return stored
    if not isinstance(answer, Mapping):
        raise Invalid("an answer is an object", where="answer")
    shown = json.loads(own.shown)
    said = canonical(answer, found.settings, shown)
    newest = _revision(connection, assignment_id)
    if newest != revision:
        raise Stale("this page was submitted from another tab or machine", where=f"revision {newest}")
    _claim(connection, own, now)
    text = json.dumps(said, ensure_ascii=False, sort_keys=True)
    values = {
        "assignment_id": assignment_id,
        "revision": newest + 1,
        "answer": text,
        "active_ms": _ms(active_ms),
        "wall_ms": _ms(wall_ms),
        "submission": submission,
        "payload": payload,
        "created": now,
    }
    connection.execute(queries.ADD_JUDGEMENT, values)
    connection.execute(queries.END_DRAFT, {"which": assignment_id})
    connection.execute(queries.DONE, {"which": assignment_id, "now": now})
    if newest == 0 and own.kind == "label":
        _tell(connection, found, own.item_id, now)
    kind = "corrected" if newest else "judged"
    detail = {"revision": newest + 1, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    events.append(connection, _name(connection, account_id), kind, f"page {assignment_id}", detail,
                  project=found.id, now=now)  # fmt: skip
    return Receipt(assignment_id, newest + 1, warnings=warnings(said, shown))


def _payload(assignment_id: int, answer: Any) -> str:
    return hashlib.sha256(json.dumps([assignment_id, answer], sort_keys=True).encode()).hexdigest()


def _stored(connection: Connection, submission: str, payload: str, account_id: int) -> Receipt | None:
    """What this submission led to, if it was stored already. Conflict: it was another one."""
    row = connection.execute(queries.STORED, {"submission": submission}).first()
    if row is None:
        return None
    if row.payload != payload or row.account_id != account_id:
        raise Conflict("this submission id was used for something else", where=submission, fix="make a new one")
    said = warnings(json.loads(row.answer), json.loads(row.shown))
    return Receipt(row.assignment_id, row.revision, warnings=said, repeated=True)


def _revision(connection: Connection, assignment_id: int) -> int:
    return int(connection.execute(queries.REVISION, {"which": assignment_id}).scalar() or 0)


def _claim(connection: Connection, own: Row[Any], now: float) -> None:
    """A page that is no longer held is taken again, if a judgement is still wanted. Taken: it is not."""
    if own.status in ("open", "done") or own.kind == "gold":
        return
    free_lapsed(connection, own.project_id, now)
    wanted = update(item).where(item.c.id == own.item_id, item.c.taken < item.c.wanted)
    if connection.execute(wanted.values(taken=item.c.taken + 1)).rowcount == 0:
        what = "this page was left for too long, and others have judged the group meanwhile"
        raise Taken(what, fix="what you wrote is kept as a draft; go on with the next page")


def _tell(connection: Connection, found: Project, item_id: int, now: float) -> None:
    """The web hook, of a group that has all judgements that are wanted."""
    if found.settings.hook is None:
        return
    done = (
        select(func.count())
        .select_from(assignment)
        .where(assignment.c.item_id == item_id, assignment.c.kind.in_(("label", "imported")))
        .where(assignment.c.status == "done")
    )
    row = connection.execute(select(item.c.key, item.c.wanted).where(item.c.id == item_id)).one()
    count = connection.execute(done).scalar_one()
    if count == row.wanted:
        body = {"project": found.name, "group": row.key, "judgements": count, "at": now}
        values = {"project_id": found.id, "body": json.dumps(body, ensure_ascii=False), "due": now}
        connection.execute(insert(outbox).values(values))


def skip(connection: Connection, assignment_id: int, account_id: int, *, reason: str, now: float) -> None:
    """Gives a page to somebody else. Conflict: it was submitted. Skipped twice is skipped once."""
    own, found = _own(connection, assignment_id, account_id)
    if own.status == "skipped":
        return
    if own.status == "done":
        raise Conflict("this page was submitted", where=str(assignment_id), fix="correct it instead")
    if not isinstance(reason, str) or not reason.strip() or len(reason) > MOST_TEXT:
        raise Invalid("say why", where="reason", fields={"reason": "choose a reason, or write one"})
    values = {"status": "skipped", "ended": now, "expires": None, "reason": reason.strip()}
    connection.execute(update(assignment).where(assignment.c.id == assignment_id).values(values))
    if own.status == "open" and own.kind == "label":
        give_back(connection, own.item_id)
    connection.execute(update(item).where(item.c.id == own.item_id).values(skips=item.c.skips + 1))
    detail = {"reason": reason.strip()[:200]}
    name = _name(connection, account_id)
    events.append(connection, name, "skipped", f"page {assignment_id}", detail, project=found.id, now=now)


def _name(connection: Connection, account_id: int) -> str:
    return str(connection.execute(queries.NAME, {"account": account_id}).scalar_one())


def _ms(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MOST_MS:
        raise Invalid(f"milliseconds from 0 to {MOST_MS}", where="active_ms, wall_ms")
    return value


def history(
    connection: Connection, project_id: int, account_id: int, *, limit: int = 100, before: int | None = None
) -> list[dict[str, Any]]:
    """The pages of this account, the newest first; `before`: those of a smaller number."""
    query = (
        select(
            assignment.c.id, assignment.c.number, assignment.c.status, assignment.c.ended, assignment.c.reason,
            item.c.prompt, item.c.category, func.coalesce(func.max(judgement.c.revision), 0).label("revision"),
        )
        .join(item, item.c.id == assignment.c.item_id)
        .outerjoin(judgement, judgement.c.assignment_id == assignment.c.id)
        .where(assignment.c.account_id == account_id, assignment.c.project_id == project_id)
        .where(queries.OF_LABELLING)
        .group_by(
            assignment.c.id, assignment.c.number, assignment.c.status, assignment.c.ended, assignment.c.reason,
            item.c.prompt, item.c.category,
        )
        .order_by(assignment.c.number.desc())
        .limit(limit)
    )  # fmt: skip
    if before is not None:
        query = query.where(assignment.c.number < before)
    return [
        {
            "assignment": row.id,
            "number": row.number,
            "status": row.status,
            "ended": row.ended,
            "reason": row.reason,
            "revision": row.revision,
            "category": row.category,
            "prompt": beginning(json.loads(row.prompt)),
        }
        for row in connection.execute(query)
    ]


def beginning(prompt: Any, most: int = 200) -> str:
    """The first words of a prompt: of its last user turn, where it is a conversation."""
    if isinstance(prompt, list):
        users = [turn for turn in prompt if turn.get("role") == "user"] or prompt
        prompt = str(users[-1].get("content", "")) if users else ""
    words = " ".join(str(prompt)[: 4 * most].split())
    return words if len(words) <= most else words[: most - 1] + "…"


def adjudicate(
    connection: Connection, item_id: int, account_id: int, *, answer: dict[str, Any], submission: str, now: float
) -> Receipt:
    """An admin settles a group. answer: canonical, by places. A second time is the next revision."""
    of = (
        assignment.c.item_id == item_id,
        assignment.c.account_id == account_id,
        assignment.c.kind == "adjudication",
    )
    payload = _payload(item_id, answer)
    if (stored := _stored(connection, submission, payload, account_id)) is not None:
        return stored
    lock = select(item.c.project_id, item.c.k).where(item.c.id == item_id)
    row = connection.execute(lock.with_for_update()).first()
    if row is None:
        raise NotThere("no such group", where=str(item_id))
    made = connection.execute(select(assignment.c.id).where(*of)).scalar()
    if made is None:
        values = {
            "item_id": item_id,
            "account_id": account_id,
            "project_id": row.project_id,
            "kind": "adjudication",
            "status": "done",
            "shown": json.dumps(list(range(row.k))),
            "number": 0,
            "created": now,
            "ended": now,
        }
        (made,) = connection.execute(insert(assignment).values(values)).inserted_primary_key or (0,)
    newest = _revision(connection, made)
    text = json.dumps(answer, ensure_ascii=False, sort_keys=True)
    said = {"assignment_id": made, "revision": newest + 1, "answer": text, "submission": submission, "created": now}
    connection.execute(insert(judgement).values(**said, payload=payload))
    detail = {"revision": newest + 1, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    events.append(connection, _name(connection, account_id), "settled", f"group {item_id}", detail,
                  project=row.project_id, now=now)  # fmt: skip
    return Receipt(int(made), newest + 1)
