"""Owners' pages, as programs see them: who may open them, what forms do, and that nothing is overwritten silently."""

from __future__ import annotations

import json
import time
from html.parser import HTMLParser
from typing import Any

import pytest
from collect_filled import add_groups, judge, ranked
from collect_requests import Browser, Site, a_site, quickly  # noqa: F401
from sqlalchemy import insert, select, update
from starlette.datastructures import ImmutableMultiDict

from accord.collect import projects, schema
from accord.collect.quality import latest
from accord.collect.schema import assignment, event, item, judgement
from accord.collect.settings import FLAGS, Settings
from accord.collect.web.owner_form import values_of

NEW = {"name": "Replies", "layout": "ranking", "scale": "7", "overlap": "2", "gold_percent": "0", "choice": "imported",
       "lease_minutes": "60", "most": "", "members": "all", "render": "plain", "skips": "Broken\nNo idea",
       "skips_to_flag": "3", "instructions": "", "hook": "", "rate": "on", "ties": "on"}  # fmt: skip


@pytest.fixture
def owner(site: Site) -> Browser:
    return site.browser("Admin")


def made(site: Site, name: str = "Replies", **settings: Any) -> int:
    with site.database.write() as connection:
        return projects.create(connection, name, Settings(**settings), "test", time.time())


def filled(site: Site, groups: int = 12, overlap: int = 2, **settings: Any) -> tuple[int, list[int]]:
    project = made(site, **{"overlap": overlap, **settings})
    with site.database.write() as connection:
        items = add_groups(connection, project, groups, 3, overlap)
        people = [site.ids["Anna"], site.ids["Ben"]]
        judge(connection, project, items, people, ranked(flags=["sexual"]), k=3, overlap=overlap)
    return project, items


def rows(site: Site, query: Any) -> list[Any]:
    with site.database.read() as connection:
        return list(connection.execute(query).all())


OWNERS = ["", "/numbers", "/groups", "/groups/1", "/settings", "/import", "/export", "/members"]


def test_who_may_open_what(site):
    filled(site)
    admin, viewer, annotator, nobody = (site.browser(name) for name in ("Admin", "Vera", "Anna", None))
    numbers = ("/projects/1", "/projects/1/numbers", "/projects/1/groups", "/projects/1/groups/1")
    for path in ("/projects/new", "/people", "/log", *(f"/projects/1{path}" for path in OWNERS)):
        assert admin.get(path).status_code == 200, path
        assert viewer.get(path).status_code == (200 if path in numbers else 403), path
        assert annotator.get(path).status_code == 403, path
        assert nobody.get(path).status_code == 303, path  # to the login


CHANGES = ["/projects/new", "/projects/1/settings", "/projects/1/archive", "/projects/1/import", "/projects/1/members",
           "/projects/1/groups/1/settle", "/projects/1/groups/1/mark", "/people/invite", "/people/2",
           "/people/invitations/1/withdraw"]  # fmt: skip


def test_only_an_admin_changes_anything_and_only_from_a_page_of_the_site(site):
    filled(site)
    people = [site.browser("Vera"), site.browser("Anna"), site.browser("Admin"), site.browser("Admin")]
    before = site.counts()
    more: list[dict[str, Any]] = [{}, {}, {"csrf": "x" * 32}, {"headers": {"origin": "https://evil.example"}}]
    for browser, how in zip(people, more, strict=True):
        for path in CHANGES:
            assert browser.post(path, NEW, **how).status_code == 403, path
    assert site.counts() == before


def test_a_new_project_needs_a_name_only(site, owner):
    page = owner.open("/projects/new").text
    for layout in ("ranking", "pair", "rating", "thumbs", "demonstration"):
        assert f'value="{layout}"' in page
    answer = owner.post("/projects/new", NEW)
    assert answer.status_code == 303 and answer.headers["location"] == "/projects/1/import"
    with site.database.read() as connection:
        found = projects.find(connection, 1)
    assert (found.name, found.settings.overlap, found.settings.skips) == ("Replies", 2, ("Broken", "No idea"))
    assert found.settings.flags == () and found.settings.ties and not found.settings.notes
    assert owner.post("/projects/new", NEW).status_code == 409  # the name is taken
    wrong = owner.post("/projects/new", {**NEW, "name": "Other", "overlap": "many"})
    assert wrong.status_code == 422 and 'value="many"' in wrong.text and len(rows(site, select(schema.project))) == 1


class Form(HTMLParser):
    """What a browser would send of a page, as it stands."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[tuple[str, str]] = []
        self.select, self.text, self.template = "", None, 0

    def handle_starttag(self, tag, attributes):
        given = {name: value or "" for name, value in attributes}
        self.template += tag == "template"
        name = given.get("name", "")
        if self.template or (not name and tag != "option"):
            return
        if tag == "input" and (given.get("type") not in ("checkbox", "radio") or "checked" in given):
            self.fields.append((name, given.get("value", "on")))
        elif tag == "select":
            self.select = name
        elif tag == "option" and "selected" in given:
            self.fields.append((self.select, given["value"]))
        elif tag == "textarea":
            self.fields.append((name, ""))
            self.text = name

    def handle_endtag(self, tag):
        self.template -= tag == "template"
        self.text = None if tag == "textarea" else self.text

    def handle_data(self, data):
        if self.text:
            self.fields[-1] = (self.text, self.fields[-1][1] + data)


def test_what_the_form_shows_is_what_it_stores(site, owner):
    """Fields of the page sent back unchanged leave the settings as they are."""
    settings = Settings(gold_share=0.07, most=12, hook="https://example.org/x", instructions="# Read\nthis",
                        examples=({"title": "A & B", "text": "<b>bold</b>"},), flags=FLAGS[:3])  # fmt: skip

    with site.database.write() as connection:
        project = projects.create(connection, "Replies", settings, "test", time.time())
    form = Form()
    form.feed(owner.open(f"/projects/{project}/settings").text)
    assert projects.settings_of(values_of(ImmutableMultiDict(form.fields))) == settings


def test_settings_that_somebody_else_changed_are_not_overwritten(site, owner):
    project = made(site)
    owner.open(f"/projects/{project}/settings")
    with site.database.write() as connection:
        projects.set_settings(connection, project, Settings(overlap=9), version=1, actor="Olga", now=time.time())
    answer = owner.post(f"/projects/{project}/settings", {**NEW, "version": "1"})
    assert answer.status_code == 409 and "Judgements per group" in answer.text and "<td>9</td>" in answer.text
    with site.database.read() as connection:
        assert projects.find(connection, project).settings.overlap == 9
    assert 'name="version" value="2"' in answer.text
    assert owner.post(f"/projects/{project}/settings", {**NEW, "version": "2"}).status_code == 303
    with site.database.read() as connection:
        assert projects.find(connection, project).settings.overlap == 2


def test_the_layout_stands_once_labelling_has_begun(site, owner):
    project, _ = filled(site)
    answer = owner.post(f"/projects/{project}/settings", {**NEW, "layout": "thumbs", "version": "1"})
    assert answer.status_code == 409
    with site.database.read() as connection:
        assert projects.find(connection, project).settings.layout == "ranking"


def test_flags_are_rows(site, owner):
    more = {"flag_key": ["sexual", "", ""], "flag_label": ["Sexual", "Too long!", ""], "flag_letter": ["x", "", ""],
            "flag_definition": ["", "It rambles.", ""]}  # fmt: skip
    assert owner.post("/projects/new", {**NEW, **more}).status_code == 303
    with site.database.read() as connection:
        flags = projects.find(connection, 1).settings.flags
    assert [(flag.key, flag.letter) for flag in flags] == [("sexual", "x"), ("too_long", "t")]


def test_a_file_is_imported_whole_or_not_at_all(site, owner):
    project = made(site)
    good = json.dumps({"id": "a", "prompt": "Why?", "completions": ["So.", "Thus."]}) + "\n"
    where = f"/projects/{project}/import"
    answer = owner.post(where, {"judgements": "keep"}, files={"file": ("my groups.jsonl", good)})
    assert answer.status_code == 200 and "1 new groups" in answer.text and "1 x 2" in answer.text
    bad = good.replace('"a"', '"b"') + '{"id": "c", "prompt": 5}\n'
    answer = owner.post(where, {"judgements": "keep"}, files={"file": ("my groups.jsonl", bad)})
    assert answer.status_code == 422 and "my groups.jsonl:2" in answer.text and "accord-import" not in answer.text
    assert [row.key for row in rows(site, select(item.c.key))] == ["a"]
    answer = owner.post(where, {"judgements": "keep"}, files={"file": ("virus.exe", good)})
    assert answer.status_code == 422 and "no ending that is known" in answer.text
    assert owner.post(where, {"judgements": "keep"}).status_code == 422


def test_exports_so_far_are_shown_with_count_and_hash(site, owner):
    from accord.collect import events

    project = made(site)
    detail = {"kind": "pairs", "take": "all", "rows": 12, "sha256": "ab" * 32}
    with site.database.write() as connection:
        events.append(connection, "Olga", "exported", "Replies", detail, project=project)
    page = owner.get(f"/projects/{project}/export").text
    assert "ab" * 32 in page and ">12<" in page
    assert f'action="/api/v1/projects/{project}/export"' in page and 'value="dawid_skene"' in page


def test_the_live_page_has_numbers_and_pictures(site, owner):
    project, _ = filled(site)
    page = owner.get(f"/projects/{project}").text
    assert "Everything that was wanted is there." in page and page.count("<svg") > 5
    assert "style=" not in page and "<script>" not in page and "onclick" not in page
    fragment = owner.get(f"/projects/{project}/numbers").text
    assert "<html" not in fragment and "Who agrees with whom" in fragment


def test_numbers_are_kept_for_a_moment_and_made_again_when_something_was_judged(site, monkeypatch):
    project, items = filled(site)
    first = latest(site.database, project)
    with site.database.write() as connection:
        row = {"item_id": items[0], "account_id": site.ids["Admin"], "project_id": project, "kind": "label",
               "status": "done", "shown": "[0,1,2]", "number": 1, "created": 1.0, "ended": 2.0}  # fmt: skip
        (id,) = connection.execute(insert(assignment).values(row)).inserted_primary_key
        values = {"assignment_id": id, "revision": 1, "answer": '{"ranks": [1, 2, 3]}', "submission": "new one",
                  "payload": "x", "created": 2.0}  # fmt: skip
        connection.execute(insert(judgement).values(values))
    assert latest(site.database, project) is first
    later = time.monotonic() + 3600
    monkeypatch.setattr("accord.collect.quality.time.monotonic", lambda: later)
    second = latest(site.database, project)
    assert second.progress.judgements == first.progress.judgements + 1
    monkeypatch.setattr("accord.collect.quality.time.monotonic", lambda: later + 3600)
    assert latest(site.database, project) is second  # nothing happened: the same numbers


def test_groups_are_listed_filtered_and_found(site, owner):
    project, items = filled(site, groups=60)
    with site.database.write() as connection:
        connection.execute(update(item).where(item.c.id == items[5]).values(skips=3))
        connection.execute(update(item).where(item.c.id == items[7]).values(prompt=json.dumps('Say "100 %" to <b>')))
    where = f"/projects/{project}/groups"
    page = owner.get(where).text
    assert page.count("<tr><th scope") == 50 and 'rel="next"' in page
    behind = page.split("behind=")[1].split('"')[0]
    assert owner.get(f"{where}?show=all&search=&behind={behind}").text.count("<tr><th scope") == 10
    assert owner.get(f"{where}?show=skipped").text.count("<tr><th scope") == 1
    found = owner.get(where, params={"search": '"100 %" TO <b>'}).text
    assert found.count("<tr><th scope") == 1 and "&lt;b&gt;" in found
    assert owner.get(where, params={"search": "100 _"}).text.count("<tr><th scope") == 0
    assert owner.get(f"{where}?show=gold").text.count("<tr><th scope") == 0


def test_disputed_groups_are_those_whose_judgements_differ(site, owner):
    project = made(site, overlap=2)
    with site.database.write() as connection:
        items = add_groups(connection, project, 6, 2, 2)
        people = [site.ids["Anna"], site.ids["Ben"]]

        def said(generator, who, quality, shown):
            return {"ranks": [2, 1] if who == people[0] else [1, 2]}

        judge(connection, project, items[:2], people, said, k=2, overlap=2)
        judge(connection, project, items[2:], people, lambda *_: {"ranks": [1, 2]}, k=2, overlap=2, seed=3)
    page = owner.get(f"/projects/{project}/groups?show=disputed").text
    assert [f'/groups/{id}"' in page for id in items] == [True, True, False, False, False, False]


SETTLED = {"rank_A": "1", "rank_B": "1", "rank_C": "out", "rating_A": "6", "rating_B": "5", "rating_C": "1",
           "flags_C": "sexual"}  # fmt: skip


def test_a_group_is_settled_and_made_gold(site, owner):
    project, items = filled(site)
    where = f"/projects/{project}/groups/{items[0]}"
    page = owner.open(where).text
    assert "model-0" in page and "Anna" in page and "Ben" in page
    assert owner.post(f"{where}/mark", {"do": "gold"}).status_code == 409  # nobody has settled it
    submission = page.split('name="submission" value="')[1].split('"')[0]
    assert owner.post(f"{where}/settle", {**SETTLED, "submission": submission}).status_code == 303
    assert owner.post(f"{where}/settle", {**SETTLED, "submission": submission}).status_code == 303  # a double click
    query = select(judgement.c.answer).join(assignment).where(assignment.c.kind == "adjudication")
    (row,) = rows(site, query)
    answer = json.loads(row.answer)
    assert answer["ranks"] == [1, 1, None] and answer["ratings"] == [6, 5, 1]
    assert answer["flags"]["sexual"] == [False, False, True]
    assert owner.post(f"{where}/mark", {"do": "gold"}).status_code == 303
    assert json.loads(rows(site, select(item.c.gold).where(item.c.id == items[0]))[0].gold) == answer
    assert owner.post(f"{where}/mark", {"do": "no_gold"}).status_code == 303
    assert rows(site, select(item.c.gold).where(item.c.id == items[0]))[0].gold is None
    kinds = [row.kind for row in rows(site, select(event.c.kind).order_by(event.c.id))]
    assert kinds[-3:] == ["settled", "made gold", "gold removed"]


def test_what_lacks_in_a_settlement_is_named(site, owner):
    project, items = filled(site)
    where = f"/projects/{project}/groups/{items[0]}"
    answer = owner.post(f"{where}/settle", {**SETTLED, "rank_B": "", "submission": "b" * 32})
    assert answer.status_code == 422 and "rank all outputs: B left" in answer.text


def test_marks_and_skips(site, owner):
    project, items = filled(site)
    where = f"/projects/{project}/groups/{items[0]}"
    with site.database.write() as connection:
        connection.execute(update(item).where(item.c.id == items[0]).values(skips=3))
    for do in ("sensitive", "reopen"):
        assert owner.post(f"{where}/mark", {"do": do}).status_code == 303
    (row,) = rows(site, select(item.c.sensitive, item.c.skips).where(item.c.id == items[0]))
    assert tuple(row) == (True, 0)
    assert owner.post(f"{where}/mark", {"do": "vanish"}).status_code == 422
    assert owner.post(f"/projects/{project + 1}/groups/{items[0]}/mark", {"do": "sensitive"}).status_code == 404


def test_an_invitation_is_shown_once_and_is_nowhere_else(site, owner):
    page = owner.post("/people/invite", {"role": "annotator", "project": ""}).text
    link = page.split('id="link" value="')[1].split('"')[0]
    token = link.rsplit("/", 1)[1]
    assert link.startswith("http://127.0.0.1:8000/join/") and len(token) > 30
    assert token not in owner.get("/people").text and token not in owner.get("/log").text
    assert all(token not in str(tuple(row)) for row in rows(site, select(event)))
    assert site.browser().get(f"/join/{token}").status_code == 200
    (row,) = rows(site, select(schema.invitation.c.id))
    assert owner.post(f"/people/invitations/{row.id}/withdraw").status_code == 303
    assert site.browser().get(f"/join/{token}").status_code == 404


def test_roles_and_accounts_are_changed(site, owner):
    ben = site.ids["Ben"]
    browser = site.browser("Ben")
    assert owner.post(f"/people/{ben}", {"do": "role", "role": "viewer"}).status_code == 303
    assert owner.post(f"/people/{ben}", {"do": "spare"}).status_code == 303
    assert owner.post(f"/people/{ben}", {"do": "deactivate"}).status_code == 303
    account = schema.account.c
    (row,) = rows(site, select(account.role, account.sensitive, account.active).where(account.id == ben))
    assert tuple(row) == ("viewer", False, False)
    assert browser.get("/home").status_code == 303  # logged out
    last = owner.post(f"/people/{site.ids['Admin']}", {"do": "deactivate"})
    assert last.status_code in (403, 409)  # somebody has to be left


def test_members_have_categories(site, owner):
    project = made(site)
    anna = site.ids["Anna"]
    given = {"member": str(anna), f"categories_{anna}": "code,  chat ,", f"categories_{site.ids['Ben']}": "chat"}
    assert owner.post(f"/projects/{project}/members", given).status_code == 303
    with site.database.read() as connection:
        assert projects.members(connection, project) == {anna: ("code", "chat")}
    assert 'value="code, chat"' in owner.get(f"/projects/{project}/members").text


def test_a_log_that_somebody_changed_is_found_out(site, owner):
    made(site)
    assert "The chain holds" in owner.get("/log?verify=yes").text
    with site.database.write() as connection:
        connection.execute(update(event).where(event.c.id == 2).values(actor="nobody"))
    page = owner.get("/log?verify=yes").text
    assert "The chain is broken" in page and "row 2: was changed" in page


def test_texts_are_shown_as_they_are(site, owner):
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    project = made(site, f"P {evil}"[:100], skips=(evil,))
    with site.database.write() as connection:
        (id,) = add_groups(connection, project, 1, 2, 1, prompt=json.dumps(evil), category=evil)
        connection.execute(update(schema.output).values(content=json.dumps(evil), model=evil))
        note = {"ranks": [1, 2], "notes": [evil, ""]}
        judge(connection, project, [id], [site.ids["Anna"]], lambda *_: note, k=2, overlap=1)
    for path in ("", "/groups", f"/groups/{id}", "/settings", "/members", "/import", "/export"):
        page = owner.get(f"/projects/{project}{path}").text
        assert "<script>alert" not in page and "<img" not in page, path
    assert "&lt;script&gt;alert(1)" in owner.get(f"/projects/{project}/groups/{id}").text


LAYOUTS: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "pair": (2, {"ranks": [1, 1], "both_bad": True}, {"ranks": [1, 1], "both_bad": True}),
    "rating": (2, {"ratings": [3, 6]}, {"ratings": [2, 3]}),
    "thumbs": (1, {"labels": [False]}, {"labels": [True]}),
    "demonstration": (0, {"text": "Hello."}, {"text": "Ideal,\nin two lines"}),
}
GIVEN = {"rank_A": "1", "rank_B": "1", "both_bad": "on", "rating_A": "2", "rating_B": "3", "label_A": "good",
         "text": "Ideal,\r\nin two lines"}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_its_pages_and_can_be_settled(site, owner, layout):
    k, answer, settled = LAYOUTS[layout]
    project = made(site, layout=layout, overlap=2, rate=False, flags=())
    with site.database.write() as connection:
        items = add_groups(connection, project, 8, k, 2)
        judge(connection, project, items, [site.ids["Anna"], site.ids["Ben"]], lambda *_: answer, k=k, overlap=2)
    for path in ("", "/groups", "/groups?show=disputed", "/settings"):
        assert owner.get(f"/projects/{project}{path}").status_code == 200, path
    where = f"/projects/{project}/groups/{items[0]}"
    assert owner.open(where).status_code == 200
    assert owner.post(f"{where}/settle", {**GIVEN, "submission": "c" * 32}).status_code == 303
    (row,) = rows(site, select(judgement.c.answer).join(assignment).where(assignment.c.kind == "adjudication"))
    assert json.loads(row.answer) == settled


def test_a_page_that_lies_before_somebody_is_no_judgement(site, owner):
    project = made(site, overlap=1)
    with site.database.write() as connection:
        add_groups(connection, project, 2, 3, 1)
    token = site.token("Anna", "label")
    assert site.browser().client.post(f"/api/v1/projects/{project}/next", headers=token).status_code == 200
    assert owner.get(f"/projects/{project}/groups").text.count("0 / 1") == 2
    assert owner.get(f"/projects/{project}/groups?show=complete").text.count(" / 1<") == 0
    assert owner.get(f"/projects/{project}/groups?show=open").text.count("0 / 1") == 2
