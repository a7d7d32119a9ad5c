"""Row numbers given out before rows are written, so that many rows of several tables go in together."""

from __future__ import annotations

from sqlalchemy import Connection, Table, func, select, text


def numbers(connection: Connection, table: Table, many: int) -> list[int]:
    """So many new numbers for rows of this table, rising. In a transaction that writes: nobody else gets them."""
    if connection.dialect.name == "postgresql":
        drawn = text("SELECT nextval(pg_get_serial_sequence(:table, 'id')) FROM generate_series(1, :many)")
        return sorted(connection.execute(drawn, {"table": table.name, "many": many}).scalars())
    last = connection.execute(select(func.max(table.c.id))).scalar() or 0
    return list(range(last + 1, last + 1 + many))
