"""How often one may fail: counted in the database, so that it holds for all servers and after a restart.

An attempt is counted before it is made, and taken back if it succeeds: many at the same moment gain nothing.
Five for one name from one address; more for a name or an address on its own, as a team may share an address, and as
nobody should be able to lock somebody else out with five wrong guesses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sqlalchemy import Connection, delete, func, insert, select, text

from accord.collect.refusals import TooMany
from accord.collect.schema import failure

WINDOW = 900.0  # seconds
OF_BOTH, OF_ONE = 5, 30
TURN = 7205761  # the lock of PostgreSQL under which attempts are counted one after the other


def login_keys(name: str, address: str) -> dict[str, int]:
    """Key -> failures that are allowed within the window."""
    return {f"login {address} {name}": OF_BOTH, f"name {name}": OF_ONE, f"address {address}": OF_ONE}


def count(connection: Connection, keys: Mapping[str, int], now: float) -> None:
    """Counts an attempt. TooMany (with retry_after): there were too many, and this one is not to be made."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({TURN})"))
    connection.execute(delete(failure).where(failure.c.at < now - WINDOW))
    for key, most in keys.items():
        of_key = select(func.count(), func.min(failure.c.at)).where(failure.c.key == key)
        number, oldest = connection.execute(of_key).one()
        if number >= most:
            raise _too_many(oldest + WINDOW - now)
    connection.execute(insert(failure), [{"key": key, "at": now} for key in keys])


def succeeded(connection: Connection, keys: Mapping[str, int], now: float) -> None:
    """Takes the attempt of that time back, and what failed before by the first key.

    The failures by the other keys stay: who knows one password may be guessing those of others.
    """
    first, *_ = keys
    connection.execute(delete(failure).where(failure.c.key.in_(list(keys)), failure.c.at == now))
    connection.execute(delete(failure).where(failure.c.key == first))


def _too_many(seconds: float) -> TooMany:
    refused = TooMany("too many attempts", fix=f"try again in {max(1, math.ceil(seconds / 60))} min")
    refused.retry_after = max(1, math.ceil(seconds))
    return refused
