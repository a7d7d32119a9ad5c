"""Diversity, self-BLEU, repetition and the warnings made of them: by hand, laws, and what collapse looks like."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accord.data.diversity import cut_alike, distinct, repetition, self_bleu, words_of
from accord.evaluate.collapse import early_warnings
from accord.evaluate.verdicts import Answer
from accord.maths.bleu import bleu, counted
from accord.maths.jackknife import LeftOut, jackknife
from accord.training.displacement import chosen_fall


def test_words_of_any_script() -> None:
    assert words_of("It's 3 p.m.!") == ["it", "'", "s", "3", "p", ".", "m", ".", "!"]
    assert words_of("日本 ok") == ["日", "本", "ok"]


def test_distinct_by_hand() -> None:
    texts = [words_of(text) for text in ("a b a b", "a b c")]
    # Pairs of words: ab, ba, ab; ab, bc: 3 different of 5.
    found = distinct(texts, 2)
    assert found.value == pytest.approx(3 / 5)
    # Without the first: ab, bc of 2; without the second: ab, ba of 3.
    assert found.without.tolist() == pytest.approx([1, 2 / 3])
    assert math.isnan(distinct([["a"], []], 2).value)


def test_bleu_by_hand() -> None:
    def of(text: str, reference: str) -> float:
        return bleu(counted(text.split()), counted(reference.split()))

    assert of("a b c d e", "a b c d e") == pytest.approx(1)
    assert of("a b c", "d e f") == 0
    # p_1 = 2/3; p_2 = (1 + 1) / (2 + 1), p_3 = (0 + 1) / (1 + 1); as long as the reference.
    assert of("a b x", "a b y") == pytest.approx((2 / 3 * 2 / 3 * 1 / 2) ** (1 / 3))
    # A word that comes twice matches once; brevity exp(1 - 4 / 2); p_1 = 1/2, p_2 = (0 + 1) / (1 + 1).
    assert of("a a", "a b c d") == pytest.approx(math.exp(-1) * (1 / 2 * 1 / 2) ** (1 / 2))
    assert of("", "a") == 0


def test_self_bleu_of_the_same_and_of_different_texts() -> None:
    same, different = [["a", "b", "c"]] * 4, [[chr(97 + 3 * i + j) for j in range(3)] for i in range(4)]
    assert self_bleu(same).value == pytest.approx(1) and self_bleu(different).value == 0
    assert math.isnan(self_bleu(same[:1]).value)


def test_some_pairs_stand_for_all() -> None:
    generator = np.random.default_rng(0)
    texts = [[str(word) for word in generator.integers(30, size=20)] for _ in range(60)]
    whole, some = self_bleu(texts, pairs=10_000), self_bleu(texts, pairs=800, seed=1)
    assert some.value == pytest.approx(whole.value, rel=0.1)
    assert self_bleu(texts, pairs=800, seed=1).value == some.value != self_bleu(texts, pairs=800, seed=2).value
    # Leaving a text out is computing it without that text.
    assert whole.without[7] == pytest.approx(self_bleu(texts[:7] + texts[8:], pairs=10_000).value)


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    found = jackknife(LeftOut(values.mean(), (values.sum() - values) / 3))
    assert found.standard_error == pytest.approx(values.std(ddof=1) / 2)


def test_the_interval_of_distinct_holds_the_truth() -> None:
    """200 texts of ten words of a language of 500: the truth is the mean of many such sets."""

    def drawn(generator: np.random.Generator) -> list[list[str]]:
        return [[str(word) for word in text] for text in generator.zipf(1.5, size=(200, 10)).clip(max=500)]

    truth = np.mean([distinct(drawn(np.random.default_rng(1000 + i)), 2).value for i in range(200)])
    held = 0
    for i in range(200):
        low, high = jackknife(distinct(drawn(np.random.default_rng(i)), 2)).interval
        held += low <= truth <= high
    assert 0.9 <= held / 200 <= 1


def test_repetition_by_hand() -> None:
    assert repetition("a b c d e".split()) == 0
    # 4-grams: abab, baba, abab, baba: 2 of 4 are new.
    assert repetition("a b a b a b a".split()) == 0.5
    assert repetition("a b".split()) == 0


def test_the_longer_text_is_cut() -> None:
    assert cut_alike("a b c".split(), "d e".split()) == (["a", "b"], ["d", "e"])


def answers(model: str, texts: list[str], ended: bool | None = None) -> list[Answer]:
    return [Answer(model, text, ended) for text in texts]


WORDS = "the a cat dog bird tree house runs sees likes green blue old new under over by with then and".split()


def varied(seed: int, count: int = 60, length: int = 30) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, size=length)) for _ in range(count)]


def test_no_warning_of_a_model_like_its_reference() -> None:
    found = early_warnings(answers("new", varied(1), True), answers("old", varied(2), True))
    assert found.warnings == [] and found.n == 60
    assert [drift.name for drift in found.drifts] == [
        "distinct 1-grams", "distinct 2-grams", "self-BLEU", "words", "repeat themselves", "empty", "cut",
    ]  # fmt: skip
    assert found.to_json()["figures"][3]["difference"]["mean"] == 0
    assert found.rows()[3] == {"figure": "words", "new": "30.0 (30.0 to 30.0)", "old": "30.0 (30.0 to 30.0)",
                               "difference": "+0.000 (+0.000 to +0.000)", "": ""}  # fmt: skip


# What goes wrong -> what is said of it.
COLLAPSES: dict[str, tuple[Callable[[str], str], str]] = {
    "one answer": (lambda text: "I am sorry , but I cannot help with that " + text[-12:], "the answers grow alike"),
    "alike": (lambda text: "I am sorry , but I cannot help with that " + text[-12:], "more alike than the reference's"),
    "longer": (lambda text: text + " " + text[::-1], "longer than the reference's"),
    "shorter": (lambda text: text[:40], "shorter than the reference's"),
    "loops": (lambda text: text[:20] * 8, "more answers repeat themselves"),
    "silence": (lambda text: text if hash_of(text) % 4 else "", "more answers are empty: "),
}


def hash_of(text: str) -> int:
    return sum(map(ord, text))


@pytest.mark.parametrize("name", COLLAPSES)
def test_each_kind_of_collapse_is_said(name: str) -> None:
    change, said = COLLAPSES[name]
    reference = varied(2)
    found = early_warnings(answers("new", [change(text) for text in varied(1)]), answers("old", reference))
    assert any(said in line for line in found.warnings), found.warnings


def test_cut_answers_are_counted_where_that_is_known() -> None:
    texts = varied(1, count=20)
    new = [Answer("new", text, i % 2 == 0) for i, text in enumerate(texts)]
    found = early_warnings(new, answers("old", texts, True))
    assert found.warnings == ["more answers are cut: 50.0 % against 0.0 %"]
    assert "cut" not in [drift.name for drift in early_warnings(new, answers("old", texts)).drifts]
    with pytest.raises(ValueError, match="20 answers and 3 of the reference"):
        early_warnings(new, answers("old", texts[:3]))


def test_of_one_or_two_answers_nothing_is_sure() -> None:
    for count in (1, 2):
        found = early_warnings(answers("same", ["a b c d e"] * count), answers("same", ["v w x y z"] * count))
        assert found.warnings == []
        assert list(found.rows()[0])[1:3] == ["same", "same (reference)"]
        assert found.to_json()["figures"][2]["difference"]["interval"] == [None, None]


def lines(key: str, values: list[float]) -> list[dict[str, Any]]:
    return [{"step": i, key: value} for i, value in enumerate(values)]


def test_chosen_answers_that_become_unlikely() -> None:
    steady = [-100.0 + (i % 3) for i in range(30)]
    assert chosen_fall(lines("logps/chosen", steady)) is None
    fall = chosen_fall(lines("logps/chosen", [-100.0 - i for i in range(30)]))
    # The mean of the first ten is -104.5, the median of the last five -127.
    assert fall is not None and (fall.first, fall.now) == (-104.5, -127)
    assert "fell from -104.5 to -127.0 nats" in str(fall)
    # Held-out figures are of the same texts: the first against the last, however few.
    held = chosen_fall([{"step": 0, "eval_logps/chosen": -50.0}, {"step": 9, "eval_logps/chosen": -56.0}])
    assert held is not None and held.held_out
    assert chosen_fall([{"step": 0, "eval_logps/chosen": -50.0}, {"step": 9, "eval_logps/chosen": -52.0}]) is None
    assert chosen_fall(lines("logps/chosen", [-1.0, -90.0])) is None


def test_a_run_that_makes_chosen_answers_unlikely_says_so(
    quick: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """This loss lowers both sides, the chosen one less (D'Oosterlinck et al. 2024)."""
    how = {"loss_type": "apo_down", "beta": 1.0, "learning_rate": 3e-3, "max_steps": 16}
    assert quick("dpo", validation=0.25, eval_steps=8, **how) == 0
    printed = capsys.readouterr()
    assert "the log-probability of chosen answers (held-out) fell from" in printed.out + printed.err
