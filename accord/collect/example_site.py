"""The filled example: projects of every layout, and what six simulated annotators said of the first ones."""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from accord.collect import accounts, projects, schema
from accord.collect.database import Database, secret
from accord.collect.importing import import_groups
from accord.collect.layouts import LETTERS, rates
from accord.collect.queue import Page, next_page
from accord.collect.settings import Example, Layout, Settings
from accord.collect.submissions import skip, submit
from accord.data.read import read_groups
from accord.records import Group

HERE = Path(__file__).parent / "example"
OWNER, ANNOTATOR = "Olive", "Ann"
OTHERS = ("Basil", "Clara", "Dario", "Emma", "Felix", "Greta")
BETTER = {"careful": 2.0, "brief": 1.0, "rambling": -0.7, "careless": -2.2}  # how good each writer is to all of them
NOISE, TIED, FIRST = 0.9, 0.35, 0.15  # what one sees in it, what counts as equal, what the first shown has over others
INSTRUCTIONS = """Judge each answer as the person who asked would.

1. **Helpful** comes first: does it do what was asked?
2. **Truthful**: a wrong answer is worse than none.
3. **Harmless**: an answer that puts somebody at risk is the worst.

Length is no merit. Equal answers may share a rank."""
EXAMPLES = (
    Example(
        title="Right and short beats long and vague", text="*What is 7 times 8?* **56** is better than a paragraph."
    ),
    Example(title="Wrong is last", text='*When was it signed?* A wrong date ranks below "I do not know".'),
)
PROJECTS: dict[str, tuple[Layout, str, int]] = {  # name -> layout, file, outputs of each group
    "Helpful answers": ("ranking", "answers.jsonl", 4),
    "Which one is better?": ("pair", "answers.jsonl", 2),
    "Rate them": ("rating", "answers.jsonl", 3),
    "Thumb up or down?": ("thumbs", "answers.jsonl", 1),
    "Write the answer": ("demonstration", "questions.jsonl", 0),
}


def fill(database: Database, now: float) -> None:
    """A database that is new: people, projects, groups and judgements, the latter over the last three days."""
    with database.write() as connection:
        for name, role in ((OWNER, "admin"), (ANNOTATOR, "annotator"), *((name, "annotator") for name in OTHERS)):
            accounts.create_account(connection, name, role, secrets.token_urlsafe(24), "example", now)
    chance = random.Random(7)
    for name, (layout, file, k) in PROJECTS.items():
        settings = Settings(
            layout=layout, overlap=7 if layout == "ranking" else 4, instructions=INSTRUCTIONS, examples=EXAMPLES,
            render="markdown", rate=layout == "ranking", lease_minutes=600,
        )  # fmt: skip
        with database.write() as connection:
            project = projects.create(connection, name, settings, OWNER, now - 3 * 86400)
        import_groups(
            database, project, _groups(file, k), actor=OWNER, judgements="drop", sensitive=False, now=now - 3 * 86400
        )
        if k > 1:
            for number, other in enumerate(OTHERS):
                _label(
                    database, project, settings, other, 9 if k == 4 else 4, now - 2.5 * 86400 + 7200 * number, chance
                )


def _groups(file: str, k: int) -> Iterator[Group]:
    """The first k outputs of each group; of one output, another writer's in each."""
    for number, group in enumerate(read_groups(HERE / file)):
        some = group.completions[:k] if k != 1 else (group.completions[number % len(group.completions)],)
        yield replace(group, completions=some)


def _label(
    database: Database, project: int, settings: Settings, name: str, most: int, start: float, chance: random.Random
) -> None:
    """One annotator's pages, in one go."""
    with database.write() as connection:
        person = accounts.find(connection, name).id
        now = start
        for _ in range(most):
            page = next_page(connection, secret(connection), project, person, now)
            if page is None:
                return
            seconds = chance.lognormvariate(3.6, 0.5)
            now += 1.3 * seconds
            if chance.random() < 0.04:
                skip(connection, page.assignment, person, reason=settings.skips[1], now=now)
                continue
            submit(
                connection, page.assignment, person, submission=f"example-{page.assignment}",
                answer=_answer(_writers(connection, page), settings, chance), active_ms=int(1000 * seconds),
                wall_ms=int(1300 * seconds), revision=0, now=now,
            )  # fmt: skip


def _writers(connection: Connection, page: Page) -> list[str]:
    """In the order shown."""
    query = select(schema.output.c.model).where(schema.output.c.item_id == page.item).order_by(schema.output.c.place)
    models = connection.execute(query).scalars().all()
    return [str(models[place]) for place in page.shown]


def _answer(writers: list[str], settings: Settings, chance: random.Random) -> dict[str, Any]:
    """What somebody says who sees the quality of each through noise."""
    seen = {
        letter: BETTER[writer] + chance.gauss(0, NOISE) + (FIRST if letter == "A" else 0)
        for letter, writer in zip(LETTERS, writers, strict=False)
    }
    order = sorted(seen, key=lambda letter: -seen[letter])
    ranking: list[list[str]] = []
    for letter in order:
        if ranking and seen[ranking[-1][0]] - seen[letter] < TIED:
            ranking[-1].append(letter)
        else:
            ranking.append([letter])
    said: dict[str, Any] = {"flags": {}}
    for letter, writer in zip(LETTERS, writers, strict=False):
        if writer == "careless" and chance.random() < 0.7:
            said["flags"][letter] = [chance.choice(("hallucination", "fails_instruction", "harmful_advice"))]
    if rates(settings):
        said["ratings"] = {letter: min(7, max(1, round(4 + 1.3 * value))) for letter, value in seen.items()}
    if settings.layout in ("ranking", "pair"):
        said["ranking"] = ranking
    sent: dict[str, Any] = json.loads(json.dumps(said))  # as a page would send it
    return sent
