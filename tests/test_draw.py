"""How a token is drawn: cumulative sums, cuts and log-probabilities, against stock warpers and numbers by hand."""

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from accord.models.draw import WHOLE, Drawing, draw, inverse, kept
from accord.models.streams import AHEAD, Streams

LAST = 1.0 - 2.0**-53  # the greatest number below 1


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def logits(rows: int, words: int, *, seed: int = 0, spread: float = 2.0) -> Tensor:
    return spread * torch.randn(rows, words, generator=torch.Generator().manual_seed(seed))


def test_a_number_falls_on_the_word_whose_part_of_the_sum_holds_it() -> None:
    weights = torch.tensor([[1.0, 2.0, 3.0, 4.0]])  # of 10: up to 0.1, 0.3, 0.6, 1
    found = [int(inverse(weights, numbers(u))) for u in (0.0, 0.09, 0.11, 0.29, 0.31, 0.59, 0.61, LAST)]
    assert found == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("words", [1, 3, 255, 256, 257, 1000, 1024])
def test_every_word_gets_its_share(words: int) -> None:
    """Of n numbers spread evenly over [0, 1) a word of probability p gets n p, give or take one at either border."""
    p = logits(1, words).softmax(-1)
    n = 20_000
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    counts = torch.bincount(inverse(p.expand(n, words), u), minlength=words)
    assert (counts - n * p[0].double()).abs().max() <= 1.01


def test_a_word_without_weight_is_never_drawn() -> None:
    weights = torch.zeros(1, 700)
    weights[0, [5, 300, 690]] = 1e-30
    assert [int(inverse(weights, numbers(u))) for u in (0.0, 0.34, LAST)] == [5, 300, 690]


CUTS: dict[str, tuple[Drawing, list[Any]]] = {
    "top_k": (Drawing(top_k=5), [transformers.TopKLogitsWarper(5)]),
    "top_k beyond": (Drawing(top_k=5000), [transformers.TopKLogitsWarper(5000)]),
    "top_p": (Drawing(top_p=0.8), [transformers.TopPLogitsWarper(0.8)]),
    "min_p": (Drawing(min_p=0.05), [transformers.MinPLogitsWarper(0.05)]),
    "all": (
        Drawing(top_k=40, top_p=0.9, min_p=0.02),
        [transformers.TopKLogitsWarper(40), transformers.TopPLogitsWarper(0.9), transformers.MinPLogitsWarper(0.02)],
    ),
}


@pytest.mark.parametrize("spread", [0.05, 2.0, 9.0])  # 0.05: 0.8 of the sum takes far more than 512 words
@pytest.mark.parametrize("name", CUTS)
def test_cuts_are_those_of_stock(name: str, spread: float) -> None:
    drawing, warpers = CUTS[name]
    z = logits(6, 1500, seed=3, spread=spread)
    found = kept(z.softmax(-1), drawing)
    for warper in warpers:
        z = warper(torch.zeros(6, 1), z)
    torch.testing.assert_close(found / found.sum(-1, keepdim=True), z.softmax(-1), rtol=1e-4, atol=1e-9)
    assert torch.equal(found > 0, z.softmax(-1) > 0)


def test_of_equal_words_the_first_stay() -> None:
    """bf16 networks give many equal logits; a cut keeps as many words as it says all the same."""
    p = torch.tensor([[0.1, 0.3, 0.3, 0.3]])
    assert (kept(p, Drawing(top_k=2)) > 0).tolist() == [[False, True, True, False]]
    assert (kept(p, Drawing(top_p=0.5)) > 0).tolist() == [[False, True, True, False]]
    assert (kept(p, Drawing(min_p=1.0)) > 0).tolist() == [[False, True, True, True]]
    assert (kept(p, Drawing(top_p=1e-9)) > 0).tolist() == [[False, True, False, False]]


@pytest.mark.parametrize("drawing", [WHOLE, Drawing(0.7), Drawing(1.5, top_k=3), Drawing(0.9, top_p=0.5, min_p=0.1)])
def test_log_probabilities_are_those_of_which_nothing_is_cut_off(drawing: Drawing) -> None:
    z = logits(50, 300)
    found = draw(z.clone(), torch.rand(50, dtype=torch.float64), drawing)
    truth = (z.double() / drawing.temperature).log_softmax(-1).gather(1, found.ids[:, None]).squeeze(1)
    torch.testing.assert_close(found.logp.double(), truth, rtol=1e-5, atol=1e-5)


def test_greedy_takes_the_most_probable_word_and_says_its_log_probability_at_temperature_one() -> None:
    z = logits(50, 300)
    found = draw(z.clone(), torch.rand(50, dtype=torch.float64), Drawing(temperature=0.0, top_k=3))
    assert torch.equal(found.ids, z.argmax(-1))
    torch.testing.assert_close(found.logp, z.log_softmax(-1).amax(-1), rtol=1e-5, atol=1e-6)


def test_a_cut_changes_nothing_but_what_it_cuts_off() -> None:
    """The words that stay are drawn in the proportions that they had."""
    p = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log()
    n = 7000
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    found = draw(p.repeat(n, 1), u, Drawing(top_k=2))
    assert torch.bincount(found.ids, minlength=4).tolist() == [0, 0, 3000, 4000]
    torch.testing.assert_close(found.logp.exp().unique(), torch.tensor([0.3, 0.4]))


def tokens(*ids: int) -> np.ndarray:
    return np.array(ids, dtype=np.int32)


def test_a_stream_follows_from_seed_prompt_and_number_alone() -> None:
    one, other = tokens(3, 4, 5), tokens(3, 4)
    beside = Streams(1, [one, one, other], [0, 1, 0])
    seen = np.stack([beside.next() for _ in range(2 * AHEAD + 3)])
    for row, (prompt, number) in enumerate([(one, 0), (one, 1), (other, 0)]):
        alone = Streams(1, [prompt.astype(np.int64)], [number])
        assert [alone.next()[0] for _ in range(2 * AHEAD + 3)] == seen[:, row].tolist()
    assert len(np.unique(seen)) == seen.size
    assert Streams(2, [one], [0]).next()[0] != seen[0, 0]
    assert 0.0 <= seen.min() and seen.max() < 1.0


def test_streams_go_on_when_others_leave() -> None:
    prompts = [tokens(i) for i in range(4)]
    all_on, some = Streams(7, prompts, [0] * 4), Streams(7, prompts, [0] * 4)
    for step in range(AHEAD + 5):
        if step == 3:
            some.keep(np.array([3, 1]))
        expected, found = all_on.next(), some.next()
        assert found.tolist() == (expected[[3, 1]] if step >= 3 else expected).tolist()
