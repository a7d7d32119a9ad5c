"""An annotator's way through the site in a real browser: by mouse, by keys, with lost connections and in two tabs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from collect_browser import Site, browser, site
from sqlalchemy import select, update

from accord.collect import schema, submissions
from accord.collect.layouts import warnings

ONE = {
    "prompt": "Explain the moon landing to a 6 year old in a few sentences.",
    "category": "generation",
    "outputs": [
        "People went to the moon.",
        "The moon is a satellite.",
        "It is made of cheese. " * 200,
        "Nobody knows.",
    ],
}
TWO = {"prompt": "Write a haiku.", "outputs": ["Rain on the roof", "Snow on the hill"]}
TABS = ".letter-tab"
SEEN = {"rating": TABS, "thumbs": TABS, "ranking": TABS, "pair": ".verdict", "demonstration": ".writing"}


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def served(chrome: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as made:
        for name in ("anna", "ben", "cara"):
            made.account(name)
        yield made


@pytest.fixture
def place(served: Site) -> Iterator[Site]:
    yield served
    served.close_pages()
    heard, served.faults = served.faults, []
    assert heard == []


def begun(place: Site, chrome: Any, project: int, name: str = "anna", **options: Any) -> Any:
    page = place.page(chrome, name, f"/label/{project}", **options)
    page.wait_for_selector(", ".join(set(SEEN.values())))
    return page


def saved(page: Any) -> None:
    page.wait_for_selector('#saved[data-state="saved"]')


def gone_on(page: Any, text: str = "is submitted") -> None:
    page.wait_for_selector(f'[data-bar="done"]:has-text("{text}")')


def by_letters(row: dict[str, Any], values: list[Any]) -> list[Any]:
    """A stored list, by places of the file -> in the order shown: A, B, C ..."""
    return [values[place] for place in row["shown"]]


def drag(page: Any, letter: str, rank: int) -> None:
    page.locator(f'.rank-card[data-letter="{letter}"] .grip').hover()
    page.mouse.down()
    zone = page.locator(f'.zone[data-rank="{rank}"]')
    box = zone.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20, steps=6)
    zone_marked = page.locator(f'.zone.is-over[data-rank="{rank}"]')
    zone_marked.wait_for()
    page.mouse.up()


def test_a_ranking_with_the_mouse(place: Site, chrome: Any) -> None:
    project = place.project("mouse", [ONE, ONE])
    page = begun(place, chrome, project, viewport={"width": 1440, "height": 1600})
    assert page.locator("#number").inner_text() == "Page 1 / 2"
    assert page.locator(".badge", has_text="Generation").is_visible()
    for letter, rating in zip("ABCD", (6, 2, 7, 1), strict=True):
        page.get_by_role("tab", name=f"Output {letter}").click()
        panel = page.locator(f"#panel-{letter}")
        panel.locator(".choice").nth(rating - 1).click()
    panel.get_by_role("switch", name="Hallucination").check()
    panel.get_by_role("textbox").fill("  quite wrong ")
    page.get_by_role("button", name="Go on to ranking").click()
    for letter, rank in (("A", 2), ("B", 2), ("C", 1), ("D", 4)):
        drag(page, letter, rank)
    saved(page)
    page.get_by_role("button", name="Submit").click()
    gone_on(page)
    assert page.locator("#number").inner_text() == "Page 2 / 2"
    page.locator("#panel-A .choice").first.click()
    assert page.get_by_text("1 of 4 rated").is_visible(), "the next page can be clicked, too"
    (row,) = place.answers(project)
    said = row["answer"]
    assert by_letters(row, said["ratings"]) == [6, 2, 7, 1]
    assert by_letters(row, said["ranks"]) == [2, 2, 1, 3], "the empty rank 3 is closed up"
    assert by_letters(row, said["flags"]["hallucination"]) == [False, False, False, True]
    assert by_letters(row, said["notes"]) == ["", "", "", "  quite wrong "], "as it was written"
    assert 0 < row["active_ms"] <= row["wall_ms"] + 100


def test_a_ranking_with_keys_alone(place: Site, chrome: Any) -> None:
    project = place.project("keys", [ONE])
    page = begun(place, chrome, project)
    press = page.keyboard.press
    for key in ("5", "f", "x", "x", "j", "3", "j", "3", "k", "4", "j", "j", "1"):  # A 5, flag; B 3 then 4; C 3; D 1
        press(key)
    press("n")
    page.keyboard.type("sex and 7 jokes")  # letters that would be flags, and a digit
    press("Escape")
    press("r")
    for key in ("1", "1", "3", "4"):  # A, B, C, D, one after the other
        press(key)
    press("ArrowUp")  # D has the focus: from rank 4 to 3
    press("Control+Enter")
    page.wait_for_selector("text=Thank you. That was all.")
    (row,) = place.answers(project)
    said = row["answer"]
    assert by_letters(row, said["ratings"]) == [5, 4, 3, 1]
    assert by_letters(row, said["ranks"]) == [1, 1, 2, 2]
    assert by_letters(row, said["flags"]["fails_instruction"]) == [True, False, False, False]
    assert not any(said["flags"]["sexual"]), "pressed twice: off again"
    assert by_letters(row, said["notes"]) == ["", "", "", "sex and 7 jokes"]


def test_a_ranking_by_fields_as_a_screen_reader_uses_them_with_one_output_left_out(place: Site, chrome: Any) -> None:
    project = place.project("fields", [ONE], rate=False, flags=[])
    page = begun(place, chrome, project)
    page.get_by_role("tab", name="Output B").click()
    page.get_by_role("checkbox", name="Include this output").uncheck()
    page.keyboard.press("r")
    for letter, rank in (("A", "2"), ("C", "1"), ("D", "2")):
        page.get_by_label(f"Rank of output {letter}").select_option(rank)
    assert page.locator("#said").inner_text() == "Output D is in rank 2, equal with A; all are ranked"
    assert page.get_by_label("Rank of output B").is_disabled()
    page.get_by_role("button", name="Submit").click()
    gone_on(page)
    (row,) = place.answers(project)
    assert by_letters(row, row["answer"]["ranks"]) == [2, None, 1, 2]


CHOICES = {"A is better": ([1, 2], None), "B is better": ([2, 1], None), "Equal": ([1, 1], None),
           "Both are bad": ([1, 1], True)}  # fmt: skip
WAYS = [*((choice, "letters") for choice in CHOICES), ("A is better", "mouse"), ("Both are bad", "mouse"),
        ("B is better", "digits"), ("Equal", "digits")]  # fmt: skip


@pytest.mark.parametrize("choice, by", WAYS)
def test_a_pair(place: Site, chrome: Any, choice: str, by: str) -> None:
    ranks, bad = CHOICES[choice]
    project = place.project(f"pair {choice} {by}", [TWO], layout="pair", rate=by == "letters")
    page = begun(place, chrome, project)
    if by == "mouse":
        page.locator(".verdict .choice", has_text=choice).click()
        page.get_by_role("button", name="Submit").click()
    else:
        keys = {"A is better": "a1", "Equal": "=2", "Both are bad": "03", "B is better": "b4"}[choice]
        page.keyboard.press(keys[by == "digits"])
        if by == "letters":
            for key in ("4", "j", "6", "f"):
                page.keyboard.press(key)
        page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=That was all.")
    (row,) = place.answers(project)
    assert by_letters(row, row["answer"]["ranks"]) == ranks
    assert row["answer"].get("both_bad") is bad
    if by == "letters":
        assert by_letters(row, row["answer"]["ratings"]) == [4, 6]
        assert by_letters(row, row["answer"]["flags"]["fails_instruction"]) == [False, True]


@pytest.mark.parametrize("by", ["mouse", "keys"])
@pytest.mark.parametrize("layout, said", [("rating", [2, 5]), ("thumbs", [False, True])])
def test_one_by_one(place: Site, chrome: Any, layout: str, said: list[Any], by: str) -> None:
    project = place.project(f"{layout} {by}", [TWO], layout=layout)
    page = begun(place, chrome, project)
    if by == "mouse":
        for letter, words in zip("AB", ("2", "5") if layout == "rating" else ("Bad", "Good"), strict=True):
            page.get_by_role("tab", name=f"Output {letter}").click()
            page.locator(f"#panel-{letter} .choice", has_text=words).click()
        page.get_by_role("button", name="Submit").click()
    else:
        for key in ("2", "j", "5" if layout == "rating" else "1", "Control+Enter"):
            page.keyboard.press(key)
    page.wait_for_selector("text=That was all.")
    (row,) = place.answers(project)
    assert by_letters(row, row["answer"]["ratings" if layout == "rating" else "labels"]) == said


@pytest.mark.parametrize("by", ["mouse", "keys"])
def test_a_demonstration(place: Site, chrome: Any, by: str) -> None:
    project = place.project(f"write {by}", [{"prompt": "Boil an egg.", "outputs": []}], layout="demonstration")
    page = begun(place, chrome, project)
    if by == "keys":
        page.keyboard.press("n")
    else:
        page.locator(".writing").click()
    page.keyboard.type("Put it in water.\nWait.")
    assert page.get_by_text("5 words").is_visible()
    if by == "keys":
        page.keyboard.press("Control+Enter")
    else:
        page.get_by_role("button", name="Submit").click()
    page.wait_for_selector("text=That was all.")
    assert place.answers(project)[0]["answer"] == {"text": "Put it in water.\nWait."}


def test_what_is_missing_is_named_and_shown(place: Site, chrome: Any) -> None:
    project = place.project("missing", [ONE])
    page = begun(place, chrome, project)
    page.keyboard.press("3")
    page.keyboard.press("Control+Enter")
    rows = page.locator('[data-bar="missing"] li')
    rate = [f"Rate output {letter}" for letter in "BCD"]
    assert rows.all_inner_texts() == [*rate, "Rank all outputs: A, B, C, D left"]
    assert page.locator("#panel-B").is_visible(), "the first of them is on the screen"
    rows.nth(3).get_by_role("button").click()
    assert page.locator(".board").is_visible()
    assert place.answers(project) == []


def test_contradictions_are_said_and_do_not_block(place: Site, chrome: Any) -> None:
    project = place.project("contradiction", [TWO], flags=[])
    page = begun(place, chrome, project)
    for key in ("7", "j", "2", "r", "2", "1"):
        page.keyboard.press(key)
    said = "A is rated higher than B, but ranked below it"
    assert page.locator(".contradictions li").all_inner_texts() == [said]
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=That was all.")
    (row,) = place.answers(project)
    assert warnings(row["answer"], row["shown"]) == [said], "the site says the same"


def test_ranking_by_ratings_is_one_button_and_nothing_is_filled_in_before(place: Site, chrome: Any) -> None:
    project = place.project("by ratings", [ONE])
    page = begun(place, chrome, project)
    for key in ("4", "j", "6", "j", "4", "j", "1", "r"):
        page.keyboard.press(key)
    assert page.locator(".zone-waiting .rank-card").count() == 4
    page.get_by_role("button", name="Rank by my ratings").click()
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=That was all.")
    (row,) = place.answers(project)
    assert by_letters(row, row["answer"]["ranks"]) == [2, 1, 2, 3]


def test_where_no_two_may_be_equal_the_others_make_room(place: Site, chrome: Any) -> None:
    project = place.project("no ties", [ONE], ties=False, rate=False)
    page = begun(place, chrome, project)
    page.keyboard.press("r")
    for key in ("1", "1", "1", "1"):  # A, B, C, D: each goes in front
        page.keyboard.press(key)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=That was all.")
    (row,) = place.answers(project)
    assert by_letters(row, row["answer"]["ranks"]) == [4, 3, 2, 1]


def test_a_draft_is_saved_within_a_second_and_is_there_after_a_reload_and_after_a_logout(
    place: Site, chrome: Any
) -> None:
    project = place.project("drafts", [ONE, ONE])
    page = begun(place, chrome, project)
    page.evaluate(
        """() => {
          const send = window.fetch;
          addEventListener("keydown", () => (window.pressed ??= performance.now()), true);
          window.fetch = (...given) => ((window.sent ??= performance.now()), send(...given));
        }"""
    )
    page.keyboard.press("5")
    saved(page)
    assert 0 < page.evaluate("window.sent - window.pressed") <= 1000
    page.keyboard.press("n")
    page.keyboard.type("half a thou")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    page.keyboard.press("3")
    saved(page)
    page.reload()
    page.wait_for_selector(".letter-tab")
    _draft_is_there(page)
    page.context.clear_cookies()
    page.evaluate("localStorage.clear()")
    page.reload()
    assert "/login" in page.url
    page.context.close()
    other = begun(place, chrome, project)
    _draft_is_there(other)
    assert other.locator("#number").inner_text() == "Page 1 / 2"
    assert place.answers(project) == []


def _draft_is_there(page: Any) -> None:
    panel = page.locator("#panel-A")
    assert panel.get_by_role("radio", name="5").is_checked()
    assert panel.get_by_role("textbox").input_value() == "half a thou"
    page.keyboard.press("r")
    assert page.locator('.zone[data-rank="3"] .rank-card').get_attribute("data-letter") == "A", "also an empty rank 1"


def test_a_lost_connection_is_said_and_nothing_is_lost(place: Site, chrome: Any) -> None:
    project = place.project("offline", [ONE])
    page = begun(place, chrome, project)
    page.context.set_offline(True)
    page.keyboard.press("6")
    page.wait_for_selector('#saved[data-state="lost"]')
    assert page.locator("#saved").inner_text() == "Not saved: connection lost, kept in this browser"
    page.context.set_offline(False)
    saved(page)
    page.context.set_offline(True)
    page.keyboard.press("2")
    page.wait_for_selector('#saved[data-state="lost"]')
    page.close(run_before_unload=False)  # as if the browser had been closed
    context = page.context
    context.set_offline(False)
    again = context.new_page()
    again.goto(f"{place.url}/label/{project}")
    again.wait_for_selector(".letter-tab")
    assert again.locator("#panel-A").get_by_role("radio", name="2").is_checked()
    # What the browser kept goes when the site has it; storage that two pages share may show that a moment later.
    kept = "Object.keys(localStorage).filter((name) => name.includes('draft'))"
    for _ in range(100):
        if not again.evaluate(kept):
            break
        again.wait_for_timeout(100)
    assert again.evaluate(kept) == []
    saved(again)


def test_an_answer_is_submitted_once_however_often_it_is_sent(place: Site, chrome: Any) -> None:
    project = place.project("once", [TWO, TWO, TWO], layout="pair", rate=False)
    page = begun(place, chrome, project)
    page.keyboard.press("a")
    page.locator("#submit").dblclick()  # a double click
    gone_on(page, "Page 1 is submitted")
    page.keyboard.press("b")
    lost = []

    def lose(route: Any) -> None:
        """The site gets it; its answer is lost on the way, twice."""
        response = route.fetch()
        lost.append(response.status)
        route.abort() if len(lost) < 3 else route.fulfill(response=response)

    page.route("**/submit", lose)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector('[data-bar="sending"]:has-text("kept in this browser")')
    gone_on(page, "Page 2 is submitted")
    page.unroute("**/submit")
    assert lost == [200, 200, 200]
    page.keyboard.press("=")
    page.context.set_offline(True)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector('[data-bar="sending"]')
    page.close()
    page.context.set_offline(False)
    again = page.context.new_page()  # what could not be sent goes on its way by itself
    again.goto(f"{place.url}/label/{project}")
    again.wait_for_selector("text=That was all.")
    rows = place.answers(project)
    assert [by_letters(row, row["answer"]["ranks"]) for row in rows] == [[1, 2], [2, 1], [1, 1]]


def test_an_earlier_page_is_corrected_from_the_history(place: Site, chrome: Any) -> None:
    project = place.project("history", [TWO, TWO], layout="pair", rate=False)
    page = begun(place, chrome, project)
    page.keyboard.press("a")
    page.keyboard.press("Control+Enter")
    gone_on(page)
    page.goto(f"{place.url}/label/{project}/history")
    assert page.locator("tbody tr").count() == 2
    page.get_by_role("link", name=re.compile("Correct page 1")).click()
    page.wait_for_selector(".verdict")
    assert page.get_by_role("radio", name="A is better").is_checked()
    assert page.locator("#skip").is_hidden()
    page.keyboard.press("b")
    saved(page)
    page.keyboard.press("Control+Enter")
    gone_on(page)
    assert page.locator("#number").inner_text() == "Page 2 / 2"
    rows = place.answers(project)
    assert [(row["revision"], by_letters(row, row["answer"]["ranks"])) for row in rows] == [(1, [1, 2]), (2, [2, 1])]


def test_two_tabs_do_not_overwrite_each_other(place: Site, chrome: Any) -> None:
    project = place.project("tabs", [TWO], layout="rating", flags=[])
    first = begun(place, chrome, project)
    second = first.context.new_page()
    second.goto(f"{place.url}/label/{project}")
    second.wait_for_selector(".letter-tab")
    first.keyboard.press("7")
    saved(first)
    second.keyboard.press("1")
    second.wait_for_selector('[data-bar="stale"]')
    assert "changed elsewhere" in second.locator("#saved").inner_text()
    second.get_by_role("button", name="Take the other one").click()
    assert second.locator("#panel-A").get_by_role("radio", name="7").is_checked()
    second.keyboard.press("3")
    saved(second)
    first.keyboard.press("5")
    first.get_by_role("button", name="Keep this one").click()
    saved(first)
    first.keyboard.press("j")
    first.keyboard.press("4")
    first.keyboard.press("Control+Enter")
    first.wait_for_selector("text=That was all.")
    second.keyboard.press("j")
    second.keyboard.press("2")
    second.keyboard.press("Control+Enter")
    second.wait_for_selector('[data-bar="stale"]:has-text("submitted in another tab")')
    (row,) = place.answers(project)
    assert by_letters(row, row["answer"]["ratings"]) == [5, 4]


def test_who_comes_too_late_keeps_the_text(place: Site, chrome: Any) -> None:
    project = place.project("late", [{"prompt": "Write.", "outputs": []}], layout="demonstration")
    page = begun(place, chrome, project)
    page.locator(".writing").fill("my long work")
    saved(page)
    with place.database.write() as connection:
        connection.execute(update(schema.assignment).where(schema.assignment.c.project_id == project).values(expires=1))
    other = begun(place, chrome, project, name="ben")
    other.locator(".writing").fill("I was faster")
    other.keyboard.press("Control+Enter")
    other.wait_for_selector("text=That was all.")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#dialog-kept[open]")
    assert page.get_by_role("textbox", name="Your text").input_value() == "my long work"
    assert "others have judged the group meanwhile" in page.locator("#dialog-kept").inner_text()
    page.get_by_role("button", name="Next page").click()
    page.wait_for_selector(".end-page")
    assert [row["answer"]["text"] for row in place.answers(project)] == ["I was faster"]
    page.goto(f"{place.url}/label/{project}/history")
    page.get_by_role("link", name="Open page 1").click()
    page.wait_for_selector(".writing")
    assert page.locator(".writing").input_value() == "my long work"


def test_a_page_is_skipped_with_a_reason(place: Site, chrome: Any) -> None:
    project = place.project("skip", [TWO, TWO], layout="pair")
    page = begun(place, chrome, project)
    page.keyboard.press("s")
    page.get_by_role("button", name="Skip this page").click()
    assert page.get_by_text("Choose a reason, or write one.").is_visible()
    page.get_by_label("I lack the knowledge to judge").check()
    page.get_by_role("button", name="Skip this page").click()
    gone_on(page, "Page 1 is skipped")
    page.locator("#skip").click()
    page.get_by_label("Another reason").fill("it is my own")
    page.keyboard.press("Enter")
    page.wait_for_selector(".end-page")
    with place.database.read() as connection:
        found = submissions.history(connection, project, place.people["anna"])
    assert [(row["status"], row["reason"]) for row in found] == [
        ("skipped", "it is my own"), ("skipped", "I lack the knowledge to judge")]  # fmt: skip


def test_keys_sleep_while_somebody_types_and_can_be_turned_off(place: Site, chrome: Any) -> None:
    project = place.project("sleep", [TWO], layout="rating")
    page = begun(place, chrome, project)
    page.locator("#panel-A textarea").click()
    page.keyboard.type("skip 5 ?")
    assert page.locator("dialog[open]").count() == 0
    page.keyboard.press("Escape")
    assert page.locator("#panel-A input:checked").count() == 0
    page.keyboard.press("?")
    dialog = page.locator("#dialog-keys")
    assert "Hallucination" in dialog.inner_text() and "Ctrl" in dialog.inner_text()
    dialog.get_by_role("switch").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("5")
    assert page.locator("#panel-A input:checked").count() == 0
    page.reload()
    page.wait_for_selector(".letter-tab")
    page.keyboard.press("5")
    assert page.locator("#panel-A input:checked").count() == 0, "remembered"
    page.keyboard.press("?")
    assert page.locator("dialog[open]").count() == 0


def test_definitions_instructions_and_examples_are_one_key_away(place: Site, chrome: Any) -> None:
    project = place.project("how", [TWO], layout="rating", instructions="Be **fair**.",
                            examples=[{"title": "A good one", "text": "Because *so*."}])  # fmt: skip
    page = begun(place, chrome, project)
    ask = page.locator("#panel-A").get_by_role("button", name='What does "Hallucination" mean?')
    ask.focus()
    page.keyboard.press("Enter")
    assert page.locator("#panel-A").get_by_text("It states as a fact").is_visible()
    assert ask.get_attribute("aria-expanded") == "true"
    page.keyboard.press("h")
    dialog = page.locator("#dialog-instructions")
    assert dialog.locator("strong").inner_text() == "fair"
    dialog.get_by_text("A good one").click()
    assert dialog.locator("em").inner_text() == "so"
    page.keyboard.press("Escape")
    assert dialog.is_hidden()


def test_sensitive_texts_are_blurred_until_asked_for(place: Site, chrome: Any) -> None:
    project = place.project("sensitive", [{**TWO, "sensitive": True}], layout="rating")
    page = begun(place, chrome, project)
    body = page.locator("#panel-A .veil-body")
    assert "blur" in body.evaluate("element => getComputedStyle(element).filter")
    assert body.evaluate("element => element.inert")
    page.locator("#panel-A").get_by_role("button", name="Sensitive content: show").click()
    assert body.evaluate("element => getComputedStyle(element).filter") == "none"
    assert not body.evaluate("element => element.inert")
    assert page.locator("#panel-B .veil-button").count() == 1, "the others stay as they are"


def test_long_texts_are_folded(place: Site, chrome: Any) -> None:
    project = place.project("long", [{"prompt": "Say much.", "outputs": ["much " * 2000]}], layout="rating")
    page = begun(place, chrome, project)
    button = page.get_by_role("button", name="Show all (10,000 characters)")
    height = "document.querySelector('#panel-A .fold-body').clientHeight"
    folded = page.evaluate(height)
    button.click()
    assert page.evaluate(height) > 2 * folded
    page.get_by_role("button", name="Show less").click()
    assert page.evaluate(height) == folded


@pytest.mark.parametrize("width", [360, 720, 1440])
def test_nothing_is_wider_than_the_screen_and_all_has_a_name(place: Site, chrome: Any, width: int) -> None:
    """360: a phone. 720: a screen of 1440 pixels at 200 %."""
    page = place.page(chrome, "anna", "/home", viewport={"width": width, "height": 740})
    _fits(page, width)
    for layout, seen in SEEN.items():
        group = {"demonstration": {"prompt": "x" * 300, "outputs": []}, "pair": TWO}.get(layout, ONE)
        project = place.project(f"{layout} at {width}", [group], layout=layout)
        page.goto(f"{place.url}/label/{project}")
        page.wait_for_selector(seen)
        _fits(page, width)
        if layout == "ranking":
            page.keyboard.press("r")
            _fits(page, width)
        page.goto(f"{place.url}/label/{project}/history")
        _fits(page, width)


def _fits(page: Any, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    controls = page.locator("button:visible, a:visible, input:visible, select:visible, textarea:visible")
    nameless = controls.evaluate_all(
        """all => all.filter((one) => !(one.ariaLabel || one.textContent.trim() || one.labels?.length))
                     .map((one) => one.outerHTML)"""
    )
    assert nameless == []


def test_a_finger_ranks_by_the_grip_and_scrolls_elsewhere(place: Site, chrome: Any) -> None:
    project = place.project("finger", [TWO], rate=False, flags=[])
    page = begun(place, chrome, project, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.keyboard.press("r")
    grip = page.locator('.rank-card[data-letter="B"] .grip')
    assert grip.evaluate("element => getComputedStyle(element).touchAction") == "none"
    grip.scroll_into_view_if_needed()
    _finger(page, grip.bounding_box(), page.locator('.zone[data-rank="1"]').bounding_box())
    page.wait_for_selector('.zone[data-rank="1"] .rank-card[data-letter="B"]')


def _finger(page: Any, start: dict[str, float], end: dict[str, float]) -> None:
    session = page.context.new_cdp_session(page)
    x, y = start["x"] + 10, start["y"] + 10
    to = (end["x"] + 30, end["y"] + 15)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": a, "y": b} for a, b in points]})

    touch("touchStart", (x, y))
    for step in range(1, 9):
        touch("touchMove", (x + (to[0] - x) * step / 8, y + (to[1] - y) * step / 8))
    touch("touchEnd")


def test_no_model_is_named_in_anything_that_the_browser_gets(place: Site, chrome: Any) -> None:
    project = place.project("blind", [ONE], layout="rating", flags=[])
    page = place.page(chrome, "anna", "/home")
    bodies: list[str] = []
    page.on("response", lambda response: bodies.append(f"{response.url} {response.text()}"))
    page.goto(f"{place.url}/label/{project}")
    page.wait_for_selector(".letter-tab")
    for key in ("1", "j", "1", "j", "1", "j", "1"):
        page.keyboard.press(key)
    saved(page)
    assert len(bodies) > 10 and any("People went to the moon" in body for body in bodies)
    assert not any("secret-model" in body for body in bodies)
    assert all(body.startswith(place.url) for body in bodies), "nothing comes from elsewhere"


def test_time_counts_while_somebody_works_and_a_minute_longer(place: Site, chrome: Any) -> None:
    project = place.project("clock", [TWO], layout="rating")
    page = begun(place, chrome, project)
    counted = page.evaluate(
        """async () => {
          const address = document.querySelector("script[src*='label/main.js']").src.replace("main.js", "clock.js");
          const { Clock } = await import(address);
          let now = 0;
          const clock = new Clock(0, () => now);
          now = 30_000;
          window.dispatchEvent(new Event("keydown"));
          now = 30_000 + 600_000;  // ten minutes without a sign: a minute of them counts
          const idle = clock.activeMs;
          window.dispatchEvent(new Event("keydown"));
          now += 5_000;
          clock.stop();
          return [idle, clock.activeMs, clock.wallMs];
        }"""
    )
    assert counted == [90_000, 95_000, 635_000]


def test_no_more_is_handed_out_than_is_shown(place: Site, chrome: Any) -> None:
    project = place.project("lease", [TWO, TWO, TWO], layout="pair", rate=False)
    page = begun(place, chrome, project)
    page.keyboard.press("a")
    page.keyboard.press("Control+Enter")
    gone_on(page)
    with place.database.read() as connection:
        query = select(schema.assignment.c.status).where(schema.assignment.c.project_id == project)
        assert sorted(connection.execute(query).scalars()) == ["done", "open"]


def test_what_was_typed_just_before_a_reload_is_there_and_needs_no_choice(place: Site, chrome: Any) -> None:
    project = place.project("reload", [{"prompt": "Write.", "outputs": []}], layout="demonstration")
    page = begun(place, chrome, project)
    for text in ("one", "one two", "one two three"):
        page.locator(".writing").fill(text)
        page.reload()
        page.wait_for_selector(".writing")
        assert page.locator(".writing").input_value() == text
        assert page.locator("#bars").inner_text() == ""


def test_a_draft_of_which_the_acknowledgement_was_lost_is_known_again(place: Site, chrome: Any) -> None:
    project = place.project("echo", [{"prompt": "Write.", "outputs": []}], layout="demonstration")
    page = begun(place, chrome, project)
    lost: list[int] = []

    def lose(route: Any) -> None:
        response = route.fetch()
        lost.append(response.status)
        route.abort() if len(lost) == 1 else route.fulfill(response=response)

    page.route("**/draft", lose)
    page.locator(".writing").fill("one")
    page.wait_for_selector('#saved[data-state="lost"]')
    page.locator(".writing").fill("one two")
    saved(page)
    assert lost[:2] == [200, 409] and lost[-1] == 200
    assert page.locator("#bars").inner_text() == ""
    page.reload()
    page.wait_for_selector(".writing")
    assert page.locator(".writing").input_value() == "one two"


@pytest.mark.parametrize("status, why", [(503, "the server is busy"), (507, "the server has no room left")])
def test_a_server_that_cannot_store_is_asked_again(place: Site, chrome: Any, status: int, why: str) -> None:
    project = place.project(f"status {status}", [TWO], layout="pair", rate=False)
    page = begun(place, chrome, project)
    refused: list[str] = []

    def refuse(route: Any) -> None:
        refused.append(route.request.method)
        if refused.count(route.request.method) > 1:
            route.continue_()
        else:
            route.fulfill(status=status, json={"error": {"kind": "busy", "what": "no", "fix": "", "fields": {}}})

    page.route(re.compile("/(draft|submit)$"), refuse)
    page.keyboard.press("a")
    page.wait_for_selector('#saved[data-state="lost"]')
    assert page.locator("#saved").inner_text() == f"Not saved: {why}, kept in this browser"
    saved(page)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(f'[data-bar="sending"]:has-text("Not submitted yet: {why}")')
    page.wait_for_selector("text=That was all.")
    assert sorted(refused) == ["POST", "POST", "PUT", "PUT"]
    assert len(place.answers(project)) == 1
