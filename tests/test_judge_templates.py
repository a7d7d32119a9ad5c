"""Templates: those of the package, a user's own, and what is none."""

from pathlib import Path

import pytest

from accord.errors import InputError
from accord.evaluate.judges.template import names, parsed, template

TURNS = [{"role": "user", "content": "the asked"}, {"role": "assistant", "content": "the first said"}]
VALUES = {
    "pairwise": {"prompt": "the asked", "first": "the first said", "second": "the second said"},
    "rating": {"prompt": "the asked", "answer": "the first said", "turns": TURNS},
    "ranking": {"prompt": "the asked", "answers": [{"name": "A", "text": "the first said"}]},
}
HEAD = "kind: pairwise\nversion: 1\nmax_tokens: 5\n"
BODY = "===== user\n{{ prompt }} {{ first }} {{ second }}\n"


def test_the_templates_of_the_package() -> None:
    assert names() == ("pairwise", "pairwise_reasoning", "ranking", "rating", "rating_turns")


@pytest.mark.parametrize("name", ["pairwise", "pairwise_reasoning", "ranking", "rating", "rating_turns"])
def test_each_shows_what_is_to_be_judged_and_says_how_to_reply(name: str) -> None:
    found = template(name)
    messages = found.filled(VALUES[found.kind])
    assert [one["role"] for one in messages] == ["system", "user"]
    whole = "\n".join(one["content"] for one in messages)
    for text in ("the asked", "the first said", *(["the second said"] if found.kind == "pairwise" else [])):
        assert whole.count(text) == 1
    assert "{{" not in whole and "{%" not in whole
    for label in found.header.labels if found.kind == "pairwise" else ():
        assert (label if found.header.verdict == "token" else f"[[{label}]]") in whole
    assert found.kind == "pairwise" or "[[" in whole


def test_what_stands_in_a_text_is_no_template() -> None:
    words = "{{ 7 * 7 }} {% for x in y %} ===== user"
    found = template("pairwise").filled({"prompt": words, "first": words, "second": "b"})
    assert found[1]["content"].count(words) == 2 and len(found) == 2


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "short.jinja"
    path.write_text(HEAD + "verdict: token\nlabels: [one, two, tie]\n" + BODY)
    found = template(str(path))
    assert (found.name, found.kind, found.header.labels) == ("short", "pairwise", ["one", "two", "tie"])
    assert found.filled(VALUES["pairwise"]) == (
        {"role": "user", "content": "the asked the first said the second said"},
    )
    path.write_text(HEAD + "verdict: token\nlabels: [one, two, tie]\n" + BODY + "Be kind.\n")
    assert template(str(path)).digest != found.digest


FAULTS = {
    "no header": (BODY, "header"),
    "no YAML": ("kind: [\n" + BODY, "no header of YAML"),
    "kind": (HEAD.replace("pairwise", "triple") + BODY, "header's kind"),
    "key": (HEAD + "labls: [a, b]\n" + BODY, "header's labls"),
    "version": (HEAD.replace("version: 1", "version: new") + BODY, "header's version"),
    "one label": (HEAD + "labels: [a]\n" + BODY, "not two or three different"),
    "labels alike": (HEAD + "labels: [a, a]\n" + BODY, "not two or three different"),
    "empty label": (HEAD + "labels: [a, '']\n" + BODY, "not two or three different"),
    "no message": (HEAD, "does not show 'first'"),
    "role": (HEAD + BODY.replace("user", "judge"), "'judge' is no role"),
    "one answer": (HEAD + BODY.replace("{{ second }}", ""), "does not show 'second'"),
    "unknown variable": (HEAD + BODY + "{{ answr }}", "no variable 'answr'"),
    "no Jinja": (HEAD + BODY + "{% for %}", "no template: "),
    "no answer": (HEAD.replace("pairwise", "rating") + "===== user\n{{ prompt }}", "shows no answer"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_template(fault: str) -> None:
    text, what = FAULTS[fault]
    with pytest.raises(InputError, match=what) as raised:
        parsed("mine", text, where="mine.jinja")
    assert raised.value.where == "mine.jinja" and raised.value.code == 2 and "\n" not in str(raised.value)


def test_no_such_template() -> None:
    with pytest.raises(InputError, match="pair: no such template: one of pairwise, pairwise_reasoning"):
        template("pair")
