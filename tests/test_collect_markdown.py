"""Markdown of strangers as HTML: what it may become, and what it never becomes."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.collect.markdown import ATTRIBUTES, MOST, TAGS, render

REL = 'target="_blank" rel="noopener noreferrer nofollow"'


@pytest.mark.parametrize(
    "text, html",
    [
        ("one\n\ntwo", "<p>one</p>\n<p>two</p>\n"),
        ("one\ntwo", "<p>one<br>\ntwo</p>\n"),
        ("*a* **b** ~~c~~ `d`", "<p><em>a</em> <strong>b</strong> <s>c</s> <code>d</code></p>\n"),
        ("# Head", "<h1>Head</h1>\n"),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n"),
        ("3. c", '<ol start="3">\n<li>c</li>\n</ol>\n'),
        ("> said", "<blockquote>\n<p>said</p>\n</blockquote>\n"),
        ("```py\nif a < b:\n```", "<pre><code>if a &lt; b:\n</code></pre>\n"),
        ("[a](https://b.org)", f'<p><a href="https://b.org" {REL}>a</a></p>\n'),
        ("[a](mailto:b@c.org)", f'<p><a href="mailto:b@c.org" {REL}>a</a></p>\n'),
        ("![a *cat*](https://b.org/c.png)", "<p>[picture: a cat]</p>\n"),
        ("1 < 2 & 3", "<p>1 &lt; 2 &amp; 3</p>\n"),
        ("<b>bold</b>", "<p>&lt;b&gt;bold&lt;/b&gt;</p>\n"),
        ("a\u202eb", "<p>a⟨U+202E⟩b</p>\n"),
        ("\u0645\u06cc\u200c\u062e", "<p>\u0645\u06cc\u200c\u062e</p>\n"),
        ("", ""),
    ],
)
def test_what_it_becomes(text: str, html: str) -> None:
    assert render(text) == html


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "java&#115;cript:alert(1)", "java\tscript:alert(1)", "vbscript:x",
     "data:text/html,<script>alert(1)</script>", "file:///etc/passwd", "//evil.org", "/logout", "account", "?a=b",
     "http:account", "https:/logout", "ftp://a.org", "blob:https://a.org/1"],
)  # fmt: skip
def test_a_link_leads_to_another_site_or_nowhere(address: str) -> None:
    for text in (f"[x]({address})", f"[x](<{address}>)", f"<{address}>", f"[x][1]\n\n[1]: {address}"):
        assert "href" not in render(text), text


class Seen(HTMLParser):
    """Tags and attributes of what was made."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


PIECES = st.sampled_from(
    ["<script>", "</p>", "<img src=x onerror=alert(1)>", "](javascript:alert(1))", "[a", "![", "](", ")", "`", "```\n",
     "<a href='", '"', "'", ">", "<", "&lt;", "&#x3c;", "|a|b|\n|-|-|\n", "\n\n", "\n", "* ", "> ", "https://a.org",
     "<svg/onload=alert(1)>", "\u202e", "\0", "javascript:", "<!--", "-->", "<![CDATA[", "style=", "# ", "\\"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES | st.text(max_size=6), max_size=25).map("".join))
def test_whatever_is_written_only_what_is_allowed_comes_out(text: str) -> None:
    seen = Seen()
    seen.feed(render(text))
    for tag, attributes in seen.found:
        assert tag in TAGS
        more = {"rel", "target"} if tag == "a" else set()
        assert set(attributes) <= ATTRIBUTES.get(tag, set()) | more
        if "href" in attributes:
            assert re.match(r"(https?://|mailto:)", str(attributes["href"]), re.IGNORECASE)
        if tag == "a":
            assert attributes["rel"] == "noopener noreferrer nofollow" and attributes["target"] == "_blank"


def test_what_is_very_long_or_deep_is_shown_all_the_same() -> None:
    assert render("<" * (MOST + 1)) == "<pre>" + "&lt;" * (MOST + 1) + "</pre>"
    assert render("*a* " * (MOST // 4)).startswith("<p><em>a</em> <em>a</em>")
    for deep in (10, 18, 19, 20, 21, 38, 39, 40, 41, 3000):
        assert "deep" in render("> " * deep + "deep"), deep
        assert "deep" in render(
            "".join(f"{'  ' * i}- a\n" for i in range(deep % 1000)) + "  " * (deep % 1000) + "- deep"
        )
        assert "deep" in render("[" * deep + "deep" + "](https://a.org)" * deep)
        assert "deep" in render("*" * deep + "deep" + "*" * deep)
