"""Passwords: argon2id (RFC 9106, its second choice: 64 MiB, three passes), never more than two at a time.

The parameters stand in each hash; one of older parameters is made anew when its owner logs in.
"""

from __future__ import annotations

import secrets
import threading
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from accord.collect.refusals import Invalid

SHORTEST, LONGEST = 12, 256
FEWEST = 4  # different characters
AT_ONCE = 2  # each takes 64 MiB
_hasher = PasswordHasher()
_turn = threading.BoundedSemaphore(AT_ONCE)


class Hashed(str):
    """A password's hash, made before a transaction that others wait for."""


def check_password(password: str, name: str) -> None:
    """Invalid where a password is too short, too long, or easily guessed."""
    password = _normal(password)
    if len(password) < SHORTEST:
        raise _invalid(f"at least {SHORTEST} characters are needed; this has {len(password)}")
    if len(password) > LONGEST:
        raise _invalid(f"at most {LONGEST} characters are taken; this has {len(password)}")
    if len(set(password)) < FEWEST or _normal(name).casefold() == password.casefold():
        raise _invalid("this is too easily guessed: take a few words that do not belong together")


def hash_password(password: str) -> Hashed:
    """Slow on purpose (some 50 ms): not to be called inside a transaction that writes."""
    with _turn:
        return Hashed(_hasher.hash(_normal(password)))


def is_right(stored: str | None, password: str) -> bool:
    """Whether a password is that of a stored hash. Without one (nobody of this name) it takes just as long."""
    if len(password) > 4 * LONGEST:
        return False
    with _turn:
        try:
            return _hasher.verify(stored or _of_nobody(), _normal(password)) and stored is not None
        except (VerificationError, InvalidHashError):
            return False


def is_outdated(stored: str) -> bool:
    """Whether a hash was made with other parameters than ours."""
    return _hasher.check_needs_rehash(stored)


@cache
def _of_nobody() -> str:
    return _hasher.hash(secrets.token_urlsafe(32))


def _normal(password: str) -> str:
    """The same letters typed on another keyboard are the same password (NIST SP 800-63B, 5.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


def _invalid(what: str) -> Invalid:
    return Invalid(what, where="password", fields={"password": what})
