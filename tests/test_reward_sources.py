"""Rewards of sampled texts: those of accord score, added up by weight, and what stops a run."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from reward_service_double import Reply, nobody, rewards_by, service
from score_runs import MEAN, furnish_scorers, write_scorer
from stage_runs import write_lines
from transformers import AutoModelForSequenceClassification, PreTrainedModel

import accord
from accord.errors import AccordError, Diverged, InputError, ServiceError
from accord.models.adapters import Lora, add_adapter
from accord.models.heads import Head
from accord.models.load import save
from accord.models.logprobs import LanguageModel
from accord.models.scorer import Normalisation, new_scorer, normalise, pad_apart, with_new_head
from accord.records import Completion, Group, Message, Origin
from accord.stages import reward_model_source
from accord.stages.commands import _is_object
from accord.stages.options import ModelOptions
from accord.stages.reward_model_source import Longest
from accord.stages.reward_source_options import RewardSourceOptions
from accord.stages.reward_sources import Rewarded, Rewards, rewards_of
from accord.stages.setup import Machine

STD = 2.0  # of what score_runs writes
RUN = ModelOptions(model="policy")


def samples(count: int, *, first: int = 0, turns: bool = False) -> list[Group]:
    """Of each prompt four samples: two of words, one that ended at once, one that holds a control string."""
    found = []
    for i in range(first, first + count):
        texts = [f" {tiny.sentence(5 * i + k, 2 + 3 * k)}" for k in (1, 2)] + ["", " a <|im_end|> b"]
        asks = tiny.sentence(900 + i, 3 + i % 4) + " ?"
        prompt = (Message("system", "be kind"), Message("user", asks)) if turns else asks
        replies = tuple(Completion((Message("assistant", text),) if turns else text) for text in texts)
        found.append(Group(f"p{i}", prompt, replies, source=Origin("prompts.jsonl", i + 1)))
    return found


GROUPS = samples(5)
LONGEST = Longest(GROUPS[0], 4, 20)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scorers of score_runs, one on a GPT-2 (64 tokens), adapters of both kinds of body, and language models."""
    home = tmp_path_factory.mktemp("sources")
    furnish_scorers(home)
    for name, network in {
        "model": tiny.llama(vocab_size=300),
        "gpt2": tiny.gpt2(vocab_size=300, n_positions=64),
    }.items():
        tiny.write_model(home / name, network)
        base = new_scorer(str(home / name), Head(("reward",), seed=6))
        tokenizer = tiny.tokenizer()
        pad_apart(base, tokenizer, set())
        normalise(base, Normalisation(-1.5, 0.5))
        save(base, tokenizer, home / f"{name}-reward")
        adapted = add_adapter(base, Lora(2, 4, ("all-linear",), False, False), base=str(home / name), seed=0)
        with torch.no_grad():
            for number, (key, weight) in enumerate(sorted(adapted.named_parameters())):
                if "lora_B" in key:
                    weight.normal_(std=0.3, generator=torch.Generator().manual_seed(number))
        save(adapted, tokenizer, home / f"{name}-adapter")
    return home


def rewards(reward: Any, *, dtype: torch.dtype = torch.float32, longest: Longest = LONGEST, **options: Any) -> Rewards:
    """The sources that the options name, or Python gives."""
    passed = _is_object("reward", reward)
    given = {"reward": reward} if passed else {}
    made = RewardSourceOptions(reward="<object>" if passed else reward, **options)
    return rewards_of(made, RUN, given, Machine(torch.device("cpu"), dtype, 300), longest=longest)


def by_accord_score(model: Path, groups: Sequence[Group], output: Path, **options: Any) -> list[float]:
    """The numbers that accord score writes of the same texts."""
    rows = [
        {
            "id": group.id,
            "prompt": group.prompt if isinstance(group.prompt, str) else [turn.plain() for turn in group.prompt],
            "completions": [
                one.content if isinstance(one.content, str) else [turn.plain() for turn in one.content]
                for one in group.completions
            ],
        }
        for group in groups
    ]
    data = write_lines(output.with_suffix(".data.jsonl"), rows)
    return [row["score"] for row in accord.score(model=model, data=data, output=output, **options)]


def without_empty(groups: Sequence[Group]) -> list[Group]:
    """Without the samples that are no text, which no file of data may hold."""
    return [replace(group, completions=(*group.completions[:2], group.completions[3])) for group in groups]


@pytest.mark.parametrize("turns", [False, True])
@pytest.mark.parametrize("name", ["reward", "model-adapter", "gpt2-reward", "gpt2-adapter"])
def test_rewards_are_the_numbers_of_accord_score(home: Path, tmp_path: Path, name: str, turns: bool) -> None:
    groups = without_empty(samples(5, turns=turns))
    found = rewards(str(home / name)).of(groups)
    expected = by_accord_score(home / name, groups, tmp_path / "s.jsonl")
    assert found.total.tolist() == pytest.approx(expected, abs=1e-6)
    assert found.total.dtype == torch.float64 and list(found.by_source) == [name]
    assert max(expected) - min(expected) > 0.5  # they tell samples apart


def test_a_sample_that_ended_at_once_is_scored_at_its_eos(home: Path) -> None:
    """By stock on the ids of prompt and EOS alone."""
    network = AutoModelForSequenceClassification.from_pretrained(home / "reward")
    tokenizer = tiny.tokenizer()
    found = rewards(str(home / "reward")).of(GROUPS).total
    for place, group in enumerate(GROUPS):
        ids = [*tokenizer(group.prompt).input_ids, tokenizer.eos_token_id]
        assert found[4 * place + 2].item() == pytest.approx(network(torch.tensor([ids])).logits.item(), abs=1e-5)


def test_in_bf16_rewards_are_those_of_bf16(home: Path, tmp_path: Path) -> None:
    groups = without_empty(GROUPS)
    found = rewards(str(home / "reward"), dtype=torch.bfloat16).of(groups).total.tolist()
    exact = rewards(str(home / "reward")).of(groups).total.tolist()
    expected = by_accord_score(home / "reward", groups, tmp_path / "s.jsonl", dtype="bf16", max_tokens=300)
    assert found == pytest.approx(expected, abs=1e-6)
    assert found != pytest.approx(exact, abs=1e-4) and found == pytest.approx(exact, abs=0.3)


def test_a_classifier_gives_the_log_odds_of_its_label(home: Path, tmp_path: Path) -> None:
    groups = without_empty(GROUPS)
    for name, label in (("kinds", "b"), ("flags", "rude")):
        expected = by_accord_score(home / name, groups, tmp_path / f"{name}.jsonl", label=label)
        for options in (
            {"reward": str(home / name), "reward_label": label},
            {"reward": [{"source": str(home / name), "label": label}]},
        ):
            assert rewards(**options).of(groups).total.tolist() == pytest.approx(expected, abs=1e-6)


def test_normalised_by_what_accord_reward_keeps(home: Path) -> None:
    raw = rewards(str(home / "reward")).of(GROUPS).total
    assert torch.equal(rewards(str(home / "reward"), reward_normalised="mean").of(GROUPS).total, raw - MEAN)
    assert torch.equal(rewards(str(home / "reward"), reward_normalised="spread").of(GROUPS).total, (raw - MEAN) / STD)
    adapter = str(home / "gpt2-adapter")
    mean = rewards([{"source": adapter, "normalised": "mean"}]).of(GROUPS).total
    assert torch.allclose(mean, rewards(adapter).of(GROUPS).total + 1.5)


def test_the_prompt_is_computed_once_for_its_samples(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rewards(str(home / "reward"))
    computed: list[int] = []
    score_groups = reward_model_source.score_groups

    def watched(*words: Any, **options: Any) -> Any:
        return score_groups(*words, **options, advance=lambda batch: computed.append(int(batch.tokens.numel())))

    monkeypatch.setattr(reward_model_source, "score_groups", watched)
    many = replace(GROUPS[0], completions=GROUPS[0].completions[2:3] * 8)
    found.of([many])
    prompt = len(tiny.tokenizer()(many.prompt).input_ids)
    assert sum(computed) == prompt + 8  # and 8 times EOS


def test_the_cut_into_rounds_changes_nothing_but_rounding(home: Path) -> None:
    """Whatever else is scored with them, and in which order."""
    found = rewards(str(home / "gpt2-adapter"))
    whole = found.of(GROUPS).total.reshape(5, 4)
    alone = torch.stack([found.of([group]).total for group in GROUPS])
    back = found.of(GROUPS[::-1]).total.reshape(5, 4).flip(0)
    assert torch.allclose(whole, alone, atol=1e-5) and torch.allclose(whole, back, atol=1e-5)
    assert torch.equal(whole, found.of(GROUPS).total.reshape(5, 4))  # the same, to the last bit


def test_a_sum_of_all_kinds_with_weights(home: Path) -> None:
    def short(groups: list[Group]) -> list[float]:
        return [-float(len(group.completions[0].content)) for group in groups]

    with service(rewards_by(lambda prompt, completion: len(prompt) / 7)) as judge:
        sources = [
            str(home / "reward"),
            {"source": short, "weight": 0.25},
            {"source": judge.url, "weight": -3.0, "name": "judge"},
        ]
        found = rewards(sources).of(GROUPS)
    assert list(found.by_source) == ["reward", "short", "judge"]
    alone = rewards(str(home / "reward")).of(GROUPS).total
    lengths = torch.tensor([len(one.content) for group in GROUPS for one in group.completions], dtype=torch.float64)
    asked = torch.tensor([len(group.prompt) / 7 for group in GROUPS for _ in group.completions], dtype=torch.float64)
    assert torch.equal(found.by_source["reward"], alone)
    assert torch.equal(found.by_source["short"], -lengths) and torch.equal(found.by_source["judge"], asked)
    assert torch.allclose(found.total, alone - 0.25 * lengths - 3 * asked, rtol=1e-15)


def test_a_sum_that_overflows_is_no_reward() -> None:
    with pytest.raises(Diverged, match=r"reward: the sum of the rewards is not finite"):
        rewards([lambda groups: [1e308] * len(groups)] * 2, reward_weights=[1.0, 5.0]).of(GROUPS)


def test_networks_and_functions_from_python(home: Path) -> None:
    expected = rewards(str(home / "reward")).of(GROUPS).total
    network = AutoModelForSequenceClassification.from_pretrained(home / "reward")
    for passed in (network, (network, tiny.tokenizer()), {"source": network, "name": "x"}):
        assert torch.allclose(rewards(passed).of(GROUPS).total, expected, atol=1e-6)
    assert rewards(lambda groups: [2.0] * len(groups)).of(GROUPS).total.tolist() == [2.0] * 20


def test_a_source_of_ones_own_is_one_more_row() -> None:
    """What already stands in memory, as a network seen in another role, needs no more than a name and a method."""

    class Constant:
        name = "constant"

        def score(self, groups: Sequence[Group]) -> torch.Tensor:
            return torch.full((sum(len(group.completions) for group in groups),), 0.5, dtype=torch.float64)

    found = Rewards((Constant(),), (4.0,)).of(GROUPS)
    assert isinstance(found, Rewarded) and found.total.tolist() == [2.0] * 20


def test_it_is_held_against_stock_once_on_the_largest_that_may_come(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int, torch.dtype]] = []
    ready = reward_model_source.scorer_of.__globals__["ready"]

    def watched(network: PreTrainedModel, groups: Any, options: Any) -> LanguageModel:
        (group,) = groups
        compared.append((group.length, len(group.completions), network.dtype))
        made: LanguageModel = ready(network, groups, options)
        return made

    monkeypatch.setitem(reward_model_source.scorer_of.__globals__, "ready", watched)
    found = rewards(str(home / "reward"), dtype=torch.bfloat16, longest=Longest(GROUPS[3], 6, 30))
    found.of(GROUPS)
    found.of(GROUPS[:1])
    prompt = len(tiny.tokenizer()(GROUPS[3].prompt).input_ids)
    assert compared == [(prompt + 31, 6, torch.float32)]


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a language model": ("model", {}, "its score head is missing from the weights: it is a language model"),
    "nothing": ("nothing", {}, "no such directory"),
    "no label": ("kinds", {}, "reward_label: kinds: a classifier has a score for each label: name one of a, b, c"),
    "no such label": ("kinds", {"reward_label": "x"}, "reward_label: kinds: 'x' is none of its labels"),
    "no classifier": ("reward", {"reward_label": "x"}, "leave it out: a reward model has one score"),
    "no mean": ("plain", {"reward_normalised": "mean"}, "reward_normalised: plain keeps no mean of its scores"),
    "too long": (
        "gpt2-reward",
        {"longest": Longest(GROUPS[0], 4, 60)},
        "prompts.jsonl:1: 10 tokens and 61 of a sample, and the reward model gpt2-reward takes 64: fewer new tokens",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_give_rewards_is_refused_before_anything_is_sampled(home: Path, name: str) -> None:
    source, options, said = REFUSED[name]
    with pytest.raises(InputError) as raised:
        rewards(str(home / source), **options)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_a_spread_of_zero_normalises_nothing(tmp_path: Path) -> None:
    network, tokenizer = with_new_head(tiny.llama(vocab_size=300), Head(("reward",), seed=3)), tiny.tokenizer()
    normalise(network, Normalisation(1.0, 0.0))
    save(network, tokenizer, tmp_path / "still")
    assert rewards(str(tmp_path / "still"), reward_normalised="mean").names == ("still",)
    with pytest.raises(InputError, match="keeps a standard deviation of 0, which nothing can be divided by"):
        rewards(str(tmp_path / "still"), reward_normalised="spread")


def test_a_sample_that_became_too_long_is_named(home: Path) -> None:
    found = rewards(str(home / "gpt2-reward"))
    long = replace(GROUPS[2], completions=(Completion(" cat"), Completion(" cat" * 100)))
    with pytest.raises(
        InputError, match=r"^prompts.jsonl:3: \d+ tokens and 201 of a sample, and the reward model gpt2-"
    ):
        found.of([*GROUPS, long])


def test_a_score_that_is_no_number_names_the_prompt(home: Path) -> None:
    network = AutoModelForSequenceClassification.from_pretrained(home / "reward")
    found = rewards([{"source": (network, tiny.tokenizer()), "name": "x"}, lambda groups: [0.0] * len(groups)])
    with torch.no_grad():
        network.score.weight.fill_(3e38)
    with pytest.raises(Diverged, match=r"^prompts.jsonl:1 \(id p0\): the score of x is not finite \(") as raised:
        found.of(GROUPS)
    assert raised.value.code == 3


def test_a_service_that_is_down_is_exit_5_whatever_else_gives_rewards(home: Path) -> None:
    found = rewards([str(home / "reward"), nobody()], reward_backoff=0.0)
    with pytest.raises(ServiceError, match="no rewards after 3 tries: Connection refused") as raised:
        found.of(GROUPS)
    assert raised.value.code == 5


def test_how_a_service_is_asked_is_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARD_TOKEN", "secret")
    options = {"reward_token": "REWARD_TOKEN", "reward_groups": 2, "reward_retries": 1, "reward_backoff": 0.0}
    with service(Reply("", 500), rewards_by(lambda prompt, completion: 1.0)) as judge:
        assert rewards(judge.url, **options).of(GROUPS).total.tolist() == [1.0] * 20
        assert [len(asked["groups"]) for asked in judge.asked] == [2, 2, 2, 1]
        assert all(headers["Authorization"] == "Bearer secret" for headers in judge.headers)
    for value in ("", "two\nlines"):
        monkeypatch.setenv("REWARD_TOKEN", value)
        with pytest.raises(InputError, match="reward_token: the environment variable REWARD_TOKEN is not set"):
            rewards("http://127.0.0.1:1/", **options)
    with service(Reply(hangs=30.0)) as judge, pytest.raises(ServiceError, match=r"no whole answer within 0.2 s"):
        rewards(judge.url, reward_timeout=0.2, reward_retries=0).of(GROUPS)


def test_sources_are_asked_in_their_order_and_the_first_failure_ends_it(home: Path) -> None:
    asked: list[str] = []

    def one(groups: list[Group]) -> list[float]:
        asked.append("one")
        return [math.nan] * len(groups)

    def two(groups: list[Group]) -> list[float]:
        asked.append("two")
        return [0.0] * len(groups)

    with pytest.raises(AccordError):
        rewards([one, two]).of(GROUPS)
    assert asked == ["one"]


def test_what_is_scored_is_not_changed(home: Path) -> None:
    def rude(groups: list[Group]) -> list[float]:
        groups.clear()
        return [0.0] * 20

    before = json.dumps([str(group) for group in GROUPS])
    rewards([rude]).of(GROUPS)
    assert json.dumps([str(group) for group in GROUPS]) == before


def test_a_reward_model_reads_with_its_own_tokenizer(home: Path, tmp_path: Path) -> None:
    """A template of its own: the same turns are other tokens, and another score."""
    write_scorer(tmp_path / "other")
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    template += "{% if add_generation_prompt %}assistant: {% endif %}"
    (tmp_path / "other" / "chat_template.jinja").write_text(template)
    (tmp_path / "other" / "MANIFEST.json").unlink()
    groups = without_empty(samples(3, turns=True))
    found = rewards([str(tmp_path / "other"), str(home / "plain")]).of(groups).by_source
    assert found["other"].tolist() == pytest.approx(
        by_accord_score(tmp_path / "other", groups, tmp_path / "s.jsonl"), abs=1e-6
    )
    assert not torch.allclose(found["other"], found["plain"], atol=0.1)
