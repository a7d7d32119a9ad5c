"""A page of results: one file that asks for nothing, in which every text is only a text, and that people can read."""

import fnmatch
import re
import tomllib
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from accord.errors import StorageError
from accord.evaluate.report.axis import scale, ticks, written
from accord.evaluate.report.chart import Chart, Line
from accord.evaluate.report.chart_places import places, thinned
from accord.evaluate.report.page import (
    Charts,
    Code,
    Conversations,
    Exchange,
    Fact,
    Folded,
    Grid,
    Notice,
    Page,
    Picture,
    Prose,
    Reply,
    Section,
    html,
    plain,
    write,
)

ROOT = Path(__file__).resolve().parents[1]
PIXEL = b"\x89PNG\r\n\x1a\n"
ALLOWED = set(
    "class id href src alt style dir role tabindex scope lang charset name content http-equiv viewbox d x y cx cy r "
    "width height points text-anchor".split()
)
EMPTY = {"meta", "img", "br"}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=http://evil.example/x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></table></section><iframe src=//evil.example>",
    "{{ 7 * 7 }}{% include 'style.jinja' %}",
    "a\x00b\x1b[31m",
    "\u202egnp.exe",
    "\ud800 half a character",
    "&lt;b&gt; &amp; <!-- --> ]]>",
    "w" * 3000,
]


class Document(HTMLParser):
    """The elements of a page with their attributes, its headings, and the text in it; balanced, or an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def everything(text: str) -> Page:
    """A page with this text wherever a text can stand."""
    line = Line(text, [0, 1, 2], [1.0, 2.0, 0.5], [1.0, 2.5, 0.5], [0, 0, 0], [2, 3, 1], marks=True, labels=[text] * 3)
    other = Line(text + "2", [1, 2], [1.0, 1.0], colour=9, dashed=True)
    parts = [
        Prose(text),
        Notice(text, "failure"),
        Code(text, text),
        Picture(text, PIXEL, "png", text, text),
        Grid(text, [text, text], [[text, text + "\n" + text]], text, (1,), [[None, 0.5]]),
        Conversations(text, [Exchange(text, [Reply(text, text, text, text), Reply(text, text)])], text),
        Charts(text, [Chart(text, [line, other], text, text, text, level=1.0, caption=text)], text),
        Folded(text, [Prose(text), Grid(text, [text], [[text]])]),
    ]
    return Page(text, text, [Fact(text, text, text)], [Section("one", text, text, parts)], text)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_text_is_never_more_than_a_text(text: str) -> None:
    page = html(everything(text))
    document, tame = Document(page), Document(html(everything("tame")))
    assert [tag for tag, _ in document.found] == [tag for tag, _ in tame.found]
    assert "".join(document.texts).count(plain(text)) == "".join(tame.texts).count("tame") > 20
    for _, attributes in document.found:
        assert all(name in ALLOWED or name.startswith("aria-") for name in attributes), attributes
        assert (attributes.get("href") or "#").startswith("#")
        assert (attributes.get("src") or "data:image/png;base64,").startswith("data:image/png;base64,")
    page.encode("utf-8")


def test_the_file_asks_for_nothing() -> None:
    document = Document(html(everything("x")))
    (policy,) = [one["content"] for one in document.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.split("; ") == [
        "default-src 'none'", "img-src data:", "style-src 'unsafe-inline'", "base-uri 'none'", "form-action 'none'",
    ]  # fmt: skip
    (style,) = re.findall("<style>(.*?)</style>", html(everything("x")), re.DOTALL)
    assert "url(" not in style and "@import" not in style and "http" not in style
    assert not document.of("script") and not document.of("link")


def test_what_a_browser_would_obey_is_shown() -> None:
    assert plain("a\x00\u202eb\u2028\x7f") == "a⟨U+0000⟩⟨U+202E⟩b⟨U+2028⟩⟨U+007F⟩"
    assert plain("\ud800") == "⟨U+D800⟩"
    assert plain("two\r\nlines\tand") == "two\nlines\tand"
    assert plain("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u200f") == (
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u200f"
    )


def test_who_does_not_see_it_can_read_it() -> None:
    document = Document(html(everything("words")))
    assert document.of("html") == [{"lang": "en"}]
    assert all(one.get("alt") for one in document.of("img"))
    pictures = [one for one in document.of("svg") if one.get("aria-hidden") != "true"]
    assert pictures and all(one.get("role") == "img" and one.get("aria-label") for one in pictures)
    assert len(document.of("caption")) == len(document.of("table")) == 2
    assert all(one.get("scope") in ("row", "col") for one in document.of("th"))
    levels = [int(tag[1]) for tag, _ in document.found if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))  # none is left out on the way down
    names = {one["id"] for _, one in document.found if "id" in one}
    told = [one["aria-labelledby"] for _, one in document.found if "aria-labelledby" in one]
    links = [str(one["href"])[1:] for one in document.of("a")]
    assert told and set(told) | set(links) <= names
    assert len(names) == sum("id" in one for _, one in document.found)


def test_a_section_has_a_name_of_its_own() -> None:
    twice = [Section("same", "A", "", []), Section("same", "B", "", [])]
    with pytest.raises(AssertionError, match="same"):
        html(Page("x", "", [], twice))
    with pytest.raises(AssertionError):
        html(Page("x", "", [], [Section("No Id!", "A", "", [])]))


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    write(Page("x", "", [], []), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().endswith("</html>")
    with pytest.raises(StorageError, match="missing"):
        write(Page("x", "", [], []), tmp_path / "missing" / "page.html")


def channel(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """WCAG 2.2, 1.4.3."""
    light = [sum(w * channel(c) for w, c in zip((0.2126, 0.7152, 0.0722), rgb, strict=True)) for rgb in (one, other)]
    return (max(light) + 0.05) / (min(light) + 0.05)


def colours() -> list[dict[str, tuple[int, ...]]]:
    """Of the light and of the dark page."""
    style = (ROOT / "accord/evaluate/report/style.jinja").read_text()
    light, dark = re.findall(r":root \{\s+(?:color-scheme: light dark;)?([^}]*)\}", style)[:2]
    return [
        {
            name: tuple(int(value[i : i + 2], 16) for i in (0, 2, 4))
            for name, value in re.findall(r"--(\w+): #(\w{6})", text)
        }
        for text in (light, dark)
    ]


@pytest.mark.parametrize("place", [0, 1], ids=["light", "dark"])
def test_words_and_lines_stand_out(place: int) -> None:
    found = colours()[place]
    for ink in ("ink", "soft", "link"):
        for ground in ("page", "panel"):
            assert contrast(found[ink], found[ground]) >= 4.5, (ink, ground)
    assert all(contrast(found[f"c{i}"], found["page"]) >= 2.7 for i in range(8))
    for tint in ("blue", "orange"):  # a cell of the deepest colour: 55 % of it over the page
        cell = tuple(round(0.55 * a + 0.45 * b) for a, b in zip(found[tint], found["page"], strict=True))
        assert contrast(found["ink"], cell) >= 4.5, tint


def test_every_file_of_the_page_is_in_the_package() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    files = [file for file in (ROOT / "accord/evaluate/report").iterdir() if file.is_file() and file.suffix != ".py"]
    assert len(files) == 4
    assert all(any(fnmatch.fnmatch(file.name, pattern) for pattern in patterns) for file in files)


def test_round_values_stand_at_an_axis() -> None:
    assert ticks(scale([0, 100], 0, 1)) == [0, 20, 40, 60, 80, 100]
    assert ticks(scale([0.31, 0.69], 0, 1)) == [0.3, 0.4, 0.5, 0.6, 0.7]
    assert ticks(scale([1, 3], 0, 1)) == [1, 1.5, 2, 2.5, 3]
    assert ticks(scale([1, 3], 0, 1), whole=True) == [1, 2, 3]
    assert ticks(scale([1, 10_000], 0, 1, log=True)) == [1, 10, 100, 1000, 10_000]
    assert written([0.0, 0.25, 0.5]) == ["0.00", "0.25", "0.50"]
    assert written([0.0, 20_000.0]) == ["0", "20,000"]
    assert written([0.0, 1e-5, 2e-5]) == ["0", "1e-5", "2e-5"]


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=20), st.booleans())
@example([5e-324], True)
@example([3e-11], False)
def test_an_axis_holds_all_of_its_values(values: list[float], from_zero: bool) -> None:
    axis = scale(values, 10, 200, from_zero=from_zero)
    assert all(10 - 1e-6 <= axis.place(value) <= 200 + 1e-6 for value in values)
    assert 1 <= len(ticks(axis)) <= 7
    assert not from_zero or axis.low <= 0 <= axis.high


def test_points_stand_where_their_values_say() -> None:
    drawn = places(Chart("t", [Line("a", [0, 5, 10], [0, 1, 2], marks=True)], "x", "", "alt", level=1.0))
    (line,) = drawn.lines
    (x0, y0), (x1, y1), (x2, y2) = line.marks
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert drawn.left < x0 < x2 < drawn.right and drawn.top < y2 < y0 < drawn.bottom
    assert drawn.level == y1
    assert [name for _, name in drawn.x_ticks] == ["0", "2", "4", "6", "8", "10"]


def test_what_is_not_finite_is_left_out_of_a_chart() -> None:
    nan, inf = float("nan"), float("inf")
    drawn = places(Chart("t", [Line("a", [0, 1, 2, 3], [1, nan, inf, 2], marks=True)], "x", "", "alt"))
    assert len(drawn.lines[0].marks) == 2
    on_log = places(Chart("t", [Line("a", [0, 1, 10], [1, 1, 1], marks=True)], "x", "", "alt", log_x=True))
    assert len(on_log.lines[0].marks) == 2
    assert places(Chart("t", [Line("a", [], [])], "x", "", "alt")).lines[0].path == ""


def test_thinning_keeps_what_stands_out() -> None:
    points = [(float(x), 7.0 if x == 4321 else 0.0) for x in range(10_000)]
    kept = thinned(points)
    assert len(kept) < 400 and (4321.0, 7.0) in kept and kept[0] == points[0] and kept[-1] == points[-1]
    assert kept == sorted(kept)
    assert thinned(points[:100]) == points[:100]


def test_labels_of_points_meet_neither_each_other_nor_the_edge() -> None:
    line = Line(
        "", [1, 1.01, 1.02, 5], [1, 1, 1, 1], labels=["dpo", "ppo", "best of 16", "far to the right"], marks=True
    )
    drawn = places(Chart("t", [line], "KL", "reward", "alt"))
    boxes = []
    for one in drawn.labels:
        width = 6.1 * len(one.text)
        start = one.x if one.anchor == "start" else one.x - width
        boxes.append((start, one.y - 10, start + width, one.y + 2))
    assert all(0 <= left and right <= drawn.width for left, _, right, _ in boxes)
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert not any(left < b[2] and b[0] < right and top < b[3] and b[1] < bottom for b in boxes[i + 1 :])
