"""accord.collect.Client against a real server: a project's whole way, and what errors are told as."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from collect_server import Site, groups, site

import accord.collect
from accord.collect import refusals
from accord.collect.client import Client
from accord.collect.settings import Settings
from accord.errors import InputError, IntegrityError, ServiceError

ROWS = [{"prompt": f"p {i}", "chosen": f"good {i} ü", "rejected": f"bad {i}"} for i in range(4)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    url = f"sqlite:///{tmp_path_factory.mktemp('client') / 'prefs.db'}"
    with site(url, given=groups(3), settings=Settings(overlap=1)) as found:
        yield found


@pytest.fixture
def admin(running: Site) -> Iterator[Client]:
    with Client(running.url, running.admin) as client:
        yield client


@pytest.fixture
def anna(running: Site) -> Iterator[Client]:
    with Client(running.url, running.tokens["anna"]) as client:
        yield client


def test_it_is_what_the_package_gives() -> None:
    assert accord.collect.Client is Client


def test_groups_go_in_and_judgements_come_out(admin: Client, anna: Client, tmp_path: Path) -> None:
    project = admin.create_project("way", layout="pair", overlap=1)
    assert admin.project("way")["id"] == project["id"] and project["settings"]["layout"] == "pair"
    assert admin.import_groups(project["id"], iter(ROWS), judgements="drop") == {"new": 4, "same": 0, "judgements": 0}
    task = anna.task(project["id"])
    assert (task["layout"], task["scale"], task["ties"]) == ("pair", 7, True)
    while page := anna.next(project["id"]):
        texts = {one["turns"][0]["text"][:4]: one["letter"] for one in page["outputs"]}
        good, bad = texts["good"], texts["bad "]
        receipt = anna.submit(page, {"ratings": {good: 6, bad: 2}, "ranking": [[good], [bad]]}, active_ms=9)
        assert receipt["revision"] == 1
    assert anna.progress(project["id"]) == {"done": 4, "skipped": 0, "left": 0, "active_ms": 36}
    assert [one["number"] for one in anna.history(project["id"], limit=2)] == [4, 3]
    pairs = list(admin.export(project["id"], kind="pairs"))
    assert [(one["chosen"], one["rejected"]) for one in pairs] == [(one["chosen"], one["rejected"]) for one in ROWS]
    assert admin.export_to(project["id"], tmp_path / "out.jsonl") == 4
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert out == list(admin.export(project["id"]))
    assert admin.quality(project["id"])["progress"]["judgements"] == 4
    assert admin.change_project(project["id"], overlap=2)["settings"]["overlap"] == 2


def test_a_file_is_sent_packed_or_not(admin: Client, tmp_path: Path) -> None:
    project = admin.create_project("files")["id"]
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(lines)
    assert admin.import_groups(project, tmp_path / "a.jsonl", judgements="drop")["new"] == 4
    assert admin.import_groups(project, tmp_path / "b.jsonl.gz", judgements="drop")["same"] == 4
    for name in ("none.jsonl", "a.txt"):
        with pytest.raises(InputError):
            admin.import_groups(project, tmp_path / name)


def test_errors_are_told_as_what_they_are(admin: Client, anna: Client, running: Site) -> None:
    with pytest.raises(refusals.NotAllowed):
        anna.create_project("mine")
    with pytest.raises(refusals.NotThere):
        anna.page(10**6)
    with pytest.raises(refusals.NotThere):
        admin.project("no such one")
    with pytest.raises(refusals.Conflict):
        admin.create_project("test")
    with pytest.raises(refusals.Invalid) as bad:
        admin.import_groups(running.project, [{"prompt": 7}])
    assert "groups.jsonl:1" in str(bad.value)
    page = anna.next(running.project)
    assert page
    with pytest.raises(refusals.Invalid) as lacking:
        anna.submit(page, {"ratings": {"A": 1}})
    assert "ratings.B" in lacking.value.fields
    with pytest.raises(refusals.NotKnown), Client(running.url, "accord_nobody") as nobody:
        nobody.projects()
    with pytest.raises(InputError):
        Client("label.example.org", "t")


def test_a_page_that_is_no_labelling_site_is_told(running: Site) -> None:
    with pytest.raises(ServiceError, match="none of ours"), Client(f"{running.url}/static", "t", tries=1) as lost:
        lost.projects()


def test_an_export_that_was_altered_on_the_way_is_refused(
    admin: Client, running: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    whole = httpx.Response.iter_bytes

    def altered(response: httpx.Response, size: int | None = None) -> Iterator[bytes]:
        for block in whole(response, size):
            yield block.replace(b"group-1", b"group-7")

    monkeypatch.setattr(httpx.Response, "iter_bytes", altered)
    with pytest.raises(IntegrityError):
        admin.export_to(running.project, tmp_path / "out.jsonl")
    assert not list(tmp_path.iterdir())


def test_skips_drafts_and_invitations(admin: Client, running: Site) -> None:
    with Client(running.url, running.tokens["ben"]) as ben:
        page = ben.next(running.project)
        assert page and ben.save_draft(page, {"notes": {"A": "hm"}}) == 1
        ben.skip(page, "I lack the knowledge to judge")
        assert ben.progress(running.project)["skipped"] == 1
    assert admin.invite("viewer").startswith(f"{running.url}/join/")
