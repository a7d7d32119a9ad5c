"""The demo's world: what it writes it also reads, every score can be worked out by hand, and no trick pays."""

import math
import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.data.formats import find_format, to_group
from accord.demo import words, world
from accord.demo.world import (
    best_accuracy,
    comparisons,
    demonstrations,
    documents,
    is_grammatical,
    preference,
    prompts,
    sentence_value,
    sentiment,
)
from accord.records import Origin

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
    asked = prompts(1)[:20]
    assert documents(5, seed=1) == documents(5, seed=1) != documents(5, seed=2)
    assert prompts(1) == prompts(1) != prompts(2)
    assert demonstrations(asked, seed=1) == demonstrations(asked, seed=1) != demonstrations(asked, seed=2)
    written = [documents(4, seed=i) for i in range(20)]
    assert (
        comparisons(asked, written, seed=1)
        == comparisons(asked, written, seed=1)
        != comparisons(asked, written, seed=2)
    )


def test_prompts_are_all_different() -> None:
    assert len({prompt.text for prompt in prompts(0)}) == len(prompts(0)) == 5 * 12 * 8 * 8


def test_demonstrations_speak_of_what_was_asked() -> None:
    asked = prompts(0)[:200]
    named = 0
    for prompt, row in zip(asked, demonstrations(asked, seed=0), strict=True):
        assert row["prompt"] == [{"role": "user", "content": prompt.text}]
        ((role, text),) = [(turn["role"], turn["content"]) for turn in row["completion"]]
        assert role == "assistant" and sentiment(text) > -1.0
        other_titles = set(re.findall(r"The [A-Z][a-z]+ [A-Z][a-z]+", text)) - {prompt.title}
        assert not other_titles
        named += prompt.title in text
    assert named > 100


def test_rows_are_groups() -> None:
    asked = prompts(0)[:2]
    rows = demonstrations(asked, seed=0) + comparisons(asked, [documents(4, seed=i) for i in range(2)], seed=0)
    groups = [to_group(find_format(row, Origin("demo", 1)), row, Origin("demo", 1)) for row in rows]
    assert [len(group.completions) for group in groups] == [1, 1, 4, 4]
    assert sorted(groups[2].judgements[0].ranks or ()) == [1, 2, 3, 4]


def test_equal_texts_are_shown_once() -> None:
    asked = prompts(0)[:2]
    (row,) = comparisons(asked, [["a", "a"], ["a", "b", "a"]], seed=0)
    assert row["prompt"] == asked[1].turns
    assert [completion[0]["content"] for completion in row["completions"]] == ["a", "b"]


def test_preference_by_hand() -> None:
    # 2/3 against 1/3 over a temperature of 1/3: sigma(1); one in ten is a coin.
    first, second = "The plot was gripping.", "The plot was funny."
    assert preference(first, second, temperature=1 / 3, noise=0.0) == pytest.approx(1 / (1 + math.exp(-1)))
    assert preference(first, second, temperature=1 / 3, noise=0.1) == pytest.approx(0.9 / (1 + math.exp(-1)) + 0.05)
    assert preference(first, first) == pytest.approx(0.5)


def test_the_best_accuracy_by_hand() -> None:
    # First row: sigma((2/3 - 1/3) / (1/3)). Second row: three pairs, two of them as in the first, one of equals.
    asked, other = prompts(0)[:2]
    texts = ["The plot was funny.", "The plot was gripping.", "The hero was funny."]
    rows = comparisons([asked, other], [texts[:2], texts], seed=0)
    sure = 1 / (1 + math.exp(-1))
    expected = (sure + (2 * sure + 0.5) / 3) / 2
    assert best_accuracy(rows, temperature=1 / 3, noise=0.0) == pytest.approx(expected)


def test_annotators_follow_their_probabilities() -> None:
    texts = ["The plot was good.", "The plot was not good.", "The plot was funny, and the hero was weak.", "The plot."]
    asked = [prompts(0)[0]] * 4000
    rows = comparisons(asked, [texts] * 4000, seed=0, temperature=0.5, noise=0.2)
    wins = Counter((i, j) for row in rows for i in range(4) for j in range(4) if row["ranks"][i] < row["ranks"][j])
    for i in range(4):
        for j in range(i):
            expected = preference(texts[i], texts[j], temperature=0.5, noise=0.2)
            # Three standard errors of 4,000 draws are at most 0.024.
            assert wins[i, j] / 4000 == pytest.approx(expected, abs=0.024)
