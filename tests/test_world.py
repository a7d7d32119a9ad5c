"""The demo's world: what it writes it also reads, every score can be worked out by hand, and no trick pays."""

import math
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.data.formats import find_format, to_group
from accord.demo import axes, words, world
from accord.demo.annotators import ANNOTATORS, Annotator, asked, best_accuracy, preference
from accord.demo.axes import WORLDS, Weights, brevity, politeness, worth
from accord.demo.world import Style, demonstrations, documents, is_grammatical, prompts, sentence_value, sentiment
from accord.records import Completion, Group, Judgement, Message, Origin

# Sentences and their value times 3.
BY_HAND = {
    "The plot was gripping.": 2.0,
    "The plot is truly gripping.": 2.0 * 1.5,
    "The soup was not good.": -0.5,
    "The soup was hardly bland.": 0.5,
    "The waiter was really rude.": None,  # no word of this world
    "The dining room is quite dreadful.": 0.75 * -2.0,
    "I loved the soup.": 2.0,
    "I really did not like the last chapter.": 1.25 * -0.5,
    "The plot was gripping, but the ending was weak.": (2.0 - 1.0) / 2,
    "The plot was gripping, and I really loved the hero.": (2.0 + 2.5) / 2,
    "The Silver River is an awful film.": -2.0,
    "The Golden Spoon was a nice restaurant.": 1.0,
    "I saw it on Monday with my sister.": 0.0,
    "I would gladly eat there again.": 2.0,
    "I would never recommend The Golden Spoon to my friend.": -2.0,
    "the plot was gripping.": None,  # no capital
    "The plot was gripping": None,  # cut
    "The plot gripping.": None,
    "The Silver River is a awful film.": None,
    "The plot was gripping, but The ending was weak.": None,
    "The plot was gripping, but the ending was weak, and I loved the hero.": None,  # three clauses
    "The Silver River is a nice film, and the plot was gripping.": None,  # that form stands alone
    "The plot was great great great.": None,
    "The  plot was gripping.": None,
    ".": None,
}


@pytest.mark.parametrize("sentence", BY_HAND)
def test_a_sentence_has_the_value_of_its_words(sentence: str) -> None:
    value = BY_HAND[sentence]
    assert sentence_value(sentence) == pytest.approx(-1.0 if value is None else value / 3)
    assert is_grammatical(sentence) == (value is not None)


def test_the_worst_sentence_is_a_sentence() -> None:
    assert sentence_value("The plot was truly awful.") == -1.0 and is_grammatical("The plot was truly awful.")


def test_a_review_is_the_mean_of_its_sentences() -> None:
    assert sentiment("The plot was gripping. I saw it on Monday with my sister.") == pytest.approx(1 / 3)
    assert sentiment("The plot was gripping. The ending") == pytest.approx((2 / 3 - 1) / 2)
    assert sentiment(" The plot was gripping.\nThe plot was gripping. ") == pytest.approx(2 / 3)


@pytest.mark.parametrize("nothing", ["", " \n", "great great great", "...", "<|im_start|>"])
def test_what_says_nothing_is_worst(nothing: str) -> None:
    assert sentiment(nothing) == -1.0


def test_repeating_does_not_pay() -> None:
    best = "The plot was truly superb."
    assert sentiment(best) == sentiment(" ".join([best] * 20)) == 1.0
    assert sentiment(best + " great") < 1.0


@given(st.text())
def test_any_text_has_one_score_within_the_bounds(text: str) -> None:
    assert -1.0 <= sentiment(text) == sentiment(text) <= 1.0


def test_every_sentence_written_is_read_and_means_what_was_meant() -> None:
    chance = random.Random(0)
    for kind in words.KINDS:
        for mood in (-1, 1) * 50:
            review = world.write_review(kind, words.titles(kind)[0], mood, chance)
            values = [sentence_value(sentence) for sentence in re.findall(r"[^.]+\.", review)]
            assert -1.0 <= min(values) and all(value * mood > 0 or value == 0.0 for value in values), review
            assert 2 <= len(values) <= 4 and sentiment(review) == pytest.approx(sum(values) / len(values))


def test_no_clause_is_worth_more_than_the_unit() -> None:
    largest = max(
        math.prod(
            max(map(abs, world.SLOTS[slot].values())) for slot in re.findall(r"\{(\w+)\}", form) if slot != "article"
        )
        for form in world.JOINED + world.ALONE
    )
    assert largest == world.BEST_CLAUSE


def test_a_word_says_the_same_everywhere() -> None:
    for taken in words.OPINIONS.values():
        assert all(world.SLOTS["opinion"][word] == value for word, value in taken.items())


def test_documents_are_varied_and_balanced() -> None:
    headings, written = zip(*(text.split("\n") for text in documents(1000, seed=3)), strict=True)
    assert 300 < len(set(headings)) <= len(world.SLOTS["title"])
    scores = [sentiment(text) for text in written]
    assert len(set(written)) > 990
    assert abs(sum(scores) / 1000) < 0.05 and sum(score < -0.3 for score in scores) > 150 < sum(s > 0.3 for s in scores)
    assert 150 < len(set(re.findall(r"[A-Za-z]+", " ".join(written)))) < 500


def test_a_document_speaks_of_what_its_heading_names() -> None:
    for heading, review in (text.split("\n") for text in documents(200, seed=1)):
        title = heading.removeprefix("The ").partition(" ")[2]
        assert set(re.findall(r"The [A-Z][a-z]+ [A-Z][a-z]+", review)) <= {title}


def test_all_is_a_function_of_the_seed() -> None:
    some = prompts(1)[:20]
    assert documents(5, seed=1) == documents(5, seed=1) != documents(5, seed=2)
    assert prompts(1) == prompts(1) != prompts(2)
    assert demonstrations(some, seed=1) == demonstrations(some, seed=1) != demonstrations(some, seed=2)
    groups = [group(*documents(4, seed=i)) for i in range(20)]
    assert judged(groups, "1") == judged(groups, "1") != judged(groups, "2")


def test_prompts_are_all_different() -> None:
    assert len({prompt.text for prompt in prompts(0)}) == len(prompts(0)) == 5 * 12 * 8 * 8


def test_demonstrations_speak_of_what_was_asked() -> None:
    some = prompts(0)[:200]
    named = 0
    for prompt, row in zip(some, demonstrations(some, seed=0), strict=True):
        assert row["prompt"] == [{"role": "user", "content": prompt.text}]
        ((role, text),) = [(turn["role"], turn["content"]) for turn in row["completion"]]
        assert role == "assistant" and sentiment(text) > -1.0
        other_titles = set(re.findall(r"The [A-Z][a-z]+ [A-Z][a-z]+", text)) - {prompt.title}
        assert not other_titles
        named += prompt.title in text
    assert named > 100


def test_rows_are_groups() -> None:
    rows = demonstrations(prompts(0)[:2], seed=0)
    found = [to_group(find_format(row, Origin("demo", 1)), row, Origin("demo", 1)) for row in rows]
    assert [len(one.completions) for one in found] == [1, 1]


# Manners, brevity, and what a text is worth


@pytest.mark.parametrize(
    ("text", "manners"),
    [
        ("Thank you for your question. The plot was gripping.", 1.0),
        ("The plot was gripping. Stop wasting my time.", -1.0),
        ("It is a pleasure to answer. The plot was gripping. Do not ask me again.", 0.0),
        ("The plot was gripping.", 0.0),
        (
            "Thank you for your question. The plot was gripping. The plot",
            (2 * 1.0 - 1) / 3,
        ),  # one of three is unreadable
        ("Thank you for your question.", -1.0),  # nothing is reviewed
        ("", -1.0),
    ],
)
def test_politeness_by_hand(text: str, manners: float) -> None:
    assert politeness(text) == pytest.approx(manners)


def test_manners_say_nothing_of_liking() -> None:
    assert sentiment("What a silly question. The plot was gripping.") == pytest.approx(2 / 3)
    assert is_grammatical("What a silly question.") and sentiment("What a silly question.") == -1.0


def test_brevity_by_hand() -> None:
    assert brevity("The plot was gripping.") == 1.0  # 4 words
    twenty_eight = " ".join(["The plot was gripping."] * 7)
    assert brevity(twenty_eight) == pytest.approx(1 - 2 * (28 - axes.BRIEF) / (axes.LONG - axes.BRIEF))
    assert brevity(" ".join([twenty_eight] * 3)) == -1.0
    assert brevity("The plot") == brevity("") == -1.0
    assert brevity("The plot was gripping. The plot") == pytest.approx((1.0 - 1.0) / 2)


def test_worth_is_the_weighted_mean() -> None:
    text = "Thank you for your question. The plot was gripping."
    assert worth(text, Weights(0.5, 0.3, 0.2)) == pytest.approx(0.5 * 2 / 3 + 0.3 * 1.0 + 0.2 * 0.95)  # 9 words
    assert worth(text, WORLDS["sentiment"]) == pytest.approx(2 / 3)
    assert all(sum(weights) == pytest.approx(1.0) for weights in WORLDS.values())


@pytest.mark.parametrize("weights", WORLDS.values(), ids=WORLDS)
def test_nothing_unreadable_beats_the_worst_review(weights: Weights) -> None:
    assert all(worth(text, weights) == pytest.approx(-1.0) for text in ("", "great great", "The plot was", "..."))


@given(st.text())
def test_any_text_has_one_worth_in_every_world(text: str) -> None:
    assert all(-1.0 <= worth(text, weights) == worth(text, weights) <= 1.0 for weights in WORLDS.values())


@pytest.mark.parametrize(("style", "axis"), [(Style(manners=True), politeness), (Style(lengths=True), brevity)])
def test_the_texts_of_a_world_differ_in_its_axis_and_are_read(style: Style, axis: Callable[[str], float]) -> None:
    written = [text.split("\n")[1] for text in documents(400, 0, style)]
    assert all(is_grammatical(sentence) for text in written for sentence in world.sentences(text))
    values = [axis(text) for text in written]
    assert sum(value > 0.5 for value in values) > 80 and sum(value < -0.2 for value in values) > 20


# Annotators

SURE = Annotator("Ann", temperature=1 / 3, blind=0.0, first=0.0)


def group(*texts: str) -> Group:
    return Group("1", (Message("user", "?"),), tuple(Completion((Message("assistant", text),)) for text in texts))


def judged(groups: list[Group], seed: str) -> list[Group]:
    return list(asked(groups, WORLDS["sentiment"], seed))


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_equal_texts_are_shown_once() -> None:
    (found,) = judged([group("a", "a"), group("a", "b", "a")], "0")
    assert [one.content[0].content for one in found.completions] == ["a", "b"]  # type: ignore[union-attr]


def test_every_group_has_the_judgements_of_two_different_annotators() -> None:
    found = judged([group("a", "b", "c")] * 50, "0")
    assert all(len({one.annotator for one in each.judgements}) == 2 for each in found)
    assert {one.annotator for each in found for one in each.judgements} == {one.name for one in ANNOTATORS}
    assert len({one.shown for each in found for one in each.judgements}) == 6  # all orders of three


def test_preference_by_hand() -> None:
    # 1/3 over a temperature of 1/3: log-odds 1; one in ten is not read, and being first is worth 2 also then.
    assert preference(SURE, 1 / 3) == pytest.approx(logistic(1))
    biased = Annotator("Ben", temperature=1 / 3, blind=0.1, first=2.0)
    assert preference(biased, 1 / 3, 1) == pytest.approx(0.9 * logistic(3) + 0.1 * logistic(2))
    assert preference(biased, 1 / 3, -1) == pytest.approx(0.9 * logistic(-1) + 0.1 * logistic(-2))
    assert preference(biased, 1 / 3, 0) == pytest.approx(0.9 * logistic(1) + 0.1 * 0.5)


def test_the_best_accuracy_by_hand() -> None:
    # Worths 1/3, 2/3, 1/3. Of three pairs two have log-odds 1, and one is a coin.
    texts = ["The plot was funny.", "The plot was gripping.", "The hero was funny."]
    shown = Judgement(ranks=(1, 2, 3), annotator="Ann", shown=(1, 2, 3))
    groups = [replace(group(*texts[:2]), judgements=(replace(shown, ranks=(1, 2), shown=(1, 2)),))]
    groups.append(replace(group(*texts), judgements=(shown,)))
    expected = (logistic(1) + (2 * logistic(1) + 0.5) / 3) / 2
    assert best_accuracy(groups, WORLDS["sentiment"], annotators=[SURE]) == pytest.approx(expected)
    # What is worth less stands first, which is worth as much as it lacks: a coin.
    biased = SURE._replace(first=1.0)
    assert best_accuracy(groups[:1], WORLDS["sentiment"], annotators=[biased]) == pytest.approx(0.5)


def test_annotators_follow_their_probabilities() -> None:
    texts = ["The plot was good.", "The plot was not good.", "The plot was funny, and the hero was weak.", "The plot."]
    annotator = Annotator("Ann", temperature=0.5, blind=0.2, first=1.5)
    found = asked([group(*texts)] * 12000, WORLDS["sentiment"], "0", each=1, annotators=[annotator])
    wins, seen = Counter[tuple[int, int, int]](), Counter[tuple[int, int, int]]()
    for each in found:
        (said,) = each.judgements
        for i, j in permutations(range(4), 2):
            place = (said.shown[i] == 1) - (said.shown[j] == 1)  # type: ignore[index]
            seen[i, j, place] += 1
            wins[i, j, place] += said.ranks[i] < said.ranks[j]  # type: ignore[index]
    for (i, j, place), count in seen.items():
        expected = preference(annotator, sentiment(texts[i]) - sentiment(texts[j]), place)
        assert count > 2500
        # Four standard errors of 3,000 draws are at most 0.037.
        assert wins[i, j, place] / count == pytest.approx(expected, abs=0.037)
