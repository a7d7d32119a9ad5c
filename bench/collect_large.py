"""A labelling project of 100,000 groups x 4 outputs: import, "next group", export.

python bench/collect_large.py FOLDER [--groups 100000] [--few 10000] [--out FILE]
Import and export are of a process of its own each, and are done with few groups too: flat memory is that both need as
much. "Next group" is asked of a real server over loopback, by one annotator, 200 times in each of three places: at the
start; where half of the groups are done; and by somebody who has judged a fifth of them. Writes JSON, prints a table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from collect_load import Annotator, Found, milliseconds
from collect_report import large_table
from collect_site import ROOT, Served, filled, groups, served
from report import markdown
from sqlalchemy import text

from accord.collect.database import open_database
from accord.data.formats import FORMATS, to_rows

ASKED = 200
IMPORT = """
import resource, sys, time
from accord.collect.database import open_database
from accord.collect.importing import import_groups
from accord.data.read import read_groups
began = time.perf_counter()
database = open_database(sys.argv[1])
done = import_groups(database, 1, read_groups(sys.argv[2]), actor="bench", judgements="drop", now=time.time())
assert done.new == int(sys.argv[3]), done
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
EXPORT = """
import resource, sys, time
from accord.collect.database import open_database
from accord.collect.exporting import export_to
began = time.perf_counter()
done = export_to(open_database(sys.argv[1]), 1, sys.argv[2], actor="bench", now=time.time())
assert done.rows == int(sys.argv[3]), done
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
# Everybody's judgements of the first groups, put there at once: annotator 3 of 3 has done `done` of them.
JUDGED = (
    "INSERT INTO assignment (item_id, account_id, project_id, kind, status, shown, number, created, ended) "
    "SELECT id, :account, 1, 'label', 'done', '[0,1,2,3]', id, 0, 0 FROM item ORDER BY id LIMIT :done",
    "INSERT INTO judgement (assignment_id, revision, answer, active_ms, wall_ms, submission, payload, created) "
    "SELECT id, 1, :answer, 1000, 1000, 'bench-' || id, '', 0 FROM assignment WHERE account_id = :account",
    "UPDATE item SET taken = taken + 1 WHERE id IN (SELECT id FROM item ORDER BY id LIMIT :done)",
)
HALF = "UPDATE item SET taken = wanted WHERE id IN (SELECT id FROM item ORDER BY id LIMIT :half)"


def child(program: str, *words: object) -> dict[str, float]:
    """Seconds and most bytes of a process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", program, *map(str, words)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"bench/collect_large.py: a process failed ({ended.returncode}):\n{ended.stderr}")
    seconds, memory = map(float, ended.stdout.split())
    return {"seconds": seconds, "memory": memory}


def written(path: Path, count: int) -> Path:
    """The groups as people have them: lines of JSON."""
    with path.open("w", encoding="utf-8") as file:
        for group in groups(count):
            rows, _ = to_rows(FORMATS["group"], group)
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


async def asked(site: Served, number: int) -> dict[str, float]:
    """How long this annotator waits for new pages."""
    found = Found()
    one = Annotator(site, site.tokens[number], found)
    await one.connect()
    for _ in range(ASKED):
        await one.work(0.0, True)
    if found.errors:
        sys.exit(f"bench/collect_large.py: {found.errors[0]}")
    return milliseconds(found.next)


def execute(url: str, statements: tuple[str, ...], **values: object) -> None:
    database = open_database(url)
    with database.write() as connection:
        for statement in statements:
            names = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), names)
    database.close()


def measure(asked_for: argparse.Namespace) -> dict[str, Any]:
    folder: Path = asked_for.folder / "large"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found: dict[str, Any] = {"groups": asked_for.groups, "few": asked_for.few}
    for name, count in ((" of few", asked_for.few), ("", asked_for.groups)):
        file = written(folder / f"groups{count}.jsonl", count)
        site = filled(f"sqlite:///{folder / f'{count}.db'}", groups=0, annotators=3)
        found[f"import{name}"] = child(IMPORT, site.url, file, count)
        found[f"export{name}"] = child(EXPORT, site.url, folder / "export.jsonl", count)
        found["size"] = file.stat().st_size
    found["next"] = {}
    with served(site):
        found["next"]["at the start"] = asyncio.run(asked(site, 0))
        answer = json.dumps({"ratings": [5, 3, 2, 6], "ranks": [2, 3, 3, 1]})
        execute(site.url, JUDGED, account=site.accounts[1], done=asked_for.groups // 5, answer=answer)
        words = f"for who has judged {asked_for.groups // 5:,} of them"
        found["next"][words] = asyncio.run(asked(site, 1))
        execute(site.url, (HALF,), half=asked_for.groups // 2)
        found["next"]["where half are done"] = asyncio.run(asked(site, 2))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="A labelling project of many groups.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--groups", type=int, default=100_000)
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    asked_for = parser.parse_args()
    found = measure(asked_for)
    if asked_for.out:
        asked_for.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(markdown(*large_table(found)))


if __name__ == "__main__":
    main()
