"""Collecting human judgements: the labelling site, its database, and what comes out of it. Starts without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accord.collect.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    if name == "Client":
        from accord.collect.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
