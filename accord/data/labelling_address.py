"""The address of a labelling database as data: which database, which project of it, and what to take of its judgements.

sqlite:///prefs.db?project=helpful&take=mean_rank        postgresql://user@host/database?project=helpful
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast, get_args
from urllib.parse import parse_qsl, urlencode, urlsplit

from accord.errors import InputError

KINDS = ("sqlite", "postgresql", "postgres")
Taken = Literal["all", "adjudicated", "majority", "mean_rank", "dawid_skene"]
TAKES = get_args(Taken)
OWN = ("project", "take")  # of the address's query; the rest is the driver's


class Address(NamedTuple):
    """url: of the database, without what is ours. project: None, the only one."""

    url: str
    project: str | None
    take: Taken

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite:")

    @property
    def file(self) -> str | None:
        """Of SQLite, as it is opened: three slashes before a path from here, four before one from the root."""
        return self.url.split("?")[0].removeprefix("sqlite:///") if self.is_sqlite else None

    def __str__(self) -> str:
        """As messages, reports and run folders may have it: there is no password in it."""
        asked = {"project": self.project, "take": None if self.take == "all" else self.take}
        own = urlencode({name: value for name, value in asked.items() if value is not None})
        return self.url + (("&" if "?" in self.url else "?") + own if own else "")


def is_database(name: str) -> bool:
    """Whether a source of data is the address of a database."""
    return name.split("://")[0].split("+")[0] in KINDS and "://" in name


def address_of(name: str) -> Address:
    """InputError: a password in it, which run folders would keep; an unknown `take`; no file of SQLite."""
    start, _, query = name.partition("?")
    kind, _, rest = start.partition("://")
    if _has_password(start) or any(key == "password" for key, _ in parse_qsl(query)):
        fix = "take it out, and give it as the variable PGPASSWORD or in the file ~/.pgpass"
        raise InputError("a password stands in the address, and what is read is noted in places", where=kind, fix=fix)
    if kind == "sqlite" and len(rest) < 2:
        raise InputError("no file", where=name, fix="sqlite:///prefs.db, or sqlite:////the/whole/path.db")
    pairs = parse_qsl(query, keep_blank_values=True)
    own = {key: value for key, value in pairs if key in OWN}
    others = urlencode([(key, value) for key, value in pairs if key not in OWN])
    take = own.get("take", "all")
    if take not in TAKES:
        raise InputError(f"take={take} is not known", where=start, fix="one of " + ", ".join(TAKES))
    family = "sqlite" if kind == "sqlite" else "postgresql"
    return Address(f"{family}://{rest}{'?' if others else ''}{others}", own.get("project"), cast(Taken, take))


def _has_password(url: str) -> bool:
    try:
        return urlsplit(url).password is not None
    except ValueError:
        raise InputError("no address of a database", where="--data", fix="sqlite:///prefs.db") from None


def shown_name(name: str) -> str:
    """A source's name as it may be shown, whatever is wrong with it."""
    if not is_database(name):
        return name
    try:
        return str(address_of(name))
    except InputError:
        return name.partition("://")[0] + "://..."
