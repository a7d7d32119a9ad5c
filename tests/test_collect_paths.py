"""No file of the server's is reached from outside, and no address that somebody gave is asked for anything."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from collect_requests import Site, a_site, quickly  # noqa: F401 - fixtures
from sqlalchemy import select

from accord.cli import main
from accord.collect import projects, schema
from accord.collect.settings import Settings

PATHS = (
    "../../etc/passwd",
    "/etc/passwd",
    "....//....//etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "a%00.css",
    "%2fetc%2fpasswd",
)
GROUP = {"prompt": "p", "completions": ["a", "b"]}


@pytest.fixture
def project(site: Site) -> int:
    with site.database.write() as connection:
        return projects.create(connection, "p", Settings(), "test", time.time())


@contextmanager
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """A port of this machine, and what came to it."""
    came: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        ended = threading.Event()

        def take() -> None:
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(1)
                    came.append(connection.recv(1000))

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield int(server.getsockname()[1]), came
        finally:
            time.sleep(0.3)
            ended.set()
            thread.join()


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out(site: Site, project: int, path: str) -> None:
    admin = site.browser("Admin")
    version = admin.get("/account").text.split("/static/", 1)[1].split("/", 1)[0]
    for address in (
        f"/static/{version}/{path}",
        f"/projects/{path}/export",
        f"/projects/{project}/{path}",
    ):
        answer = admin.get(address)
        assert answer.status_code in (400, 404, 405, 422), address
        assert "root:" not in answer.text


@pytest.mark.parametrize(
    "name", ["../../x.jsonl", "/tmp/x.jsonl", "a\\..\\x.jsonl", "a\0b.jsonl", "x" * 5000 + ".jsonl", ".jsonl"]
)
def test_the_name_of_what_is_sent_is_nobody_s_path(site: Site, project: int, name: str, tmp_path: Path) -> None:
    before = set(Path("/tmp").glob("*.jsonl")) | set(tmp_path.parent.glob("*.jsonl"))
    admin = site.browser("Admin")
    admin.open(f"/projects/{project}/import")
    file = {"file": (name, (json.dumps(GROUP) + "\n").encode(), "application/x-ndjson")}
    answer = admin.post(f"/projects/{project}/import", files=file)
    assert answer.status_code in (200, 400, 422), answer.text
    assert set(Path("/tmp").glob("*.jsonl")) | set(tmp_path.parent.glob("*.jsonl")) == before
    assert not Path("/tmp/x.jsonl").exists()


def test_an_export_has_a_name_of_ours(site: Site) -> None:
    with site.database.write() as connection:
        made = projects.create(connection, "../../etc/cron.d/x\r\nset-cookie: a=b", Settings(), "test", time.time())
    answer = site.browser("Admin").get(f"/api/v1/projects/{made}/export")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="groups-{made}.jsonl"'
    assert "set-cookie" not in answer.headers


def test_addresses_within_texts_and_names_are_asked_for_nothing(site: Site, project: int) -> None:
    with listening() as (port, came):
        here = f"http://127.0.0.1:{port}/x"
        texts = (here, f"![]({here})", f'<img src="{here}">', f"file:///etc/passwd {here}")
        group = {"id": here, "prompt": texts[0], "completions": list(texts), "source": here, "url": here}
        token = site.token("Admin", "admin")
        address = f"/api/v1/projects/{project}/groups"
        sent = site.browser().client.post(address, content=json.dumps(group), headers=token)
        assert sent.status_code == 200, sent.text
        for body in (
            here,
            json.dumps(here),
            json.dumps({"url": here}),
            json.dumps([here]),
        ):  # an address instead of groups
            assert site.browser().client.post(address, content=body, headers=token).status_code == 422
        page = site.browser("Anna").get(f"/label/{project}")
        assert page.status_code == 200
    assert came == []
    with site.database.read() as connection:
        assert connection.execute(select(schema.outbox.c.id)).first() is None


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:{port}/x.jsonl", "//127.0.0.1:{port}/x", "file:///etc/passwd", "https://169.254.169.254/"],
)
def test_the_command_fetches_no_address(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path / 'prefs.db'}"
    assert main(["collect", "init", "--db", url]) == 0
    with listening() as (port, came):
        assert main(["collect", "import", address.format(port=port), "--db", url, "--project", "p"]) == 2
    assert came == []
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error[2]")


@pytest.mark.parametrize("who", ["Anna", "Vera"])
def test_only_an_admin_says_who_is_told(site: Site, project: int, who: str) -> None:
    body = {"settings": Settings(hook="http://169.254.169.254/").model_dump(mode="json"), "version": 1}
    answer = site.browser(who).client.put(f"/api/v1/projects/{project}", json=body, headers=site.token(who, "read"))
    assert answer.status_code == 403
    with site.database.read() as connection:
        assert projects.find(connection, project).settings.hook is None
