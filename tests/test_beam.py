"""Beam search against stock, and against everything that there is where it can be enumerated."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from transformers import GenerationConfig

from accord.errors import Diverged, InputError
from accord.models.beam import beam_search
from accord.models.logprobs import LanguageModel

PROMPT = tiny.group(9, [1], seed=4).prompt
END = 2
NETWORKS: dict[str, Any] = {
    "llama": tiny.llama,
    "gemma2": tiny.gemma2,
    "gpt2": tiny.gpt2,
    "t5": tiny.t5,
    "bart": tiny.bart,
}


@torch.no_grad()
def stock(network: Any, beams: int, tokens: int, penalty: float) -> tuple[list[list[int]], list[float]]:
    wanted = GenerationConfig(
        num_beams=beams, num_return_sequences=beams, do_sample=False, max_new_tokens=tokens, eos_token_id=END,
        pad_token_id=0, length_penalty=penalty, early_stopping="never", output_scores=True,
        return_dict_in_generate=True, decoder_start_token_id=getattr(network.config, "decoder_start_token_id", None),
    )  # fmt: skip
    network.generation_config = GenerationConfig()
    row = torch.from_numpy(PROMPT.astype(np.int64))[None]
    made = network.generate(row, attention_mask=torch.ones_like(row), generation_config=wanted)
    first = 1 if network.config.is_encoder_decoder else row.shape[1]
    rows = [ids[first:].tolist() for ids in made.sequences]
    ended = [ids[: ids.index(END) + 1] if END in ids else ids for ids in rows]
    return ended, made.sequences_scores.tolist()


@pytest.mark.parametrize("penalty", [1.0, 0.0, -0.5])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_completions_are_those_of_stock(name: str, penalty: float) -> None:
    network = NETWORKS[name]()
    found = beam_search(LanguageModel(network), PROMPT, beams=5, max_new_tokens=12, ends={END}, length_penalty=penalty)
    ids, scores = stock(network, 5, 12, penalty)
    assert [one.sample.ids.tolist() for one in found] == ids
    assert [one.score for one in found] == pytest.approx(scores, abs=1e-4)
    assert [one.sample.ended for one in found] == [END in row for row in ids]


def test_with_a_beam_for_everything_the_best_of_everything_is_found() -> None:
    """Seven words, three places: 7 + 6 * 7 + 36 * 7 completions, each computed as one plain row."""
    network = tiny.llama(vocab_size=7, pad_token_id=None)
    prompt = np.array([3, 5, 1, 6], dtype=np.int32)
    truth = {}
    for length, words in ((n, words) for n in (1, 2, 3) for words in product(range(7), repeat=n)):
        if END in words[:-1] or (words[-1] != END and length < 3):
            continue
        row = torch.tensor([[*prompt.tolist(), *words]])
        with torch.no_grad():
            logp = network(row).logits[0].log_softmax(-1)
        total = sum(float(logp[len(prompt) - 1 + i, word]) for i, word in enumerate(words))
        truth[words] = total / length**0.7
    found = beam_search(LanguageModel(network), prompt, beams=400, max_new_tokens=3, ends={END}, length_penalty=0.7)
    assert len(truth) == len(found) == 1 + 6 + 36 * 7
    expected = sorted(truth.items(), key=lambda item: -item[1])
    assert [tuple(one.sample.ids.tolist()) for one in found[:20]] == [words for words, _ in expected[:20]]
    assert [one.score for one in found] == pytest.approx([score for _, score in expected], abs=1e-4)
    for one in found[:5]:
        assert one.sample.logp.sum() / len(one.sample.ids) ** 0.7 == pytest.approx(one.score, abs=1e-5)


def test_one_beam_is_greedy() -> None:
    network = tiny.llama()
    (found,) = beam_search(LanguageModel(network), PROMPT, beams=1, max_new_tokens=10, ends=())
    row = PROMPT.tolist()
    for _ in range(10):
        with torch.no_grad():
            row.append(int(network(torch.tensor([row])).logits[0, -1].argmax()))
    assert found.sample.ids.tolist() == row[len(PROMPT) :]
    assert not found.sample.ended


def test_what_cannot_be_searched() -> None:
    model = LanguageModel(tiny.gpt2(n_positions=9))
    assert beam_search(model, PROMPT, beams=2, max_new_tokens=5, ends={END}) == []  # no place is left
    with pytest.raises(InputError, match="no tokens to go on from"):
        beam_search(model, PROMPT[:0], beams=2, max_new_tokens=5, ends={END})
    broken = tiny.llama()
    broken.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(Diverged, match="logits are not finite"):
        beam_search(LanguageModel(broken), PROMPT, beams=2, max_new_tokens=5, ends={END})
