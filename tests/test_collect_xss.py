"""Texts that would run as a script if they were read as HTML, wherever a text can stand: none of them ever does.

The browser's own guard (the policy that forbids inline scripts) is switched off: what is tested is that texts are never
read as HTML, and not that the guard holds. Another test has it switched on, and it finds nothing to forbid.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from collect_browser import Site, browser, site

HIT = "window.hit=1"
PAYLOADS = [
    f"<script>{HIT}</script>",
    f"<ScRiPt>{HIT}</sCrIpT>",
    f"</script><script>{HIT}</script>",
    f"<img src=x onerror={HIT}>",
    f"<img src=x onerror='{HIT}' ",
    f'"><img src=x onerror={HIT}>',
    f"'><img src=x onerror={HIT}>",
    f'" autofocus onfocus="{HIT}" x="',
    f"' autofocus onfocus='{HIT}' x='",
    f"<svg onload={HIT}>",
    f"<svg><script>{HIT}</script></svg>",
    f'<svg><animate onbegin="{HIT}" attributeName=x dur=1s>',
    f"<body onload={HIT}>",
    f"<iframe srcdoc='<script>parent.{HIT}</script>'></iframe>",
    f'<iframe src="javascript:parent.{HIT}"></iframe>',
    f"<details open ontoggle={HIT}>",
    f"<video><source onerror={HIT}></video>",
    f"<input autofocus onfocus={HIT}>",
    f"<math><mtext><table><mglyph><style><img src=x onerror={HIT}>",
    f"</textarea><script>{HIT}</script>",
    f"</title><script>{HIT}</script>",
    f"<!--><script>{HIT}</script>-->",
    f"<xmp></xmp><script>{HIT}</script>",
    f"<noscript><p title='</noscript><img src=x onerror={HIT}>'>",
    f"[click](javascript:{HIT})",
    f"![x](x){{onerror={HIT}}}",
    f"<a href='javascript:{HIT}'>click</a>",
    f"[x](<https://a.org/\"onmouseover='{HIT}'>)",
    f"{{{{ constructor.constructor('{HIT}')() }}}}${{{HIT}}}",
    f"\u202e<script>{HIT}</script>\u202c\0<img src=x onerror={HIT}>",
    f"<form action=javascript:{HIT}><button autofocus>go</button></form>",
    f"&lt;script&gt;{HIT}&lt;/script&gt;&#60;img src=x onerror={HIT}&#62;",
]


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def served(chrome: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as made:
        made.account("anna", "admin")
        yield made
        made.close_pages()


def project_of(site: Site, name: str, render: str) -> int:
    """Each payload is prompt, output, system message, tool and category of a group; flags and so on hold all."""
    groups = [
        {
            "prompt": [{"role": "system", "content": text}, {"role": "user", "content": text}],
            "outputs": [text, [{"role": text, "content": text}]],
            "tools": [{"name": text}],
            "category": text,
        }
        for text in PAYLOADS
    ]
    flags = [
        {"key": f"f{i}", "label": text[:120].replace("\0", ""), "definition": text, "letter": "cdefgimopqtuvwxyzl"[i]}
        for i, text in enumerate(PAYLOADS[:18])
    ]
    examples = [{"title": text, "text": text} for text in PAYLOADS]
    return site.project(
        f"{name} {PAYLOADS[0]}", groups, render=render, flags=flags, skips=PAYLOADS[:20], examples=examples,
        instructions="\n\n".join(PAYLOADS), rate=False,
    )  # fmt: skip


def went_through(site: Site, page: Any, project: int) -> None:
    """All pages of the project are labelled; each text stands on the screen as it was written, or as Markdown of it."""
    page.goto(f"{site.url}/label/{project}")
    page.evaluate("localStorage.setItem('visited', 1)")
    for number, text in enumerate(PAYLOADS, 1):
        page.locator("#number", has_text=f"Page {number} /").wait_for()
        page.locator("#panel-A textarea").fill(text)
        page.locator("#panel-A .ask").nth(number % 18).click()
        for button in ("h", "s"):
            if number == 1:
                page.locator("#title").focus()
                page.keyboard.press(button)
                page.wait_for_timeout(50)
                page.keyboard.press("Escape")
        page.locator("#title").focus()
        for key in ("r", "1", "1", "r"):
            page.keyboard.press(key)
        assert page.locator("#panel-A textarea").input_value() == text.replace("\r", "")
        assert page.evaluate("window.hit") is None, text
        page.keyboard.press("Control+Enter")
    page.wait_for_selector(".end-page")
    for path in ("/home", f"/label/{project}/history"):
        page.goto(site.url + path)
        assert page.evaluate("window.hit") is None


@pytest.mark.parametrize("render", ["plain", "markdown"])
def test_no_text_runs_even_where_the_browser_would_let_it(served: Site, chrome: Any, render: str) -> None:
    page = served.page(chrome, "anna", faults=False, bypass_csp=True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(f"dialog {dialog.message}"))
    project = project_of(served, render, render)
    went_through(served, page, project)
    assert [one for one in asked if not one.startswith(served.url) or "/x" in one] == []
    assert len(served.answers(project)) == len(PAYLOADS)
    notes = [row["answer"]["notes"] for row in served.answers(project)]
    assert [next(filter(None, one)) for one in notes] == PAYLOADS, "stored as they were written"


def test_a_text_is_shown_as_it_was_written(served: Site, chrome: Any) -> None:
    text = PAYLOADS[0] + PAYLOADS[29]
    project = served.project("shown", [{"prompt": text, "outputs": [text]}], layout="rating")
    page = served.page(chrome, "anna", f"/label/{project}")
    shown = page.locator("#panel-A .text").inner_text()
    signs = text.replace("\u202e", "⟨U+202E⟩").replace("\u202c", "⟨U+202C⟩").replace("\0", "⟨U+0000⟩")
    assert shown == signs, "what turns the direction of writing is shown as a sign"


def test_a_name_may_be_anything_and_the_policy_has_nothing_to_forbid(served: Site, chrome: Any) -> None:
    """With the policy on: `faults` of the page would hold what it forbids."""
    name = f"<img src=x onerror={HIT}>"
    served.account(name)
    project = served.project("named", [{"prompt": "Hi", "outputs": ["Ho"]}], layout="rating")
    page = served.page(chrome, name, "/home")
    assert page.locator(".site-user bdi").inner_text() == name
    for path in (f"/label/{project}", f"/label/{project}/history", "/account"):
        page.goto(served.url + path)
        assert page.evaluate("window.hit") is None
    assert served.faults == []
    html = page.request.get(f"{served.url}/label/{project}").text()
    assert "style=" not in html and " onclick" not in html and "<script>" not in html
