"""The labelling site beside Label Studio (Community, from PyPI): "next task" and "submit", by as many clients.

python bench/label_studio.py FOLDER [--clients 4] [--pages 50] [--rounds 2] [--out FILE]
Both run on this machine over SQLite, each in a server process of its own, with the same groups of four outputs, and are
asked over loopback by the same client, one person a connection. Each person asks for the next task and submits it, as
fast as it goes; rounds of ours and theirs in turn. Label Studio is installed once, in an environment of its own, and
asks nobody outside. Writes JSON, prints a table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collect_load import ANSWER, Connection, milliseconds
from collect_report import peer_table
from collect_site import OVERLAP, filled, free_port, groups, served, wait
from report import markdown

PEER = "label-studio==1.23.0"
# A ranking and a rating of each output, as near to our page as its tags come.
CONFIG = """<View><Text name="prompt" value="$prompt"/>{outputs}<List name="items" value="$outputs" title="Rank"/>
<Ranker name="rank" toName="items"/></View>"""
OUTPUT = '<Text name="o{0}" value="$o{0}"/><Rating name="r{0}" toName="o{0}" maxRating="7"/>'
# In Label Studio's own Python: people with tokens, one project of all tasks. Prints {"project", "tokens"}.
SET_UP = """
import json, os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings.label_studio")
import label_studio
sys.path.insert(0, os.path.dirname(label_studio.__file__))
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0, interactive=False)
from django.contrib.auth import get_user_model
from organizations.models import Organization
from projects.models import Project
from rest_framework.authtoken.models import Token
from tasks.models import Task
given = json.load(open(sys.argv[1]))
User = get_user_model()
people = [User.objects.create_user(f"p{i}@example.org", "a long password") for i in range(given["clients"])]
organisation = Organization.create_organization(created_by=people[0], title="bench")
for one in people:
    organisation.add_user(one) if one != people[0] else None
    one.active_organization = organisation
    one.save()
if hasattr(organisation, "jwt"):
    organisation.jwt.legacy_api_tokens_enabled = True
    organisation.jwt.save()
project = Project.objects.create(
    title="bench", created_by=people[0], organization=organisation, label_config=given["config"],
    maximum_annotations=given["overlap"], is_published=True,
)
Task.objects.bulk_create([Task(project=project, data=one, overlap=given["overlap"]) for one in given["tasks"]])
tokens = [Token.objects.get_or_create(user=one)[0].key for one in people]
print(json.dumps({"project": project.id, "tokens": tokens}))
"""
QUIET = {  # nothing is sent to anybody
    "COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": "",
    "DJANGO_DB": "sqlite", "DEBUG": "false", "LOG_LEVEL": "ERROR", "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
}  # fmt: skip
Times = dict[str, list[float]]


def peer_python(home: Path) -> Path:
    """Label Studio's environment, made once."""
    place = home / "label-studio-venv"
    python, ready = place / "bin" / "python", place / ".installed"
    if not ready.exists() or ready.read_text(encoding="utf-8") != PEER:
        print(f"bench: setting up {place} with {PEER} (once, some minutes)", flush=True)
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-q", "--disable-pip-version-check", PEER], check=True)
        ready.write_text(PEER, encoding="utf-8")
    return python


def task(group: Any) -> dict[str, Any]:
    texts = [one.content for one in group.completions]
    listed = [{"id": str(i), "title": f"output {i}", "body": text} for i, text in enumerate(texts)]
    return {"prompt": group.prompt, "outputs": listed, **{f"o{i}": text for i, text in enumerate(texts)}}


RESULT = [
    *({"from_name": f"r{i}", "to_name": f"o{i}", "type": "rating", "value": {"rating": i + 2}} for i in range(4)),
    {"from_name": "rank", "to_name": "items", "type": "ranker", "value": {"ranker": ["3", "0", "1", "2"]}},
]


@contextmanager
def their_site(home: Path, folder: Path, clients: int, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Label Studio, served as its own command serves it: its port, and what SET_UP printed."""
    python, data = peer_python(home), folder / "label-studio"
    data.mkdir()
    environment = {**os.environ, **QUIET, "LABEL_STUDIO_BASE_DATA_DIR": str(data), "BASE_DATA_DIR": str(data)}
    outputs = "".join(OUTPUT.format(i) for i in range(4))
    given = {
        "clients": clients,
        "overlap": OVERLAP,
        "config": CONFIG.format(outputs=outputs),
        "tasks": [task(one) for one in groups(count)],
    }
    told = folder / "given.json"
    told.write_text(json.dumps(given), encoding="utf-8")
    made = subprocess.run([python, "-c", SET_UP, told], env=environment, capture_output=True, text=True)
    if made.returncode:
        sys.exit(f"bench/label_studio.py: Label Studio could not be set up:\n{made.stderr[-3000:]}")
    port = free_port()
    command = [python.with_name("label-studio"), "start", "--no-browser", "--port", str(port)]
    with (folder / "label-studio.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait(f"http://127.0.0.1:{port}/health", process, 180)
            yield port, json.loads(made.stdout.splitlines()[-1])
        finally:
            process.terminate()
            process.wait(30)


def request(method: str, path: str, authorization: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def our_calls(project: int, token: str) -> tuple[bytes, Callable[[bytes, int], bytes]]:
    """(what asks for the next task, what submits it)"""
    bearer = f"Bearer {token}"

    def submit(reply: bytes, number: int) -> bytes:
        (id,) = re.search(rb'"assignment":(\d+)', reply).groups()  # type: ignore[union-attr]
        body = {"submission": f"{token[-12:]}-{number}", "answer": ANSWER, "active_ms": 40_000, "wall_ms": 60_000}
        return request("POST", f"/api/v1/assignments/{id.decode()}/submit", bearer, json.dumps(body).encode())

    return request("POST", f"/api/v1/projects/{project}/next", bearer), submit


def their_calls(project: int, token: str) -> tuple[bytes, Callable[[bytes, int], bytes]]:
    known = f"Token {token}"

    def submit(reply: bytes, number: int) -> bytes:
        body = {"result": RESULT, "lead_time": 40.0}
        return request("POST", f"/api/tasks/{json.loads(reply)['id']}/annotations/", known, json.dumps(body).encode())

    return request("GET", f"/api/projects/{project}/next", known), submit


async def timed(port: int, calls: list[tuple[bytes, Callable[[bytes, int], bytes]]], pages: int, first: int) -> Times:
    """Every person asks and submits `pages` times; seconds of each call."""
    times: Times = {"next": [], "submit": [], "both": []}

    async def work(next: bytes, submit: Callable[[bytes, int], bytes]) -> None:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
        for number in range(first, first + pages):
            began = time.perf_counter()
            given = await connection.ask(next)
            asked = time.perf_counter()
            stored = await connection.ask(submit(given.body, number))
            ended = time.perf_counter()
            if given.status != 200 or stored.status not in (200, 201):
                sys.exit(f"bench/label_studio.py: {given.status}, {stored.status}: {stored.body[:300]!r}")
            for name, seconds in (("next", asked - began), ("submit", ended - asked), ("both", ended - began)):
                times[name].append(seconds)

    await asyncio.gather(*(work(*one) for one in calls))
    return times


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    folder = asked.folder / "beside"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    count = asked.clients * asked.pages * (asked.rounds + 1)
    ours = filled(f"sqlite:///{folder / 'prefs.db'}", groups=count, annotators=asked.clients)
    times: dict[str, Times] = {side: {"next": [], "submit": [], "both": []} for side in ("ours", "theirs")}
    with served(ours), their_site(asked.folder, folder, asked.clients, count) as (port, theirs):
        calls = {
            "ours": (ours.port, [our_calls(ours.project, token) for token in ours.tokens]),
            "theirs": (port, [their_calls(theirs["project"], token) for token in theirs["tokens"]]),
        }
        for number in range(asked.rounds + 1):  # the first is to warm up
            for side, (where, people) in calls.items():
                found = asyncio.run(timed(where, people, asked.pages, number * asked.pages))
                for name, seconds in found.items() if number else ():
                    times[side][name] += seconds
    return {"clients": asked.clients, "pages": asked.pages, "peer": PEER} | {
        side: {name: {**milliseconds(one), "mean": 1000 * sum(one) / len(one)} for name, one in found.items()}
        for side, found in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="The labelling site beside Label Studio.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--pages", type=int, default=50, help="of each client in a round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found = measure(asked)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(markdown(*peer_table(found)))


if __name__ == "__main__":
    main()
