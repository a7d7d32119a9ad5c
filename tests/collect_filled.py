"""Projects with judgements, put there row by row: what annotators did is known, so that numbers can be checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, insert

from accord.collect.schema import account, assignment, item, judgement, output, project
from accord.collect.settings import Settings

Answer = Callable[[np.random.Generator, int, Sequence[float], Sequence[int]], dict[str, Any]]
DAY = 86_400.0
START = 1_790_000_000.0


def add_project(connection: Connection, settings: Settings, name: str = "Replies") -> int:
    row = {"name": name, "settings": settings.model_dump_json(), "created": START}
    return int(connection.execute(insert(project).values(row)).inserted_primary_key[0])


def add_people(connection: Connection, names: Sequence[str], role: str = "annotator") -> list[int]:
    rows = [{"name": name, "key": name.lower(), "role": role, "created": START} for name in names]
    return [int(connection.execute(insert(account).values(row)).inserted_primary_key[0]) for row in rows]


def add_groups(connection: Connection, project_id: int, count: int, k: int, overlap: int, **more: Any) -> list[int]:
    rows = [
        {"project_id": project_id, "key": f"g{i}", "position": i, "prompt": json.dumps(f"Question {i}?"), "k": k,
         "wanted": overlap, "taken": 0, **more}
        for i in range(count)
    ]  # fmt: skip
    ids = list(connection.execute(insert(item).returning(item.c.id), rows).scalars())
    outputs = [
        {"item_id": id, "place": place, "content": json.dumps(f"Answer {place} to {id}"), "model": f"model-{place}"}
        for id in ids for place in range(k)
    ]  # fmt: skip
    if outputs:
        connection.execute(insert(output), outputs)
    return ids


def judge(
    connection: Connection,
    project_id: int,
    items: Sequence[int],
    people: Sequence[int],
    answer: Answer,
    *,
    k: int,
    overlap: int,
    kind: str = "label",
    seed: int = 0,
    seconds: float = 40.0,
) -> None:
    """Each group by `overlap` people that are drawn; answer(generator, account, outputs, order shown)."""
    generator = np.random.default_rng(seed)
    pages, said = [], []
    number = dict.fromkeys(people, 0)
    for place, id in enumerate(items):
        quality = generator.normal(size=k)
        for who in generator.permutation(np.array(people))[:overlap]:
            shown = [int(one) for one in generator.permutation(k)]
            number[int(who)] += 1
            at = START + 60.0 * place
            pages.append(
                {"item_id": id, "account_id": int(who), "project_id": project_id, "kind": kind, "status": "done",
                 "shown": json.dumps(shown), "number": number[int(who)], "created": at, "ended": at + 30}
            )  # fmt: skip
            active = int(1000 * seconds * generator.lognormal(0, 0.5))
            said.append((answer(generator, int(who), quality, shown), active, at + 30))
    ids = list(
        connection.execute(insert(assignment).returning(assignment.c.id, sort_by_parameter_order=True), pages).scalars()
    )
    rows = [
        {"assignment_id": id, "revision": 1, "answer": json.dumps(what), "active_ms": active, "wall_ms": active,
         "submission": f"{kind}-{seed}-{id}", "payload": "x", "created": at}
        for id, (what, active, at) in zip(ids, said, strict=True)
    ]  # fmt: skip
    connection.execute(insert(judgement), rows)
    if kind == "label":
        connection.execute(item.update().where(item.c.id.in_(list(items))).values(taken=overlap))


def ranked(noise: float = 0.5, ties: float = 0.1, first: float = 0.0, flags: Sequence[str] = ()) -> Answer:
    """Ranks by quality and noise; `first` is added to what is shown first; so many neighbours are called equal."""

    def answer(
        generator: np.random.Generator, who: int, quality: Sequence[float], shown: Sequence[int]
    ) -> dict[str, Any]:
        felt = np.array(quality) + noise * generator.normal(size=len(quality))
        felt[shown[0]] += first
        order = np.argsort(-felt)
        ranks, rank = [0] * len(felt), 0
        for i, place in enumerate(order):
            rank += 1 if i == 0 or generator.random() >= ties else 0
            ranks[int(place)] = rank
        ratings = [int(one) for one in np.clip(np.round(4 + 1.5 * felt), 1, 7)]
        found: dict[str, Any] = {"ranks": ranks, "ratings": ratings}
        if flags:
            found["flags"] = {name: [bool(generator.random() < 0.1) for _ in felt] for name in flags}
        return found

    return answer
