"""The statements behind each page and each submission, made once.

SQLAlchemy needs longer to put a query together than SQLite to answer it. "For update" says nothing on SQLite, where a
transaction that writes is alone. Conditions in words are those of the partial indexes: with parameters in their place
SQLite would not use them.
"""

from __future__ import annotations

from sqlalchemy import and_, bindparam, delete, func, insert, select, text, update

from accord.collect.schema import account, assignment, draft, item, judgement, member, output

SWEPT = 200  # leases that one request frees, at most
OF_LABELLING = text("assignment.kind in ('label', 'gold')")

WHO = (
    select(account.c.active, account.c.role, account.c.sensitive, member.c.account_id, member.c.categories)
    .select_from(account)
    .outerjoin(member, and_(member.c.account_id == account.c.id, member.c.project_id == bindparam("project")))
    .where(account.c.id == bindparam("account"))
)
LAPSED = (
    select(assignment.c.id, assignment.c.item_id, assignment.c.kind)
    .where(assignment.c.project_id == bindparam("project"), text("status = 'open'"))
    .where(assignment.c.expires < bindparam("now"))
    .order_by(assignment.c.id)
    .limit(SWEPT)
    .with_for_update(skip_locked=True)
)
LAPSE = (
    update(assignment)
    .where(assignment.c.id == bindparam("which"))
    .values(status="lapsed", ended=bindparam("now"), expires=None)
)
ADD_TAKEN = update(item).where(item.c.id == bindparam("which")).values(taken=item.c.taken + bindparam("more"))
RENEW = update(assignment).where(assignment.c.id == bindparam("which")).values(expires=bindparam("until"))
OF_PERSON = (
    assignment.c.account_id == bindparam("account"),
    assignment.c.project_id == bindparam("project"),
)
OWN_OPEN = (
    select(assignment.c.id)
    .where(*OF_PERSON, text("status = 'open'"), OF_LABELLING)
    .order_by(assignment.c.number.desc())
    .limit(1)
)
LAST_NUMBER = select(func.max(assignment.c.number)).where(*OF_PERSON)
LAST_POSITION = {
    gold: select(item.c.position)
    .join(assignment, assignment.c.item_id == item.c.id)
    .where(*OF_PERSON, item.c.gold.isnot(None) if gold else item.c.gold.is_(None))
    .order_by(assignment.c.number.desc())
    .limit(1)
    for gold in (True, False)
}
OF_ITEM = (
    select(assignment.c.id)
    .where(assignment.c.item_id == bindparam("item"), assignment.c.account_id == bindparam("account"))
    .where(assignment.c.kind == bindparam("kind"))
)
AGAIN = (
    update(assignment)
    .where(assignment.c.id == bindparam("which"))
    .values(status="open", expires=bindparam("until"), ended=None)
)
K = select(item.c.k).where(item.c.id == bindparam("item"))
ADD_PAGE = insert(assignment)
PAGE = (
    select(
        assignment.c.project_id, assignment.c.item_id, assignment.c.number, assignment.c.kind, assignment.c.status,
        assignment.c.shown, assignment.c.expires, item.c.prompt, item.c.tools, item.c.category, item.c.sensitive,
        draft.c.version, draft.c.answer, draft.c.active_ms,
    )
    .join(item, item.c.id == assignment.c.item_id)
    .outerjoin(draft, draft.c.assignment_id == assignment.c.id)
    .where(assignment.c.id == bindparam("which"), assignment.c.account_id == bindparam("account"), OF_LABELLING)
)  # fmt: skip
CONTENTS = select(output.c.content).where(output.c.item_id == bindparam("item")).order_by(output.c.place)
NEWEST = (
    select(judgement.c.revision, judgement.c.answer, judgement.c.active_ms)
    .where(judgement.c.assignment_id == bindparam("which"))
    .order_by(judgement.c.revision.desc())
    .limit(1)
)

# What is submitted.
OWN = (
    select(assignment)
    .where(assignment.c.id == bindparam("which"), assignment.c.account_id == bindparam("account"), OF_LABELLING)
    .with_for_update()
)
DRAFT_VERSION = select(draft.c.version).where(draft.c.assignment_id == bindparam("which"))
ADD_DRAFT = insert(draft)
CHANGE_DRAFT = (
    update(draft)
    .where(draft.c.assignment_id == bindparam("which"))
    .values({name: bindparam(f"new_{name}") for name in ("version", "answer", "active_ms", "saved")})
)
END_DRAFT = delete(draft).where(draft.c.assignment_id == bindparam("which"))
STORED = (
    select(judgement, assignment.c.account_id, assignment.c.shown)
    .join(assignment, assignment.c.id == judgement.c.assignment_id)
    .where(judgement.c.submission == bindparam("submission"))
)
REVISION = select(func.max(judgement.c.revision)).where(judgement.c.assignment_id == bindparam("which"))
ADD_JUDGEMENT = insert(judgement)
DONE = (
    update(assignment)
    .where(assignment.c.id == bindparam("which"))
    .values(status="done", ended=bindparam("now"), expires=None, reason=None)
)
NAME = select(account.c.name).where(account.c.id == bindparam("account"))
