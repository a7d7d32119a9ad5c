"""Who there is: an account with a role, and what programs may do in its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["admin", "annotator", "viewer"]
Scope = Literal["read", "label", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
# The widest scope stands last. A token never reaches further than the role of its account, now and later.
SCOPES: dict[Role, tuple[Scope, ...]] = {
    "admin": ("read", "label", "admin"),
    "annotator": ("read", "label"),
    "viewer": ("read",),
}


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks. sensitive: whether groups that are marked as sensitive are shown to them."""

    id: int
    name: str
    role: Role
    sensitive: bool
