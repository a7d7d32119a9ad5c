"""What is wrong with groups, alone and together."""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.bias import imbalance_findings, length_bias
from accord.data.census import Census, holds
from accord.data.check import row_findings, taken_findings
from accord.data.findings import FINDINGS, LETTERS, STAGES, Finding
from accord.data.measures import Measures, histogram
from accord.data.near import BINS, Near, signatures
from accord.data.read import read_groups
from accord.data.repeats import Repeats, digests
from accord.records import Completion, Group, Judgement, Message, Origin

TEXTS = "the quick brown fox jumps over a lazy dog while seven geese look on from the far side of the old mill".split()


def turns(*said: str) -> tuple[Message, ...]:
    """turns("u: hello", "a: hi"): with roles by their first letter."""
    roles = {"u": "user", "a": "assistant", "s": "system", "t": "tool"}
    return tuple(Message(roles[one[0]], one[2:].strip()) for one in said)


def group(prompt: Any, *completions: Any, ranks: Sequence[int] | None = None, line: int = 1, **more: Any) -> Group:
    ranks = tuple(ranks or range(1, len(completions) + 1))
    judgements = (Judgement(ranks=ranks, annotator=more.pop("annotator", None)),) if len(completions) > 1 else ()
    made = Group(f"g{line}", prompt, tuple(map(Completion, completions)), judgements, source=Origin("d.jsonl", line))
    return dataclasses.replace(made, **more)


def found(*groups: Group) -> list[tuple[str, str, str]]:
    return [(one.name, one.field, one.what) for made in groups for one in row_findings(made)]


ASK = turns("u: hello")
EMPTY = "empty text"
SAME = "chosen and rejected are the same text; a tie is not a preference"
MORE = "chosen and rejected differ before their last turn: they are more than a reply"
CASES = {
    "good": (group("a", "b", "c"), []),
    "good turns": (group(turns("s: be kind", "u: a", "a: b", "u: c"), turns("a: d"), turns("a: e")), []),
    "document": (group("", "once"), []),
    "empty document": (group("", " \n"), [("empty_completion", "text", EMPTY)]),
    "prompt alone": (group("a"), []),
    "empty prompt": (group(""), [("empty_prompt", "prompt", EMPTY)]),
    "empty prompt of a comparison": (group("", "b", "c"), [("empty_prompt", "prompt", EMPTY)]),
    "white prompt": (group("\t", "b"), [("empty_prompt", "prompt", EMPTY)]),
    "no prompt turns": (group((), turns("a: b"), turns("a: c")), [
        ("empty_prompt", "prompt", "no turns"),
        ("odd_roles", "chosen[0].role", "an assistant turn begins the conversation"),
    ]),
    "empty turn": (group(turns("u:"), turns("a: b")), [("empty_turn", "prompt[0].content", EMPTY)]),
    "empty chosen": (group("a", "", "c"), [("empty_completion", "chosen", EMPTY)]),
    "empty third": (group("a", "b", "c", " "), [("empty_completion", "completions[2]", EMPTY)]),
    "empty reply": (group(ASK, turns("a:"), turns("a: c")), [("empty_completion", "chosen[0].content", EMPTY)]),
    "no turns": (group(ASK, (), turns("a: c")), [("empty_completion", "chosen", "no turns")]),
    "one of several turns": (
        group(ASK, turns("a: b", "u:", "a: c")), [("empty_turn", "completion[1].content", EMPTY)]
    ),
    "silent system and tool": (
        group(turns("s:", "u: a"), (Message("assistant", "", {"tool_calls": [1]}), *turns("t:", "a: b"))), []
    ),
    "equal": (group("a", "b", "b"), [("equal_sides", "", SAME)]),
    "equal turns": (group(ASK, turns("a: b"), turns("a: b")), [("equal_sides", "", SAME)]),
    "three equal": (group("a", "b", "b", "b"), [
        ("equal_sides", "completions", "all are the same text; there is nothing to prefer")
    ]),
    "a tie of equals": (group("a", "b", "b", ranks=(1, 1)), []),
    "two of three equal": (group("a", "b", "b", "c"), []),
    "twice the assistant": (group(turns("u: a", "a: b", "a: c", "u: d"), turns("a: e")), [
        ("odd_roles", "prompt[2].role", "an assistant turn after an assistant turn")
    ]),
    "user after user": (group(turns("u: a", "u: b"), turns("a: e")), [
        ("odd_roles", "prompt[1].role", "a user turn after a user turn")
    ]),
    "system later": (group(turns("u: a", "s: b", "u: c"), turns("a: e")), [
        ("odd_roles", "prompt[1].role", "a system turn after a user turn")
    ]),
    "reply after a reply": (group(turns("u: a", "a: b"), turns("a: c")), [
        ("odd_roles", "completion[0].role", "an assistant turn after an assistant turn")
    ]),
    "tools alternate": (group(ASK, turns("a: look", "t: found", "t: more", "a: b")), []),
    "more than a reply": (group(ASK, turns("a: b", "u: c", "a: d"), turns("a: e")), [("several_turns", "", MORE)]),
    "the same but the last": (group(ASK, turns("a: b", "u: c", "a: d"), turns("a: b", "u: c", "a: e")), []),
    "tools are part of a reply": (
        group(ASK, (Message("assistant", "", {"tool_calls": [1]}), *turns("t: x", "a: d")), turns("a: e")), []
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_with_one_group(case: str) -> None:
    made, expected = CASES[case]
    assert found(made) == expected


def test_a_finding_is_an_error_with_file_line_field_and_fix() -> None:
    (finding,) = row_findings(group("a", "", "c", line=7))
    assert str(finding.error()) == "d.jsonl:7: chosen: empty text: drop the row, or run with --on_bad_row drop"
    assert finding.error().finding == "empty_completion"
    assert str(finding._replace(fix="look", origin=Origin("d.jsonl", 0)).error()) == "d.jsonl: chosen: empty text: look"


def test_every_kind_of_finding_says_what_to_do_at_every_stage() -> None:
    for name, kind in FINDINGS.items():
        assert len(kind.at) == len(STAGES) and set(kind.at) <= set(LETTERS), name
        assert 0 < len(kind.what) < 90 and 0 < len(kind.fix) < 80, name
    assert FINDINGS["empty_completion"].severity("dpo") == "error"
    assert FINDINGS["empty_completion"].severity("evaluate") == "data"


def together(*groups: Group, **how: Any) -> list[tuple[str, int, str]]:
    census = Census(**how)
    for one in groups:
        census.add(one)
    return [(finding.name, finding.origin.line, finding.what) for finding in census.findings()]


def test_the_same_row_again() -> None:
    rows = [group("a", "b", "c", line=line) for line in (1, 2, 3)]
    assert together(*rows) == [
        ("duplicate", 2, "the same as d.jsonl:1 (id g1)"),
        ("duplicate", 3, "the same as d.jsonl:1 (id g1)"),
    ]


def test_another_annotator_or_weightier_word_is_no_duplicate() -> None:
    one, other = group("a", "b", "c", annotator="ann"), group("a", "b", "c", line=2, annotator="bob")
    assert together(one, other) == []
    assert together(group("a", "b"), group("a", "b ", line=2), near=False) == []


def test_a_contradiction_names_both_rows_and_a_hand_that_gave_both() -> None:
    rows = [group("a", "b", "c", line=1), group("a", "c", "b", line=2), group("other", "c", "b", line=3)]
    says = "chosen wins against rejected here (id g2), and loses in d.jsonl:1 (id g1)"
    assert together(*rows) == [("contradiction", 2, says)]
    hand = [group("a", "b", "c", annotator="ann"), group("a", "c", "b", line=2, annotator="ann")]
    assert together(*hand) == [("contradiction", 2, says + ", by the same annotator ann")]


def test_contradictions_between_rankings_and_of_labels() -> None:
    ranked = [group("a", "b", "c", "d"), group("a", "d", "b", "x", line=2)]
    assert together(*ranked) == [
        ("contradiction", 2, "completions[0] wins against completions[1] here (id g2), and loses in d.jsonl:1 (id g1)")
    ]
    up, down = (Judgement(labels=(label,)) for label in (True, False))
    labelled = [group("a", "b", judgements=(up,)), group("a", "b", judgements=(down,), line=2)]
    assert together(*labelled) == [
        ("contradiction", 2, "completion is bad here (id g2), and good in d.jsonl:1 (id g1)")
    ]


def test_people_who_differ_within_a_group_contradict_nobody() -> None:
    split = (Judgement(ranks=(1, 2)), Judgement(ranks=(2, 1)))
    rows = [group("a", "b", "c", judgements=split), group("a", "b", "c", line=2), group("a", "b", "d", line=3)]
    assert together(*rows) == []


def test_turns_and_the_same_words_as_text_are_not_the_same() -> None:
    assert digests(group("hello", "b")) != digests(group(turns("u: hello"), turns("a: b")))
    one, other = turns("u: a", "a: b"), turns("u: a\0assistant\0\0b")
    assert digests(group(one)).prompt == digests(group(one, line=5)).prompt != digests(group(other)).prompt


def test_prompts_on_both_sides() -> None:
    train, held = Repeats(), Repeats()
    for line, prompt in enumerate(["a", "b", "a", "c"], 1):
        train.add(made := group(prompt, "x", "y", line=line), digests(made))
    for line, prompt in enumerate(["c", "z", "a"], 1):
        made = dataclasses.replace(group(prompt, "q", line=line), source=Origin("held.jsonl", line))
        held.add(made, digests(made))
    shared = list(train.shared(held))
    assert [(one.origin.line, one.what) for one in shared] == [
        (1, "the prompt is held out too: held.jsonl:3 (id g3)"),
        (4, "the prompt is held out too: held.jsonl:1 (id g1)"),
    ]


def long_text(seed: int, words: int) -> str:
    return " ".join(np.random.default_rng(seed).choice(TEXTS, words))


def near(*groups: Group) -> list[int]:
    looked = Near()
    for number, one in enumerate(groups):
        looked.add(one, number)
    return [finding.origin.line for finding in looked.findings()]


def test_nearly_the_same_text_is_found_and_a_different_answer_is_not() -> None:
    prompt, answer = long_text(1, 60), long_text(2, 60)
    base = group(prompt, answer, long_text(3, 60))
    changed = group(prompt + " please", answer.upper() + ".", long_text(3, 60), line=2)
    other_answer = group(prompt, long_text(4, 60), long_text(5, 60), line=3)
    other_prompt = group(long_text(6, 60), answer, long_text(3, 60), line=4)
    assert near(base, changed, other_answer, other_prompt) == [2]


def test_short_and_empty_texts() -> None:
    assert near(group("Hi", "Yes"), group("Hi", "No", line=2), group("Hi", "Yes", line=3)) == [3]
    assert near(group("", "once upon a time"), group("", "once upon a time", line=2), group("?", line=3)) == [2]
    assert signatures([b"", b"abc", b"abcdefgh", b"abcdefghi"]).shape == (4, BINS)


def test_signatures_estimate_how_much_two_texts_share() -> None:
    """Texts of 1000 pieces of which a known share is the same; the standard error is 0.07."""
    shares = []
    for seed in range(30):
        draw = np.random.default_rng(seed)
        one = draw.integers(97, 123, 3000, dtype=np.uint8).tobytes()
        other = one[:1500] + draw.integers(97, 123, 1500, dtype=np.uint8).tobytes()
        left, right = signatures([one, other])
        shares.append(float((left == right).mean()))
    assert abs(np.mean(shares) - 1 / 3) < 0.05  # 1500 pieces of 4500 different ones


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=8))
def test_a_signature_does_not_depend_on_the_texts_beside_it(texts: list[bytes]) -> None:
    assert np.array_equal(signatures(texts), np.concatenate([signatures([text]) for text in texts]))


def test_length_bias_by_hand() -> None:
    bias = length_bias([3, -1, 2, 0], [1, 2, 3, 4], [1, 1, 1, 1])
    assert bias is not None and bias.pairs == 4
    assert bias.longer_wins.mean == pytest.approx((1 + 0 + 1 + 0.5) / 4)
    assert bias.difference.mean == pytest.approx(1.0)
    assert not bias.found  # four pairs say nothing
    assert length_bias([], [], []) is None


def test_length_bias_is_found_where_the_interval_leaves_out_one_half() -> None:
    sixty, fifty = ([1] * n + [-1] * (500 - n) for n in (300, 250))
    ones, prompts = np.ones(500), np.arange(500)
    lopsided, even = length_bias(sixty, prompts, ones), length_bias(fifty, prompts, ones)
    assert lopsided is not None and even is not None
    assert (lopsided.found, even.found) == (True, False)
    # Wilson's interval of 300 of 500: (0.5564, 0.6420), as statsmodels' proportion_confint gives it
    assert lopsided.longer_wins.interval == pytest.approx((0.5564, 0.6420), abs=1e-4)
    assert lopsided.say("words").startswith("the longer completion wins 60.0 % of 500 pairs (55.6 to 64.2 %); the pref")
    few = length_bias(sixty, prompts // 100, ones)  # all pairs of five prompts: nothing is sure
    assert few is not None and few.longer_wins.interval.low < lopsided.longer_wins.interval.low


def test_bias_of_lengths_is_that_of_the_groups() -> None:
    measures = Measures("characters")
    for line in range(30):
        measures.add(group("a", "longer", "short", line=line), 1, (6, 5), line)
    bias = measures.bias()
    assert bias is not None and bias.found and (bias.longer_wins.mean, bias.difference.mean) == (1.0, 1.0)
    assert math.isfinite(bias.longer_wins.interval.low)
    assert measures.to_json()["together"] == {"least": 7, "50%": 7, "95%": 7, "99%": 7, "most": 7}


def test_one_of_several_annotators_who_gave_most() -> None:
    assert imbalance_findings(Counter(ann=30, bob=10), "d.jsonl")[0].what == (
        "ann gave 30 of 40 judgements (75 %) of 2 annotators"
    )
    assert imbalance_findings(Counter(ann=20, bob=20), "d") == []
    assert imbalance_findings(Counter(ann=40), "d") == []
    assert imbalance_findings(Counter(ann=9, bob=1), "d") == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50), st.integers(1, 20))
def test_a_histogram_counts_every_length_once(values: list[int], bars: int) -> None:
    drawn = histogram(np.array(values), bars=bars)
    assert sum(drawn.counts) == len(values) and len(drawn.counts) <= bars
    assert str(drawn.width).rstrip("0") in ("1", "2", "5")
    assert drawn.counts[0] == sum(value < drawn.width for value in values) or len(drawn.counts) == 1


def test_what_a_group_holds() -> None:
    up = (Judgement(labels=(True,)),)
    kinds = [
        group("a", "b", "c"), group("a", "b", "c", "d"), group("a", "b", judgements=up), group("a", "b"),
        group("", "b"), group("a"), group("a", "b", "c", judgements=()),
    ]  # fmt: skip
    expected = ["comparison", "ranking", "label", "demonstration", "document", "prompt", "unjudged"]
    assert [holds(one) for one in kinds] == expected
    census = Census(near=False)
    assert census.stage is None
    for one in kinds:
        census.add(one)
    assert (census.groups, census.judgements, census.stage) == (7, 3, "dpo")


def test_the_odd_rows_of_real_data(shared_data: Any) -> None:
    """Those that the README of the data names, by their flags."""
    path: Path = shared_data("hh_harmless.jsonl.gz")
    lines: dict[str, list[int]] = {}
    for made in read_groups(str(path)):
        for finding in row_findings(made):
            lines.setdefault(finding.name, []).append(finding.origin.line)
    assert lines["empty_completion"] == [67, 388, 691, 828]
    assert lines["several_turns"] == [1281, 1497, 1499, 1563]
    assert set(lines["odd_roles"]) - set(lines["several_turns"]) == {499, 571, 996, 1416}
    assert set(lines) == {"empty_completion", "several_turns", "odd_roles"}


def test_findings_of_real_data_together(shared_data: Any) -> None:
    assert together(*read_groups(str(shared_data("hh_harmless.jsonl.gz")))) == [
        ("length_bias", 0, "the longer completion wins 44.4 % of 1,776 pairs (42.1 to 46.7 %); the preferred one is "
                           "42.5 characters shorter on average (-53.8 to -31.3)")
    ]  # fmt: skip


def test_a_finding_has_its_kind() -> None:
    assert Finding("duplicate", Origin("d", 1), "x").kind is FINDINGS["duplicate"]


def test_what_a_stage_takes_keeps_the_names_of_its_row() -> None:
    whole = group("a", "b", " ", ranks=(1, 2))
    best = dataclasses.replace(whole, completions=whole.completions[1:], judgements=())
    assert [one.field for one in taken_findings(whole, best)] == ["rejected"]
    assert [one.field for one in taken_findings(whole, whole)] == ["rejected"]
    joined = dataclasses.replace(whole, prompt="", completions=(Completion(""),), judgements=())
    assert [one.field for one in taken_findings(whole, joined)] == ["text"]
