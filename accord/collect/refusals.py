"""What the site refuses: each has an HTTP status, a word for programs, and a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from accord.errors import AccordError, ServiceError, StorageError


class Refused(AccordError):
    """A request that is not done. kind: for programs. retry_after: seconds, where waiting helps."""

    code = 2
    status: ClassVar[int] = 400
    kind: ClassVar[str] = "refused"
    retry_after: int | None = None

    def __init__(self, what: str, *, where: str = "", fix: str = "", fields: Mapping[str, str] | None = None) -> None:
        super().__init__(what, where=where, fix=fix)
        self.fields = dict(fields or {})


class NotKnown(Refused):
    """Who asks is not known: no session, or one that has ended."""

    status, kind = 401, "not_known"


class NotAllowed(Refused):
    """Who asks may not do this."""

    status, kind = 403, "not_allowed"


class NotThere(Refused):
    """There is no such thing, or none that this account may see."""

    status, kind = 404, "not_there"


class Conflict(Refused):
    """The same submission id with another body."""

    status, kind = 409, "conflict"


class Stale(Refused):
    """Something newer was stored in the meantime."""

    status, kind = 409, "stale"


class Taken(Refused):
    """The lease had lapsed, and others have given all judgements that were wanted."""

    status, kind = 409, "taken"


class Invalid(Refused):
    """Something is missing or wrong; `fields` says where."""

    status, kind = 422, "invalid"


class TooLarge(Refused):
    """More bytes than are taken."""

    status, kind = 413, "too_large"


class TooMany(Refused):
    """Too many attempts."""

    status, kind = 429, "too_many"


class Busy(ServiceError):
    """The database stayed locked for as long as one waits. 503, with Retry-After."""


class Full(StorageError):
    """The database has no room left. 507; reading goes on."""
