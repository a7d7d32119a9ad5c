"""How a project goes, and how good its labels are: the numbers of the live page, of the API and of `status`."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, func, select

from accord.collect.projects import Project, find
from accord.collect.quality_counts import Pace, Progress, by_annotator, pace, progress, skip_reasons
from accord.collect.quality_read import read
from accord.collect.schema import assignment, item, judgement

if TYPE_CHECKING:  # numpy and scipy are loaded when numbers are asked for, not when the site starts
    from accord.collect.database import Database
    from accord.collect.quality_annotators import Everyone
    from accord.collect.quality_position import Places
    from accord.evaluate.agreed import Agreed
    from accord.maths.position import Shown

PAUSE = 5.0  # seconds for which the same numbers are shown
SHARE = 20  # numbers that took a second to make are kept for so many seconds


@dataclass(frozen=True)
class Quality:
    """All that is known of a project. part: of its groups, whose judgements the figures are of (counts are of all).

    agreed: of each question; agreed_of: of how many groups that is. ties: share of pairs that are called equal.
    """

    made: float
    part: float
    judgements_read: int
    progress: Progress
    pace: Pace
    skips: tuple[tuple[str, int], ...]
    everyone: Everyone
    agreed: tuple[Agreed, ...]
    agreed_of: int
    places: Places | None
    first: Shown | None
    ties: float | None
    ratings: tuple[int, ...]
    ticked: Mapping[str, float]
    level: float

    def to_json(self) -> dict[str, Any]:
        """null stands for what the data cannot say."""
        found = {name: _json(getattr(self, name)) for name in self.__dataclass_fields__ if name != "agreed"}
        return found | {"agreed": [one.to_json() for one in self.agreed]}


def _json(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _json(part) for name, part in value._asdict().items()}
    if is_dataclass(value):
        return {name: _json(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(key): _json(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_json(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def quality(
    connection: Connection, project: Project | int, level: float = 0.95, *, now: float | None = None
) -> Quality:
    """All numbers, made now. level: of the intervals."""
    from accord.collect.quality_agreement import agreement
    from accord.collect.quality_annotators import everyone, ratings, ticked
    from accord.collect.quality_position import first_wins, orders_of, places

    one = find(connection, project) if isinstance(project, int) else project
    now = time.time() if now is None else now
    far = progress(connection, one.id, one.settings.skips_to_flag)
    found = read(connection, one.id)
    orders = orders_of(found.given)
    agreed, agreed_of = agreement(found.counted, level)
    first = first_wins(orders, level)
    compared = first.wins + first.losses + first.ties if first else 0
    return Quality(
        made=now,
        part=found.share,
        judgements_read=len(found.given),
        progress=far,
        pace=pace(connection, one.id, far.wanted - far.judgements, now),
        skips=tuple(skip_reasons(connection, one.id)),
        everyone=everyone(found, orders, by_annotator(connection, one.id), one.settings.scale, level),
        agreed=tuple(agreed),
        agreed_of=agreed_of,
        places=places(orders, level),
        first=first,
        ties=first.ties / compared if first and compared else None,
        ratings=ratings(found.given, one.settings.scale),
        ticked=ticked(found.given),
        level=level,
    )


class Kept:
    """Numbers of one database's projects, made again when something was judged, and not too often."""

    def __init__(self) -> None:
        self.made: dict[int, tuple[tuple[Any, ...], float, float, Quality]] = {}
        self.lock = threading.Lock()

    def of(self, database: Database, project_id: int) -> Quality:
        """Whoever asks while they are made waits, if there are none yet; else sees those of before."""
        kept = self.made.get(project_id)
        if kept is not None and (time.monotonic() < kept[2] or not self.lock.acquire(blocking=False)):
            return kept[3]
        if kept is None:
            self.lock.acquire()
        try:
            return self._make(database, project_id)
        finally:
            self.lock.release()

    def _make(self, database: Database, project_id: int) -> Quality:
        start = time.monotonic()
        kept = self.made.get(project_id)
        with database.read() as connection:
            state = _state(connection, project_id)
            if kept is not None and (kept[0] == state or start < kept[2]):
                found = kept[3]
            else:
                found = quality(connection, project_id)
        took = time.monotonic() - start
        self.made[project_id] = (state, took, time.monotonic() + max(PAUSE, SHARE * took), found)
        return found


KEPT: WeakKeyDictionary[Any, Kept] = WeakKeyDictionary()


def latest(database: Database, project_id: int) -> Quality:
    """The numbers as they are shown: at most some seconds old, however many people look at them."""
    return KEPT.setdefault(database, Kept()).of(database, project_id)


def _state(connection: Connection, project_id: int) -> tuple[Any, ...]:
    """Changes whenever numbers may."""
    pages = select(func.max(assignment.c.id), func.max(assignment.c.ended), func.max(assignment.c.expires))
    items = select(func.max(item.c.id), func.count(item.c.gold)).where(item.c.project_id == project_id)
    settings = find(connection, project_id).version
    newest = connection.execute(select(func.max(judgement.c.id))).scalar()
    paged = connection.execute(pages.where(assignment.c.project_id == project_id)).one()
    return (newest, settings, *paged, *connection.execute(items).one())
