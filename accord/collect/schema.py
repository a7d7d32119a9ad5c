"""The tables of a labelling database. Times are seconds since 1970 (UTC); JSON is text, byte for byte as we wrote it.

The browser never sees a row number of an output: it names outputs by the letter of the place at which they were shown.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
TABLES = MetaData(naming_convention=NAMES)
Big = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only where the type is INTEGER


def _id() -> Column[int]:
    return Column("id", Big, primary_key=True, autoincrement=True)


def _to(table: str, name: str | None = None, *, nullable: bool = False) -> Column[int]:
    return Column(name or f"{table}_id", Big, ForeignKey(f"{table}.id"), nullable=nullable)


# What is known of the database itself: `secret`, from which the orders of outputs are drawn; `origin`.
setting = Table("setting", TABLES, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

# role: admin | annotator | viewer. password: argon2id, or none for who was imported and cannot log in.
account = Table(
    "account",
    TABLES,
    _id(),
    Column("name", Text, nullable=False),
    Column("key", Text, nullable=False, unique=True),  # the name, folded: Anna and anna are one
    Column("role", Text, nullable=False),
    Column("password", Text),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    Column("sensitive", Boolean, nullable=False, server_default=text("true")),  # sees groups marked as sensitive
    Column("created", Float, nullable=False),
    CheckConstraint("role in ('admin', 'annotator', 'viewer')", name="role"),
)

# A link that makes one account, once. Only the hash of its token is kept.
invitation = Table(
    "invitation",
    TABLES,
    _id(),
    Column("hash", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    _to("project", nullable=True),
    _to("account", "made_by", nullable=True),
    _to("account", "used_by", nullable=True),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
)

session = Table(
    "session",
    TABLES,
    Column("hash", Text, primary_key=True),  # SHA-256 of what the cookie holds
    _to("account"),
    Column("csrf", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("seen", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Index("ix_session_account_id", "account_id"),
)

# For programs. scope: read | label | admin.
token = Table(
    "token",
    TABLES,
    _id(),
    Column("hash", Text, nullable=False, unique=True),
    _to("account"),
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
)

# One row a failed login (or whatever else is limited), by account and by address.
failure = Table(
    "failure", TABLES, _id(), Column("key", Text, nullable=False), Column("at", Float, nullable=False),
    Index("ix_failure_key_at", "key", "at"),
)  # fmt: skip

# settings: accord.collect.settings.Settings as JSON. version: for edits that must not overwrite each other.
project = Table(
    "project",
    TABLES,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("settings", Text, nullable=False),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("archived", Boolean, nullable=False, server_default=text("false")),
    Column("created", Float, nullable=False),
)

# Who may label in a project whose members are chosen. categories: JSON list, or none for all.
member = Table(
    "member",
    TABLES,
    Column("project_id", Big, ForeignKey("project.id"), primary_key=True),
    Column("account_id", Big, ForeignKey("account.id"), primary_key=True),
    Column("categories", Text),
)

# A group. key: its id in the file. prompt, tools: JSON. taken: judgements given or being given (open, done, imported)
# that count to `wanted`, the overlap. gold: the known answer (JSON of an answer). score: how uncertain it is.
item = Table(
    "item",
    TABLES,
    _id(),
    _to("project"),
    Column("key", Text, nullable=False),
    Column("position", Float, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("tools", Text),
    Column("category", Text),
    Column("weight", Float, nullable=False, server_default=text("1")),
    Column("k", Integer, nullable=False),
    Column("gold", Text),
    Column("sensitive", Boolean, nullable=False, server_default=text("false")),
    Column("taken", Integer, nullable=False, server_default=text("0")),
    Column("wanted", Integer, nullable=False),
    Column("skips", Integer, nullable=False, server_default=text("0")),
    Column("score", Float),
    Column("source", Text),
    UniqueConstraint("project_id", "key"),
    Index(
        "ix_item_open", "project_id", "position", sqlite_where=text("taken < wanted and gold is null"),
        postgresql_where=text("taken < wanted and gold is null"),
    ),
    Index("ix_item_position", "project_id", "position"),
    Index(
        "ix_item_gold", "project_id", "position", sqlite_where=text("gold is not null"),
        postgresql_where=text("gold is not null"),
    ),
    CheckConstraint("taken >= 0", name="taken"),
)  # fmt: skip

# content: JSON, a text or a list of messages. place: 0..K-1 as in the file.
output = Table(
    "output",
    TABLES,
    Column("item_id", Big, ForeignKey("item.id"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("content", Text, nullable=False),
    Column("model", Text),
)

# kind: label | gold | adjudication | imported. status: open | done | skipped | lapsed.
# shown: JSON list, the places of the outputs in the order in which they are shown: [2, 0, 1] shows the third one as A.
assignment = Table(
    "assignment",
    TABLES,
    _id(),
    _to("item"),
    _to("account"),
    _to("project"),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("shown", Text, nullable=False),
    Column("number", Integer, nullable=False),  # 1, 2, ... of this account in this project: the page
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("ended", Float),
    Column("reason", Text),  # of a skip
    UniqueConstraint("item_id", "account_id", "kind"),
    Index("ix_assignment_account", "account_id", "project_id", "number"),
    Index("ix_assignment_project", "project_id", "status", "expires"),
    Index(
        "ix_assignment_own", "account_id", "project_id", "number", sqlite_where=text("status = 'open'"),
        postgresql_where=text("status = 'open'"),
    ),
)  # fmt: skip

# Revisions, append-only: the newest of an assignment is what the annotator says. answer: accord.collect.answers, JSON.
judgement = Table(
    "judgement",
    TABLES,
    _id(),
    _to("assignment"),
    Column("revision", Integer, nullable=False),
    Column("answer", Text, nullable=False),
    Column("active_ms", Integer),
    Column("wall_ms", Integer),
    Column("submission", Text, nullable=False, unique=True),  # made by the client: exactly once
    Column("payload", Text, nullable=False),  # SHA-256 of what was sent
    Column("created", Float, nullable=False),
    UniqueConstraint("assignment_id", "revision"),
)

# What is not submitted yet. answer: as the page sent it, by letters.
draft = Table(
    "draft",
    TABLES,
    Column("assignment_id", Big, ForeignKey("assignment.id"), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("answer", Text, nullable=False),
    Column("active_ms", Integer, nullable=False, server_default=text("0")),
    Column("saved", Float, nullable=False),
)

# Append-only, each row with the hash of the one before it.
event = Table(
    "event",
    TABLES,
    Column("id", Big, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("actor", Text, nullable=False),
    Column("kind", Text, nullable=False),
    _to("project", nullable=True),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index("ix_event_project_id", "project_id", "id"),
)

# Completed groups whose web hook is still to be called.
outbox = Table(
    "outbox",
    TABLES,
    _id(),
    _to("project"),
    Column("body", Text, nullable=False),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("due", Float, nullable=False),
)
