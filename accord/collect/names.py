"""Names of accounts: what they may be, and which of them are the same."""

from __future__ import annotations

import unicodedata

from accord.collect.refusals import Invalid

LONGEST = 60
BLANK = "\u115f\u1160\u3164\uffa0"  # letters for Unicode, and nothing to be seen


def checked(name: str) -> str:
    """A name in its one form (NFC, single blanks). Invalid: empty, too long, or with characters that cannot be seen."""
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if not name or len(name) > LONGEST or not name.isprintable() or any(c in BLANK for c in name):
        raise _invalid(f"give a name of 1 to {LONGEST} visible characters")
    if not any(c.isalnum() for c in name):
        raise _invalid("give a name with a letter or a digit in it")
    return name


def key_of(name: str) -> str:
    """What names are compared by: Anna, anna and \uff21nna are one."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.split())


def _invalid(what: str) -> Invalid:
    return Invalid(what, where="name", fields={"name": what})
