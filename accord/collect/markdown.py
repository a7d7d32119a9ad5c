"""Markdown as HTML that a page may hold: whatever is written, nothing in it runs, loads, or poses as part of the page.

Two walls, one behind the other: the renderer passes no HTML through, and what it made is cleaned by a list of what is
allowed. Pictures are not: their addresses would tell another host who reads what. They become their description.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from typing import Any
from urllib.parse import urlsplit

MOST = 30_000  # characters; what is longer is shown as it was written (30,000 brackets take 2 s, 100,000 take 21 s)
DEEPEST = 40  # quotes and lists within each other; what goes deeper is shown as it was written
TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s",
    "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
SCHEMES = {"http", "https", "mailto"}
KEPT = "\n\t\u200c\u200d\u200e\u200f\u061c"  # line breaks, joiners and marks that scripts cannot be written without
OBEYED = re.compile(r"[^\x20-\x7e]")


@lru_cache(256)  # the same group is shown to several people
def render(text: str) -> str:
    """Safe HTML. Characters that a browser would obey (overrides of the direction of writing) are shown as signs."""
    import html

    shown, renderer = visible(text), _renderer()
    tokens = renderer.parse(shown) if len(shown) <= MOST else None
    if tokens is None or any(token.level >= DEEPEST - 1 for token in tokens):  # what lies deeper would be left out
        return f"<pre>{html.escape(shown)}</pre>"
    return _clean(renderer.renderer.render(tokens, renderer.options, {}))


def visible(text: str) -> str:
    """With ⟨U+202E⟩ in the place of what is not seen but obeyed."""
    return OBEYED.sub(lambda found: _visible(found[0]), text.replace("\r\n", "\n"))


@cache
def _visible(one: str) -> str:
    if one in KEPT or unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return one
    return f"⟨U+{ord(one):04X}⟩"


@cache
def _renderer() -> Any:
    from markdown_it import MarkdownIt

    made = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": DEEPEST})
    made.enable(["table", "strikethrough"])
    made.add_render_rule("image", _description)
    return made


def _description(renderer: Any, tokens: Any, at: int, options: Any, env: Any) -> str:
    import html

    said = renderer.renderInlineAsText(tokens[at].children or [], options, env)
    return f"[picture: {html.escape(said)}]"


@cache
def _cleaner() -> Any:
    import nh3

    return nh3.Cleaner(
        tags=TAGS,
        attributes=ATTRIBUTES,
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
        attribute_filter=_kept,
    )


def _clean(made: str) -> str:
    return str(_cleaner().clean(made))


def _kept(tag: str, name: str, value: str) -> str | None:
    """An address must name its host: one within the site could do something there in the reader's name."""
    if (tag, name) != ("a", "href"):
        return value
    try:
        address = urlsplit(value)
    except ValueError:
        return None
    return value if address.scheme == "mailto" or (address.scheme in ("http", "https") and address.netloc) else None
