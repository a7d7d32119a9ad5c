"""The JSON API: what each address gives and refuses, to whom, and that its description is true."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from collect_server import ADMIN, PASSWORD, Site, groups, make_site
from fastapi.testclient import TestClient

from accord.collect.settings import Settings
from accord.collect.web.app import create_app
from accord.collect.web.config import ServerConfig

ANSWER = {"ratings": {"A": 5, "B": 3, "C": 2, "D": 6}, "ranking": [["D"], ["A"], ["B", "C"]]}
MODELS = [f"model-{place}" for place in range(4)]


class Asked:
    """The site within this process, asked by token."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.http = TestClient(create_app(site.database, ServerConfig("http://testserver")))

    def __call__(self, who: str, method: str, path: str, body: Any = None, **more: Any) -> Any:
        token = self.site.admin if who == ADMIN else self.site.tokens.get(who, who)
        headers = {"Authorization": f"Bearer {token}"} | more.pop("headers", {})
        if body is not None:
            more["json"] = body
        return self.http.request(method, f"/api/v1{path}", headers=headers, **more)


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Asked]:
    site = make_site(f"sqlite:///{tmp_path / 'prefs.db'}", given=groups(5), settings=Settings(overlap=2))
    yield Asked(site)
    site.database.close()


def submission(name: str = "submission-0001", **other: Any) -> dict[str, Any]:
    return {"submission": name, "answer": ANSWER, "active_ms": 1000, "wall_ms": 2000, "revision": 0} | other


def test_a_page_from_the_first_request_to_its_correction(ask: Asked) -> None:
    page = ask("anna", "POST", "/projects/1/next").json()
    assert page["number"] == 1 and page["status"] == "open" and page["revision"] == 0
    assert [one["letter"] for one in page["outputs"]] == ["A", "B", "C", "D"]
    assert page["prompt"] == [{"role": "user", "text": groups(1)[0].prompt}]
    here = f"/assignments/{page['assignment']}"
    draft = ask("anna", "PUT", f"{here}/draft", {"version": 0, "answer": {"ratings": {"A": 1}}, "active_ms": 5})
    assert draft.json() == {"version": 1}
    assert ask("anna", "GET", here).json()["draft"] == {"ratings": {"A": 1}}
    again = ask("anna", "POST", "/projects/1/next").json()
    assert again["assignment"] == page["assignment"] and again["draft_version"] == 1
    stored = ask("anna", "POST", f"{here}/submit", submission())
    assert stored.status_code == 200
    assert stored.json() == {
        "assignment": page["assignment"], "revision": 1, "status": "done", "repeated": False, "warnings": [],
    }  # fmt: skip
    other = {**ANSWER, "ranking": [["A", "B", "C", "D"]]}
    later = submission("submission-0002", answer=other, revision=1)
    assert ask("anna", "POST", f"{here}/submit", later).json()["revision"] == 2
    seen = ask("anna", "GET", here).json()
    assert seen["revision"] == 2 and seen["answer"]["ranking"] == other["ranking"] and seen["draft"] is None
    assert ask("anna", "GET", "/projects/1/progress").json() == {"done": 1, "skipped": 0, "left": 4, "active_ms": 1000}
    assert [one["revision"] for one in ask("anna", "GET", "/projects/1/history").json()["pages"]] == [2]


def test_what_contradicts_itself_is_stored_and_said(ask: Asked) -> None:
    page = ask("anna", "POST", "/projects/1/next").json()
    answer = {"ratings": {"A": 1, "B": 7, "C": 3, "D": 3}, "ranking": [["A"], ["B"], ["C", "D"]]}
    stored = ask("anna", "POST", f"/assignments/{page['assignment']}/submit", submission(answer=answer))
    assert stored.status_code == 200
    assert "B is rated higher than A, but ranked below it" in stored.json()["warnings"]


def test_what_is_missing_is_named_by_its_field(ask: Asked) -> None:
    page = ask("anna", "POST", "/projects/1/next").json()
    answer = {"ratings": {"A": 1, "B": 9}, "ranking": [["A"]]}
    refused = ask("anna", "POST", f"/assignments/{page['assignment']}/submit", submission(answer=answer))
    assert refused.status_code == 422
    error = refused.json()["error"]
    assert error["kind"] == "invalid" and set(error) == {"kind", "what", "fix", "fields"}
    assert set(error["fields"]) == {"ratings.B", "ratings.C", "ratings.D", "ranking"}


@pytest.mark.parametrize(
    "body",
    [
        submission("short"),
        submission(revision=-1),
        submission(revision="0"),
        submission(active_ms=10**13),
        submission(more=1),
        submission(answer=[]),
        {"answer": ANSWER},
    ],
)
def test_a_body_of_another_form_is_refused_and_stores_nothing(ask: Asked, body: Any) -> None:
    page = ask("anna", "POST", "/projects/1/next").json()
    refused = ask("anna", "POST", f"/assignments/{page['assignment']}/submit", body)
    assert refused.status_code == 422 and refused.json()["error"]["fields"]
    assert ask("anna", "GET", f"/assignments/{page['assignment']}").json()["revision"] == 0


def test_a_skip_is_counted_once_and_frees_the_group(ask: Asked) -> None:
    page = ask("anna", "POST", "/projects/1/next").json()
    here = f"/assignments/{page['assignment']}/skip"
    assert ask("anna", "POST", here, {"reason": ""}).status_code == 422
    for _ in range(2):
        assert ask("anna", "POST", here, {"reason": "I lack the knowledge to judge"}).status_code == 204
    assert ask("anna", "GET", "/projects/1/progress").json()["skipped"] == 1
    assert ask("anna", "POST", "/projects/1/next").json()["assignment"] != page["assignment"]


def test_nothing_left_is_204(ask: Asked) -> None:
    for i in range(5):
        page = ask("anna", "POST", "/projects/1/next").json()
        assert ask(
            "anna", "POST", f"/assignments/{page['assignment']}/submit", submission(f"page-of-anna-{i:03}")
        ).is_success
    ended = ask("anna", "POST", "/projects/1/next")
    assert ended.status_code == 204 and ended.content == b""


def test_nothing_that_annotators_get_names_a_model_a_group_or_another_annotator(ask: Asked) -> None:
    """Every answer to an annotator, of every address that it may ask."""
    first = ask("ben", "POST", "/projects/1/next").json()
    ask("ben", "POST", f"/assignments/{first['assignment']}/submit", submission("of-ben-000000001"))
    page = ask("anna", "POST", "/projects/1/next")
    here = f"/assignments/{page.json()['assignment']}"
    said = [page, ask("anna", "POST", f"{here}/submit", submission())]
    said += [ask("anna", "GET", f"/projects{path}") for path in ("", "/1", "/1/task", "/1/progress", "/1/history")]
    said += [ask("anna", "GET", here), ask("anna", "POST", f"{here}/skip", {"reason": "no"})]
    for one in said:
        text = one.text + json.dumps(dict(one.headers))
        for word in (*MODELS, "group-", "ben", "gold"):
            assert word not in text.replace("Answer", ""), (one.url, word)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/projects", {"name": "mine"}),
        ("PUT", "/projects/1", {"version": 1, "settings": {}}),
        ("POST", "/projects/1/groups", None),
        ("GET", "/projects/1/export", None),
        ("GET", "/projects/1/quality", None),
        ("GET", "/accounts", None),
        ("POST", "/accounts", {"name": "eve", "password": PASSWORD}),
        ("POST", "/invitations", {"role": "admin"}),
        ("GET", "/log", None),
    ],
)
def test_owners_addresses_are_closed_to_annotators_and_strangers(ask: Asked, method: str, path: str, body: Any) -> None:
    assert ask("anna", method, path, body).status_code == 403
    stranger = ask("accord_no-such-token", method, path, body)
    assert stranger.status_code == 401 and stranger.json()["error"]["kind"] == "not_known"


def test_another_annotators_page_is_not_there(ask: Asked) -> None:
    page = ask("anna", "POST", "/projects/1/next").json()
    here = f"/assignments/{page['assignment']}"
    for method, path, body in (
        ("GET", here, None),
        ("PUT", f"{here}/draft", {"version": 0, "answer": {}}),
        ("POST", f"{here}/submit", submission()),
        ("POST", f"{here}/skip", {"reason": "no"}),
    ):
        assert ask("ben", method, path, body).status_code == 404
    assert ask("ben", "GET", f"/assignments/{2**63}").status_code == 422
    assert ask("anna", "GET", here).json()["status"] == "open"


def test_owners_make_projects_bring_groups_and_take_judgements(ask: Asked) -> None:
    made = ask(ADMIN, "POST", "/projects", {"name": "second", "settings": {"layout": "pair", "overlap": 1}})
    assert made.status_code == 201 and made.json()["settings"]["layout"] == "pair"
    assert ask(ADMIN, "POST", "/projects", {"name": "second"}).status_code == 409
    id = made.json()["id"]
    rows = [{"prompt": f"p {i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(3)]
    sent = "\n".join(map(json.dumps, rows))
    for new, same in ((3, 0), (0, 3)):
        done = ask(ADMIN, "POST", f"/projects/{id}/groups?judgements=drop", content=sent)
        assert done.json() == {"new": new, "same": same, "judgements": 0}
    page = ask("anna", "POST", f"/projects/{id}/next").json()
    texts = {one["turns"][0]["text"]: one["letter"] for one in page["outputs"]}
    good, bad = texts["good 0"], texts["bad 0"]
    answer = {"ratings": {good: 6, bad: 2}, "ranking": [[good], [bad]]}
    assert ask("anna", "POST", f"/assignments/{page['assignment']}/submit", submission(answer=answer)).is_success
    export = ask(ADMIN, "GET", f"/projects/{id}/export?kind=pairs")
    (pair,) = map(json.loads, export.text.splitlines())
    assert (pair["chosen"], pair["rejected"], pair["annotator"]) == ("good 0", "bad 0", "anna")
    assert export.headers["X-Accord-Rows"] == "1" and "attachment" in export.headers["Content-Disposition"]
    quality = ask(ADMIN, "GET", f"/projects/{id}/quality").json()
    assert quality["progress"]["judgements"] == 1


def test_settings_are_not_overwritten_unseen(ask: Asked) -> None:
    before = ask(ADMIN, "GET", "/projects/1").json()
    change = {"version": before["version"], "settings": {**before["settings"], "overlap": 3}}
    assert ask(ADMIN, "PUT", "/projects/1", change).json()["settings"]["overlap"] == 3
    late = ask(ADMIN, "PUT", "/projects/1", change)
    assert late.status_code == 409 and late.json()["error"]["kind"] == "stale"
    wrong = {"version": 2, "settings": {**before["settings"], "scale": 1}}
    assert "settings.scale" in ask(ADMIN, "PUT", "/projects/1", wrong).json()["error"]["fields"]


def test_a_bad_row_is_named_and_nothing_is_imported(ask: Asked) -> None:
    sent = '{"prompt": "p", "chosen": "a", "rejected": "b"}\n{"prompt": "q", "chosen": 7, "rejected": "b"}\n'
    refused = ask(ADMIN, "POST", "/projects/1/groups", content=sent)
    assert refused.status_code == 422
    assert "groups.jsonl:2" in refused.text and "accord-import-" not in refused.text
    assert ask(ADMIN, "GET", "/projects/1/quality").json()["progress"]["groups"] == 5


def test_people_and_the_log(ask: Asked) -> None:
    made = ask(ADMIN, "POST", "/accounts", {"name": "cleo", "role": "viewer", "password": "a long enough one"})
    assert made.status_code == 201 and "password" not in made.text.replace("a long enough one", "")
    assert ask(ADMIN, "POST", "/accounts", {"name": "Cleo", "password": "a long enough one"}).status_code == 409
    assert ask(ADMIN, "POST", "/accounts", {"name": "dan", "password": "short"}).status_code == 422
    names = [one["name"] for one in ask(ADMIN, "GET", "/accounts").json()["accounts"]]
    assert names == sorted(names) and {"cleo", "anna", ADMIN} <= set(names)
    link = ask(ADMIN, "POST", "/invitations", {"project": 1}).json()["link"]
    assert link.startswith("http://testserver/join/")
    events = ask(ADMIN, "GET", "/log").json()["events"]
    assert [one["id"] for one in events] == list(range(1, len(events) + 1))
    assert all(after["previous"] == before["hash"] for before, after in itertools.pairwise(events))
    assert {"account created", "invitation made"} <= {one["kind"] for one in events}
    assert "a long enough one" not in json.dumps(events)
    assert ask(ADMIN, "GET", "/log?after=3&limit=2").json()["events"] == events[3:5]


def test_health_tells_whether_the_database_answers(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask.http.get("/health").json() == {"status": "ok"}

    def away() -> Any:
        from accord.errors import ServiceError

        raise ServiceError("cannot be reached (secret host)")

    monkeypatch.setattr(ask.site.database, "read", away)
    sick = ask.http.get("/health")
    assert sick.status_code == 503 and sick.json() == {"status": "the database does not answer"}


def test_the_description_names_every_address_and_what_they_give_is_as_described(ask: Asked) -> None:
    described = ask.http.get("/api/v1/openapi.json").json()
    paths = described["paths"]
    assert {"/health", "/api/v1/projects/{project}/next", "/api/v1/assignments/{assignment}/submit"} <= set(paths)
    assert all(path.startswith("/api/v1/") or path == "/health" for path in paths)
    (scheme,) = described["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    ask("anna", "POST", "/projects/1/next")
    page = ask("anna", "GET", "/assignments/1").json()
    schema = described["components"]["schemas"]["PageBody"]
    assert set(page) == set(schema["properties"]) == set(schema["required"])
    for path, name in (("/projects/1/task", "TaskBody"), ("/projects/1/progress", "ProgressBody")):
        assert set(ask("anna", "GET", path).json()) == set(described["components"]["schemas"][name]["properties"])
