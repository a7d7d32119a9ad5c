"""Every format's example is what it says, and every format into every other: what is held, lost, or left out."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from format_examples import EXAMPLES, HERE
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.formats import FORMATS, to_rows
from accord.data.join import permuted
from accord.data.parts import CannotHold
from accord.data.read import read_groups
from accord.data.write import row_writer
from accord.records import Completion, Group, Judgement, Message, Origin

# A row for each example, a column for each format in the order of the table. = everything is held, ~ something is lost
# and named, x there is no row for it, ? some groups of the example this, others that.
HELD = """
    comparison           =~~?=??~?????????x
    demonstration        x=xx=??~xx?xx?xx?x
    unpaired             x==x=x?~xxxxxxxxxx
    ranking              ?~~==??~??????????
    group                ~~~~=~x~~~~~~~~~~~
    conversation         x=xx==x~xx?xx?xx?x
    document             xxxx=x=xxxxxxxxxxx
    prompt               xxxx=xx=xxxxxxxxxx
    implicit             =~~==~x~==~~=~~=~x
    hh                   =~~==~x~==~~=~~=~x
    alpaca               x=xx=?x~xx=xx?xx?x
    alpaca_unpaired      x==x=xx~xx==xx=x~x
    alpaca_comparison    =~~==~x~==~~=~~=~x
    sharegpt             x=xx==x~xxxxx=xxxx
    sharegpt_unpaired    x==x=~x~xx==x~=x~x
    sharegpt_comparison  =~~==~x~==~~=~~=~x
    ultrafeedback        ~~~~=~x~~~~~~~~~=~
    helpsteer            ~~~~=~x~~~~~~~~~==
"""
CODES = dict(line.split() for line in HELD.strip().splitlines())

# (example, format) -> what a group of it loses there, by name.
LOST = {
    ("comparison", "ranking"): ["margins"],
    ("comparison", "ultrafeedback"): ["ranks", "annotators"],
    ("ranking", "comparison"): ["rankings of more than two completions: written as their pairs"],
    ("ultrafeedback", "comparison"): ["aspects"],
    ("helpsteer", "ultrafeedback"): [],
    ("group", "comparison"): ["judgements that prefer neither completion", "the order shown", "aspects", "labels"],
    ("group", "ranking"): ["labels", "classes", "flags", "margins", "the order shown", "aspects"],
    ("conversation", "alpaca"): ["annotators", "classes"],
    ("unpaired", "document"): ["where the prompt ends", "labels"],
    ("alpaca", "conversation"): ["where the prompt ends"],
    ("sharegpt_unpaired", "conversation"): ["labels"],
    ("hh", "demonstration"): ["completions that are not the best, and what was said of them"],
    ("conversation", "prompt"): ["completions and what was said of them"],
}
LEFT_OUT = {
    ("comparison", "alpaca_comparison"): "plain text: who says it is not known",
    ("conversation", "document"): "turns: plain text does not say whose words they are",
    ("conversation", "helpsteer"): "a system turn at the start",
    ("alpaca_unpaired", "conversation"): "a completion labelled bad",
    ("hh", "helpsteer"): "no ratings",
    ("alpaca", "unpaired"): "nothing that calls a completion good or bad",
    ("sharegpt", "alpaca"): "more than one assistant turn in a place for one",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_format_has_an_example() -> None:
    assert list(EXAMPLES) == list(FORMATS) == list(CODES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_rows_of_an_example_are_its_groups(name: str, folder: Path) -> None:
    Path(HERE).write_text("".join(json.dumps(row) + "\n" for row in EXAMPLES[name].rows))
    assert tuple(read_groups(HERE, implicit_prompt=name == "implicit")) == EXAMPLES[name].groups


def outcome(group: Group, to: str) -> list[str] | str:
    """What is lost, or why there is no row."""
    try:
        return to_rows(FORMATS[to], group)[1]
    except CannotHold as error:
        return str(error)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_every_format_holds_of_an_example(name: str) -> None:
    found = ""
    for to in FORMATS:
        outcomes = [outcome(group, to) for group in EXAMPLES[name].groups]
        marks = {"x" if isinstance(one, str) else "~" if one else "=" for one in outcomes}
        found += marks.pop() if len(marks) == 1 else "?"
    assert found == CODES[name]


@pytest.mark.parametrize(("pair", "names"), LOST.items())
def test_what_is_lost_is_named(pair: tuple[str, str], names: list[str]) -> None:
    name, to = pair
    assert names in [outcome(group, to) for group in EXAMPLES[name].groups]


@pytest.mark.parametrize(("pair", "why"), LEFT_OUT.items())
def test_why_there_is_no_row(pair: tuple[str, str], why: str) -> None:
    name, to = pair
    assert why in [outcome(group, to) for group in EXAMPLES[name].groups]


def bare(group: Group) -> Group:
    """The group with its completions in an order of their own and ranks where they only say again what ratings say."""
    order = tuple(sorted(range(len(group.completions)), key=lambda i: repr(group.completions[i])))
    judgements = []
    for one in group.judgements:
        said = permuted(one, order)
        judgements.append(said if said.ratings is None else replace(said, ranks=None))
    completions = tuple(group.completions[i] for i in order)
    return Group(
        group.id, group.prompt, completions, tuple(judgements), group.weight, group.category, group.tools, Origin("", 0)
    )


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz", ".jsonl.zst"])
def test_what_is_held_comes_back_from_every_kind_of_file(ending: str, folder: Path) -> None:
    """The law behind the table: what is called held is the same group again, read from a file by itself."""
    tried = 0
    for name, to in product(EXAMPLES, FORMATS):
        groups = [group for group in EXAMPLES[name].groups if outcome(group, to) == []]
        for number, group in enumerate(groups):
            path = f"{name}-{to}-{number}{ending}"
            try:
                write(path, group, to)
            except CannotHold:
                assert ending == ".parquet" and any(message.extra for message in messages_of(group))
                continue
            (back,) = read_groups(path, implicit_prompt=to == "implicit")
            assert bare(back) == bare(group), (name, to)
            tried += 1
    assert tried >= 70


def write(path: str, group: Group, to: str) -> None:
    with row_writer(path) as writer:
        for row in to_rows(FORMATS[to], group)[0]:
            writer.check(row)
            writer.add(row)


def messages_of(group: Group) -> list[Message]:
    contents = [group.prompt, *(completion.content for completion in group.completions)]
    return [message for content in contents if not isinstance(content, str) for message in content]


def test_the_pairs_of_a_ranking_weigh_what_training_gives_them(folder: Path) -> None:
    """A > B = C: the tie keeps its third of the group's weight and gives no pair (InstructGPT, Eq. 1)."""
    (group, _) = EXAMPLES["ranking"].groups
    rows, _ = to_rows(FORMATS["comparison"], group)
    assert [(row["id"], row["chosen"], row["rejected"]) for row in rows] == [
        ("1.1", " blue.", " red."),
        ("1.2", " blue.", " green."),
    ]
    assert [row["weight"] for row in rows] == [1 / 3, 1 / 3]


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
spoken = st.one_of(words, st.sampled_from(["\n\nHuman: x", "\n<extra_id_1>User\nx", '[{"role": "user"}]', " ", "\r\n"]))


@settings(max_examples=60, deadline=None)
@given(st.lists(spoken, min_size=4, max_size=4), st.sampled_from(list(FORMATS)), st.booleans())
def test_no_character_is_lost_or_invented(texts: list[str], to: str, plain: bool) -> None:
    """Either the format says that it cannot hold these words, or they are read from its rows as they were."""
    asked, chosen, rejected, system = texts
    judgement = Judgement(ranks=(1, 2), ratings=(2.0, 1.0), labels=(True, False), aspects={"verbosity": (1.0, 2.0)})
    if plain:
        group = Group("a", asked, (Completion(chosen), Completion(rejected)), (judgement,))
    else:
        prompt = (Message("system", system), Message("user", asked))
        sides = (Completion((Message("assistant", side),)) for side in (chosen, rejected))
        group = Group("a", prompt if system else prompt[1:], tuple(sides), (judgement,))
    try:
        rows, lost = to_rows(FORMATS[to], group)
    except CannotHold:
        return
    back = list(read_groups(json.loads(json.dumps(rows)), implicit_prompt=to == "implicit"))
    assert all(one.prompt in (group.prompt, "") for one in back)
    found = [completion.content for one in back for completion in one.completions]
    known = [completion.content for completion in group.completions]
    if to == "document":
        known = [group.prompt + content for content in known]  # type: ignore[operator]
    assert all(content in known for content in found)
    assert not lost or len(found) == 2 or any("completions" in name for name in lost)
