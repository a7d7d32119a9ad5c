"""The way of a project's owner, in a real browser: from a new project to numbers, a settled group and an export."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from collect_browser import Site, browser, site
from collect_filled import add_groups, judge, ranked
from sqlalchemy import insert, select

from accord.collect import projects
from accord.collect.schema import assignment, item, judgement
from accord.collect.settings import Settings

WIDTHS = (360, 900, 1440)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        made.account("Olga", "admin")
        yield made


def filled(served: Site, groups: int = 30) -> tuple[int, list[int]]:
    people = [served.account(name) for name in ("Anna", "Ben", "Cleo")]
    project = served.project("Replies", [], overlap=3)
    with served.database.write() as connection:
        items = add_groups(connection, project, groups, 3, 3)
        judge(connection, project, items, people, ranked(flags=["sexual"]), k=3, overlap=3)
    return project, items


def count(served: Site, query: Any) -> int:
    with served.database.read() as connection:
        return len(connection.execute(query).all())


def test_from_a_new_project_to_an_invitation(chrome, served, tmp_path):
    page = served.page(chrome, "Olga")
    page.get_by_role("link", name="Make the first one").click()
    page.get_by_label("Name").fill("Helpful replies")
    page.get_by_text("Compare two").click()
    page.get_by_label("Judgements per group").fill("2")
    page.get_by_role("button", name="Remove all").click()
    page.get_by_role("button", name="Add a flag").click()
    page.get_by_label("Question").fill("Made up?")
    page.get_by_role("button", name="Create project").click()
    page.wait_for_url("**/import")
    file = tmp_path / "groups.jsonl"
    rows = [{"id": str(i), "prompt": f"Question {i}?", "completions": ["Yes.", "No."]} for i in range(7)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page.set_input_files("#file", str(file))
    page.get_by_role("button", name="Import").click()
    page.get_by_text("7 new groups").wait_for()
    with served.database.read() as connection:
        found = projects.find(connection, "Helpful replies")
    assert (found.settings.layout, found.settings.overlap) == ("pair", 2)
    assert [(flag.key, flag.label) for flag in found.settings.flags] == [("made_up", "Made up?")]
    page.get_by_role("link", name="People").click()
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_label("Link of the invitation").input_value()
    assert page.url.endswith("/people/invite") and link.startswith(served.url + "/join/")
    newcomer = chrome.new_page()
    newcomer.goto(link)
    assert newcomer.locator("form").count() == 1
    newcomer.close()


def test_a_dropped_file_is_taken(chrome, served):
    project = served.project("Replies", [])
    page = served.page(chrome, "Olga", f"/projects/{project}/import")
    line = json.dumps({"id": "a", "prompt": "Why?", "completions": ["So.", "Thus."]})
    page.evaluate(
        """line => {
            const data = new DataTransfer();
            data.items.add(new File([line], "dropped.jsonl"));
            const area = document.querySelector("[data-drop]");
            area.dispatchEvent(new DragEvent("dragover", {dataTransfer: data, bubbles: true, cancelable: true}));
            area.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
        }""",
        line,
    )
    page.get_by_role("button", name="Import").click()
    page.get_by_text("1 new groups").wait_for()
    assert count(served, select(item)) == 1


def test_numbers_refresh_themselves_and_the_page_stays_where_it_is(chrome, served, monkeypatch):
    monkeypatch.setattr("accord.collect.quality.PAUSE", 0.0)
    monkeypatch.setattr("accord.collect.quality.SHARE", 0)
    project, items = filled(served)
    page = served.page(chrome, "Olga", "/home")
    page.clock.install()
    page.goto(f"{served.url}/projects/{project}")
    page.get_by_text("All figures of agreement").click()
    page.evaluate("scrollTo(0, 700)")
    before = page.evaluate("scrollY")
    assert before > 300 and "90" in page.locator(".stat", has_text="wanted").inner_text()
    with served.database.write() as connection:
        row = {"item_id": items[0], "account_id": served.people["Olga"], "project_id": project, "kind": "label",
               "status": "done", "shown": "[0,1,2]", "number": 1, "created": 1.0, "ended": time.time()}  # fmt: skip
        (id,) = connection.execute(insert(assignment).values(row)).inserted_primary_key
        values = {"assignment_id": id, "revision": 1, "answer": '{"ranks": [1, 2, 3]}', "submission": "new one",
                  "payload": "x", "created": time.time()}  # fmt: skip
        connection.execute(insert(judgement).values(values))
    page.clock.fast_forward(11_000)
    page.locator(".stat", has_text="wanted").get_by_text("91", exact=True).wait_for()
    assert abs(page.evaluate("scrollY") - before) < 60
    assert page.locator("#d-agreement").get_attribute("open") is not None


def test_a_disputed_group_is_settled_and_made_gold(chrome, served):
    project, items = filled(served)
    page = served.page(chrome, "Olga", f"/projects/{project}/groups")
    page.get_by_role("link", name="Question 3?").click()
    page.get_by_role("heading", name="Judgements").wait_for()
    for letter, rank in (("A", "2"), ("B", "1"), ("C", "2")):
        page.locator(f"select[name=rank_{letter}]").select_option(rank)
        page.locator(f"select[name=rating_{letter}]").select_option("5")
    page.get_by_role("button", name="Settle").click()
    page.get_by_text("It is settled").wait_for()
    page.get_by_role("button", name="Make it a known answer").click()
    page.get_by_role("button", name="No longer gold").wait_for()
    with served.database.read() as connection:
        gold = connection.execute(select(item.c.gold).where(item.c.id == items[3])).scalar_one()
    assert json.loads(gold)["ranks"] == [2, 1, 2]


def test_an_export_is_downloaded_and_its_hash_is_shown(chrome, served):
    import hashlib

    project, _ = filled(served)
    page = served.page(chrome, "Olga", f"/projects/{project}/export")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").nth(1).click()
    content = Path(waiting.value.path()).read_bytes()
    assert {"chosen", "rejected", "weight"} <= set(json.loads(content.splitlines()[0]))
    page.get_by_text(hashlib.sha256(content).hexdigest()).wait_for()  # without loading the page again
    assert f"{len(content.splitlines()):,}" in page.inner_text("main").replace(",", "")


def test_two_who_edit_settings_at_once_are_told(chrome, served):
    project = served.project("Replies", [])
    one = served.page(chrome, "Olga", f"/projects/{project}/settings")
    with served.database.write() as connection:
        projects.set_settings(connection, project, Settings(overlap=4), version=1, actor="Otto", now=time.time())
    one.get_by_label("Judgements per group").fill("2")
    one.get_by_role("button", name="Save").click()
    one.get_by_text("Somebody else changed these settings").wait_for()
    row = one.get_by_role("row", name="Judgements per group")
    assert row.inner_text().split() == ["Judgements", "per", "group", "4", "2"]
    one.get_by_role("button", name="Save").click()
    one.get_by_text("Saved.").wait_for()
    with served.database.read() as connection:
        assert projects.find(connection, project).settings.overlap == 2


def test_without_scripts_everything_is_reached(chrome, served):
    project, _ = filled(served)
    page = served.page(chrome, "Olga", f"/projects/{project}", java_script_enabled=False)
    assert page.locator("svg[role=img]").count() > 5
    page.goto(f"{served.url}/projects/new")
    page.get_by_label("Name").fill("Another")
    page.get_by_role("button", name="Create project").click()
    page.wait_for_url("**/import")


PAGES = ("/projects/new", "/people", "/log?verify=yes", *(f"/projects/1{path}" for path in (
    "", "/groups", "/groups/1", "/settings", "/import", "/export", "/members")))  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_the_window_and_all_text_can_be_read(chrome, served, width):
    filled(served)
    for scheme in ("light", "dark"):
        page = served.page(chrome, "Olga", viewport={"width": width, "height": 800}, color_scheme=scheme)
        for path in PAGES:
            page.goto(served.url + path)
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
            small = page.evaluate(SMALL)
            assert small == [], (path, small)
        page.context.close()


# Text of pictures that would be drawn smaller than 8 pixels.
SMALL = """() => [...document.querySelectorAll("svg[role=img] text")]
    .filter(text => text.getBoundingClientRect().height < 8).map(text => text.textContent)"""
