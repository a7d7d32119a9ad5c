"""The sampler: its numbers are the training engine's for every family, its samples the model's and nobody else's."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from test_adapters import adapted, trained
from test_encoder_decoder import KINDS
from test_families import ATTENTION, OWN_ATTENTION, RECURRENT, odd
from transformers import GenerationConfig

from accord.data.batches import arrange
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.errors import Diverged, InputError
from accord.models import ways
from accord.models.logprobs import LanguageModel, logprobs
from accord.models.roles import seen_as
from accord.models.sample import Drawing, Sampled, StopStrings, ends_of, sample
from accord.records import Group

END = 2
GREEDY = Drawing(temperature=0.0)
# Of one token, of equal lengths, longer than a window of 8.
PROMPTS = [tiny.group(length, [1], seed=seed).prompt for seed, length in enumerate([7, 19, 12, 19, 1, 30])]
# What each family decodes with: an inexact way falls back to a slower one, which a comparison of numbers does not show.
WAYS = {
    **dict.fromkeys([*tiny.NETWORKS, *ATTENTION], "shared"),
    **dict.fromkeys([*RECURRENT, *OWN_ATTENTION], "padded"),
    **dict.fromkeys(KINDS, "beside"),
    "mamba": "equal",
    "odd": "whole",
}
FAMILIES: dict[str, Any] = {**tiny.NETWORKS, **ATTENTION, **RECURRENT, **OWN_ATTENTION, **KINDS, "odd": odd}


def engine(model: LanguageModel, prompts: Sequence[Any], made: list[list[Sampled]], **options: Any) -> np.ndarray:
    """(N,) log-probabilities of the same tokens by what trains."""
    layout: Any = "rows" if model.start is None else "encoder"
    groups = [
        TokenGroup(Group("", "", ()), prompt, tuple(TokenCompletion(one.ids, ((0, len(one.ids)),)) for one in samples))
        for prompt, samples in zip(prompts, made, strict=True)
    ]
    with torch.no_grad():
        found = logprobs(model, arrange(groups, layout, start=model.start), **options)
    return found.token.token.numpy()


def said(made: list[list[Sampled]]) -> np.ndarray:
    return np.concatenate([one.logp for samples in made for one in samples])


@pytest.mark.parametrize("name", FAMILIES)
def test_log_probabilities_are_the_training_engines(name: str) -> None:
    network = FAMILIES[name]()
    model = LanguageModel(network, "rows", "stock" if name == "odd" else "gathered")
    ends = range(END, 90, 6)
    made = sample(model, PROMPTS, count=3, max_new_tokens=14, ends=ends, seed=4, drawing=Drawing(1.3))
    lengths = {len(one.ids) for samples in made for one in samples}
    assert len(lengths) > 2 and max(lengths) > 8  # some left the batch before others, some went beyond a window
    assert ways._FOUND[network].way.name == WAYS[name]
    truth = engine(model, PROMPTS, made, temperature=1.3)
    np.testing.assert_allclose(said(made), truth, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "way"),
    [*product(["llama", "gemma2"], ["padded", "equal", "whole"]), ("t5", "beside"), ("t5", "beside, whole")],
)
def test_every_way_is_exact(name: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower ones too, with the networks' own logits, and where one pass cannot read all prompts."""
    network = FAMILIES[name]()
    kinds = ways.ENCODED if network.config.is_encoder_decoder else ways.DECODERS
    chosen = [one for one in kinds if one.name == way]
    monkeypatch.setattr(ways, "_FOUND", {})
    monkeypatch.setattr(ways, "ENCODED" if network.config.is_encoder_decoder else "DECODERS", chosen)
    monkeypatch.setattr("accord.models.decoding.PASS_TOKENS", {"cpu": 45, "cuda": 45})
    for head in ("gathered", "stock"):
        model = LanguageModel(network, "rows", head)  # type: ignore[arg-type]
        made = sample(model, PROMPTS, count=2, max_new_tokens=9, ends={END}, seed=1)
        np.testing.assert_allclose(said(made), engine(model, PROMPTS, made), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "odd"])
def test_greedy_samples_are_stocks(name: str) -> None:
    network = FAMILIES[name]()
    prompts = [PROMPTS[place] for place in (1, 4, 5)]
    made = sample(LanguageModel(network), prompts, max_new_tokens=12, ends={END}, seed=0, drawing=GREEDY)
    wanted = GenerationConfig(
        do_sample=False, max_new_tokens=12, eos_token_id=END, pad_token_id=0,
        decoder_start_token_id=getattr(network.config, "decoder_start_token_id", None),
    )  # fmt: skip
    network.generation_config = GenerationConfig()
    for prompt, (one,) in zip(prompts, made, strict=True):
        row = torch.from_numpy(prompt.astype(np.int64))[None]
        with torch.no_grad():
            ids = network.generate(row, attention_mask=torch.ones_like(row), generation_config=wanted)[0]
        assert one.ids.tolist() == ids[1 if network.config.is_encoder_decoder else len(prompt) :].tolist()
        assert one.ended == (one.ids[-1] == END)


def alike(one: list[list[Sampled]], other: list[list[Sampled]]) -> bool:
    pairs = zip((x for row in one for x in row), (x for row in other for x in row), strict=True)
    return all(x.ids.tolist() == y.ids.tolist() and np.allclose(x.logp, y.logp, atol=1e-4) for x, y in pairs)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "jamba", "bart"])
def test_what_else_is_sampled_changes_no_sample(name: str) -> None:
    model = LanguageModel(FAMILIES[name]())
    options: dict[str, Any] = {"max_new_tokens": 10, "ends": {END}, "seed": 3}
    made = sample(model, PROMPTS, count=3, **options)
    assert not alike(made, sample(model, PROMPTS, count=3, **{**options, "seed": 4}))
    assert alike(made, sample(model, PROMPTS, count=3, **options, max_rows=2))
    assert alike(made, sample(model, PROMPTS[::-1], count=3, **options)[::-1])
    for prompt, samples in zip(PROMPTS, made, strict=True):
        assert alike([samples[:2]], sample(model, [prompt], count=2, **options))


def test_a_prompt_that_comes_again_goes_on_counting() -> None:
    """The samples of two equal prompts are not equal; together they are those of one prompt with as many."""
    model, prompt = LanguageModel(tiny.llama()), PROMPTS[0]
    options: dict[str, Any] = {"max_new_tokens": 10, "ends": {END}, "seed": 3}
    ((*four,),) = sample(model, [prompt], count=4, **options)
    one, _, other = sample(model, [prompt, PROMPTS[1], prompt.copy()], count=2, **options)
    assert alike([four], [[*one, *other]])
    assert len({tuple(sampled.ids.tolist()) for sampled in four}) == 4


def test_samples_come_as_often_as_they_are_probable() -> None:
    """3,000 samples of two tokens at temperature 0.6: every first token, and every second behind the likeliest."""
    network, n, temperature = tiny.llama(vocab_size=12, pad_token_id=None), 3000, 0.6
    prompt = np.array([5, 3, 9], dtype=np.int32)
    (made,) = sample(
        LanguageModel(network), [prompt], count=n, max_new_tokens=2, ends=(), seed=0, drawing=Drawing(temperature)
    )
    ids = np.stack([one.ids for one in made])
    with torch.no_grad():
        first = (network(torch.tensor([prompt.tolist()])).logits[0, -1] / temperature).softmax(-1).numpy()
        top = int(first.argmax())
        second = (network(torch.tensor([[*prompt.tolist(), top]])).logits[0, -1] / temperature).softmax(-1).numpy()
    behind = ids[ids[:, 0] == top, 1]
    for p, drawn in ((first, ids[:, 0]), (second, behind)):
        counts = np.bincount(drawn, minlength=12)
        spread = np.sqrt(len(drawn) * p * (1 - p))
        assert (np.abs(counts - len(drawn) * p) <= 4 * spread + 1e-9).all()


def test_each_prompt_is_read_once_and_rows_at_their_end_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.llama()
    shapes: list[tuple[int, int]] = []
    network.model.embed_tokens.register_forward_hook(lambda layer, given, found: shapes.append(tuple(given[0].shape)))
    model, prompts = LanguageModel(network), [PROMPTS[1], PROMPTS[3]]
    sample(model, prompts, max_new_tokens=2, ends=(), seed=0)
    shapes.clear()
    made = sample(model, prompts, count=16, max_new_tokens=40, ends=range(0, 90, 20), seed=5)
    assert shapes[0] == (2, 19)
    running = [sum(len(one.ids) > step for samples in made for one in samples) for step in range(1, len(shapes))]
    assert all(width == 1 for _, width in shapes[1:])
    assert all(alive <= rows <= alive * 8 / 7 + 1 for (rows, _), alive in zip(shapes[1:], running, strict=True))
    assert running[-1] < 8 < running[0]


def test_a_sample_is_cut_where_its_own_context_ends() -> None:
    """Learned places: none may be asked for that the table does not have, whoever else goes on."""
    network = tiny.gpt2(n_positions=24)
    told: list[tuple[int, int]] = []
    made = sample(
        LanguageModel(network), PROMPTS[:5], count=2, max_new_tokens=20, ends=(), seed=0,
        advance=lambda ended, tokens: told.append((ended, tokens)),
    )  # fmt: skip
    assert [len(samples[0].ids) for samples in made] == [17, 5, 12, 5, 20]
    assert not any(one.ended for samples in made for one in samples)
    assert [sum(part) for part in zip(*told, strict=True)] == [10, 2 * (17 + 5 + 12 + 5 + 20)]
    np.testing.assert_allclose(said(made), engine(LanguageModel(network, "rows"), PROMPTS[:5], made), atol=1e-4)
    nothing = sample(LanguageModel(tiny.gpt2(n_positions=19)), [PROMPTS[1]], max_new_tokens=5, ends=(), seed=0)[0][0]
    assert len(nothing.ids) == 0 and not nothing.ended


def test_the_network_is_as_it_was() -> None:
    """Dropout is off while it samples, and on again; its attention is its own again."""
    network = tiny.gpt2().train()
    before = network.config._attn_implementation
    model = LanguageModel(network)
    options: dict[str, Any] = {"count": 2, "max_new_tokens": 6, "ends": (), "seed": 0}
    one, other = sample(model, PROMPTS, **options), sample(model, PROMPTS, **options)
    assert alike(one, other)
    assert network.training and network.config._attn_implementation == before
    with LanguageModel(network.eval()).segmented():
        within = sample(model, PROMPTS, **options)
    assert alike(one, within)


@pytest.mark.parametrize("name", ["llama", "gemma2", "jamba", "t5"])
def test_in_half_precision_the_numbers_are_the_engines_within_rounding(name: str) -> None:
    network = FAMILIES[name]().bfloat16()
    model = LanguageModel(network, "rows")
    made = sample(model, PROMPTS, count=2, max_new_tokens=8, ends={END}, seed=1)
    gap = np.abs(said(made) - engine(model, PROMPTS, made))
    assert gap.max() < 0.5 and gap.mean() < 0.05


def test_an_adapter_takes_part() -> None:
    base = tiny.llama()
    plain = sample(LanguageModel(base), PROMPTS, max_new_tokens=8, ends={END}, seed=1, drawing=GREEDY)
    network = trained(adapted(base))
    model = LanguageModel(network, "rows")
    made = sample(model, PROMPTS, max_new_tokens=8, ends={END}, seed=1, drawing=GREEDY)
    np.testing.assert_allclose(said(made), engine(model, PROMPTS, made), atol=1e-4)
    assert not alike(plain, made)


def test_broken_weights_and_empty_prompts_are_named() -> None:
    network = tiny.llama()
    options: dict[str, Any] = {"max_new_tokens": 4, "ends": {END}, "seed": 0}
    with pytest.raises(InputError, match="prompt 2: no tokens to go on from"):
        sample(LanguageModel(network), [PROMPTS[0], PROMPTS[0][:0]], **options)
    network.model.norm.weight.data.fill_(float("nan"))
    for drawing in (GREEDY, Drawing(), Drawing(top_p=0.9)):
        with pytest.raises(Diverged, match="logits are not finite"):
            sample(LanguageModel(network), PROMPTS, **options, drawing=drawing)


def test_the_ends_are_those_of_tokenizer_and_generation_config() -> None:
    network, tokenizer = tiny.llama(), tiny.tokenizer()
    assert ends_of(network, tokenizer) == {2}
    network.generation_config = GenerationConfig(eos_token_id=[7, 9])
    assert ends_of(network, tokenizer) == {2, 7, 9}
    network.generation_config = GenerationConfig(eos_token_id=7)
    assert ends_of(network, tokenizer) == {2, 7}


def test_a_sample_ends_with_the_token_that_completes_a_stop_string() -> None:
    """Wherever tokens cut it: the strings are taken out of what is said without them."""
    tokenizer = tiny.tokenizer()
    model = LanguageModel(tiny.llama(vocab_size=len(tokenizer)))
    options: dict[str, Any] = {"count": 6, "max_new_tokens": 24, "ends": (), "seed": 2}
    plain = sample(model, PROMPTS, **options)
    texts = [tokenizer.decode(one.ids) for samples in plain for one in samples]
    strings = (*(text[9:12] for text in texts[:3]), texts[3][20:21])
    stop = StopStrings(tokenizer, strings)
    made = sample(model, PROMPTS, **options, stop=stop)
    stopped = 0
    for before, one in zip((x for row in plain for x in row), (x for row in made for x in row), strict=True):
        prefixes = [tokenizer.decode(before.ids[:n]) for n in range(1, 25)]
        place = next((n for n, text in enumerate(prefixes, 1) if any(string in text for string in strings)), None)
        assert one.ids.tolist() == before.ids[:place].tolist()
        assert one.ended == (place is not None)
        text = tokenizer.decode(one.ids)
        assert not any(string in stop.cut(text) for string in strings)
        assert text.startswith(stop.cut(text))
        stopped += place is not None and place > 1
    assert stopped >= 4


def test_what_a_stop_string_cuts_off_a_text() -> None:
    stop = StopStrings(tiny.tokenizer(), ("Q:", "\n\n"))
    assert stop.cut("a tale Q: why\n\n") == "a tale "
    assert stop.cut("a tale\n\nQ:") == "a tale"
    assert stop.cut("a tale") == "a tale"
    ids = np.array(tiny.tokenizer()("the cat sat" + "\u00e9" * 40 + "Q:")["input_ids"], dtype=np.int32)
    assert [n for n in range(1, len(ids) + 1) if stop.found(ids[:n])] == [len(ids)]


def test_a_network_that_is_seen_in_a_role_samples_in_it() -> None:
    """The reference of an adapter is its base."""
    plain = sample(LanguageModel(tiny.llama()), PROMPTS, max_new_tokens=8, ends={END}, seed=1)
    network = trained(adapted(tiny.llama()))
    as_policy, as_reference = (
        sample(LanguageModel(seen_as(network, role)), PROMPTS, max_new_tokens=8, ends={END}, seed=1)
        for role in ("policy", "reference")
    )
    assert alike(as_reference, plain)
    assert not alike(as_policy, plain)
