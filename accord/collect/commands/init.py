"""`accord collect init`: a labelling database, new or brought to this version."""

from __future__ import annotations

import time
from collections.abc import Mapping

from sqlalchemy import func, select

from accord.collect import events, schema
from accord.collect.migrate import create_database, head, version_of
from accord.stages.collect_configs import CollectInitConfig
from accord.stages.tables import tell


def run(config: CollectInitConfig, given: Mapping[str, object]) -> None:
    """Makes or upgrades it, and says what comes next. StorageError: it cannot be written."""
    name = config.database.db
    before = version_of(name)
    database = create_database(name)
    try:
        with database.write() as connection:
            admin = select(func.count()).select_from(schema.account).where(schema.account.c.role == "admin")
            has_admin = bool(connection.execute(admin).scalar_one())
            if before != head():
                detail = {"from": before, "to": head()}
                events.append(connection, "command line", "database upgraded", head(), detail, now=time.time())
        tell(_said(database.name, before, has_admin=has_admin, is_sqlite=database.is_sqlite))
    finally:
        database.close()


def _said(name: str, before: str | None, *, has_admin: bool, is_sqlite: bool) -> list[str]:
    if before == head():
        lines = [f"{name} is there already, and of this version"]
    elif before is None:
        lines = [f"{name} is made"]
    else:
        kept = "; the file as it was lies beside it" if is_sqlite else ""
        lines = [f"{name} is brought from version {before} to {head()}; every row is kept{kept}"]
    db = "" if name == "sqlite:///prefs.db" else f" --db {name}"
    if not has_admin:
        lines.append(f"next: accord collect user YOUR_NAME --role admin{db}")
    lines.append(f"then: accord collect import FILE{db}, and accord collect serve{db}")
    return lines
