"""accord online-dpo from end to end: where it ends, what it shows, its losses, and rounds that people judge."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_runs import weights
from online_runs import furnish, judge, metrics, options, run, trained
from stage_runs import loaded, words
from torch import Tensor

import accord
from accord.cli import main
from accord.data.ranges import Ranges
from accord.errors import InputError, IntegrityError
from accord.stages.online_config import OnlineDpoConfig
from accord.stages.online_samples import Passed, check_start
from accord.stages.resolve import load

Go = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than such a run; others draw them."""
    monkeypatch.setattr("accord.training.curves.draw", lambda *given, **more: False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("online")
    furnish(found)
    return found


@pytest.fixture
def go(place: Path, tmp_path: Path) -> Go:
    """go("name", loss_type="ipo"): the folder of a quick run that ended well."""

    def start(name: str = "run", **changes: object) -> Path:
        assert run(place, tmp_path / name, **changes) == 0
        return tmp_path / name

    return start


def next_token(directory: Path, prompt: str) -> tuple[Tensor, list[str]]:
    """(V,) log-probabilities of what follows, and what each token says there; EOS says nothing."""
    network, tokenizer = loaded(directory)
    ids = torch.tensor(tokenizer(prompt).input_ids)
    with torch.no_grad():
        logp = network(ids[None]).logits[0, -1].double().log_softmax(-1)
    wholes = [tokenizer.decode(torch.cat([ids, torch.tensor([token])])) for token in range(len(logp))]
    said = [whole.removeprefix(prompt) for whole in wholes]
    said[tokenizer.eos_token_id] = ""
    return logp, said


def test_it_ends_in_the_optimum(place: Path, go: Go) -> None:
    """All completions of one prompt, each a token; orders drawn as Bradley-Terry has it: pi* of Eq. 10, by counting."""
    beta = 2.0
    output = go(
        data=place / "one.jsonl", reward=f"{place}/rewards.py:early", batch_size=1, max_new_tokens=1, beta=beta,
        num_generations=32, pairs="all", draw_ranks=True, max_steps=80, learning_rate=4e-3, logging_steps=80,
    )  # fmt: skip
    (reference, said), (policy, _) = (next_token(one, "the cat sat ?") for one in (place / "model", output))
    good = torch.tensor([any(letter in "abcdefghijklm" for letter in one) for one in said])
    optimum = (reference + 2.0 * good / beta).log_softmax(-1)
    mass = [one.exp()[good].sum().item() for one in (reference, policy, optimum)]
    assert mass[0] < 0.25 and mass[2] > 0.43
    assert mass[1] == pytest.approx(mass[2], abs=0.07)
    kl = (optimum.exp() * (optimum - policy)).sum().item()
    assert kl < 0.06 < (optimum.exp() * (optimum - reference)).sum().item() == pytest.approx(0.114, abs=0.01)


def test_a_run_learns_and_says_what_it_does(place: Path, go: Go) -> None:
    output = go(
        batch_size=8, num_generations=4, learning_rate=1e-2, max_steps=24, beta=0.05, validation=0.4, sample_steps=12,
        samples=2, logging_steps=12,
    )  # fmt: skip
    before, *lines, after = metrics(output)
    assert after["eval_objective/scores"] > before["eval_objective/scores"] + 1
    assert before["eval_objective/kl"] == pytest.approx(0, abs=1e-3) and after["eval_objective/kl"] > 1
    objective = after["eval_objective/scores"] - 0.05 * after["eval_objective/kl"]
    assert after["eval_objective/rlhf_reward"] == pytest.approx(objective)
    assert after["eval_loss"] == pytest.approx(-objective)
    first = next(line for line in lines if "loss" in line)
    names = {
        "loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen",
        "objective/scores", "objective/kl", "objective/entropy", "objective/rlhf_reward", "objective/non_score_reward",
        "completions/mean_length", "completions/ended", "rewards/letters", "pairs/tied", "sampler/logp_difference",
        "seconds/sampling", "seconds/scoring", "seconds/forward_passes", "gradient_weight", "grad_norm",
    }  # fmt: skip
    assert names <= first.keys()
    assert first["sampler/logp_difference"] < 1e-4 and 0 <= first["pairs/tied"] < 1
    assert first["objective/scores"] == first["rewards/letters"] and first["objective/entropy"] > 0
    table = [json.loads(line) for line in (output / "samples.jsonl").read_text().splitlines()]
    shown = [row for row in table if "score" in row]
    assert {row["step"] for row in shown} == {0, 12}
    for row in shown:
        count = sum(letter in "abcdefghijklm" for letter in row["completion"])
        assert row["score"] == row["rewards"]["letters"] == count
    summary = json.loads((output / "summary.json").read_text())
    assert summary["losses"] == [{"name": "sigmoid", "weight": 1.0, "beta": 0.05, "label_smoothing": 0.0}]
    card = (output / "README.md").read_text()
    assert "# Aligned with judgements of its own samples by direct preference optimisation" in card


def test_the_first_loss_is_that_of_no_difference_at_any_temperature(go: Go) -> None:
    for temperature in (1.0, 0.7):
        line = trained(go(f"at-{temperature}", temperature=temperature, max_steps=1))[0]
        assert line["loss"] == pytest.approx(math.log(2), abs=1e-5)
        assert line["rewards/margins"] == pytest.approx(0, abs=1e-5)
        assert line["objective/kl"] == pytest.approx(0, abs=1e-4)


def test_a_reference_that_is_not_the_policy_it_should_be_is_found_out() -> None:
    (tokens, other), rest = (torch.randn(2, 50, generator=torch.Generator().manual_seed(0)), torch.zeros(50))
    ranges = Ranges(torch.tensor([50]), torch.tensor([0]))
    check_start(Passed(ranges, tokens, rest, tokens + 1e-6, rest), torch.float32)
    with pytest.raises(IntegrityError, match=r"the same model, and differ by \d\.\d+ nats"):
        check_start(Passed(ranges, tokens, rest, other, rest), torch.float32)


def test_the_reference_is_the_start_or_the_policy_of_each_round(go: Go) -> None:
    fixed, moving = trained(go("fixed")), trained(go("moving", reference_each_round=True))
    assert [line["loss"] for line in moving] == [pytest.approx(math.log(2), abs=1e-5)] * 4
    assert all(abs(line["loss"] - math.log(2)) > 1e-4 for line in fixed[1:])
    assert abs(moving[-1]["objective/kl"]) > 1e-3  # to the start, whatever the loss holds the policy to


def test_rewards_that_are_all_the_same_teach_nothing(place: Path, go: Go, capsys: pytest.CaptureFixture[str]) -> None:
    output = go(reward=f"{place}/rewards.py:constant", max_steps=3)
    assert trained(output) == [] and metrics(output)[-1]["pairs/tied"] == 1.0
    (one, _), (other, _) = loaded(place / "model"), loaded(output)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert "all samples of every prompt had the same reward" in capsys.readouterr().err


def test_cut_samples_are_taken_by_the_rule_that_is_chosen(go: Go) -> None:
    """Nearly every sample of six random tokens is cut."""
    scored, masked = go("scored", max_steps=1), go("masked", missing_eos="mask", max_steps=1)
    assert trained(scored) and trained(masked) == [] and metrics(masked)[-1]["completions/ended"] < 0.2
    replaced = go("replaced", missing_eos="replace", max_steps=1)
    assert metrics(replaced)[-1]["pairs/tied"] > metrics(scored)[-1]["pairs/tied"]


LOSSES: dict[str, dict[str, Any]] = {
    "ipo": {"loss_type": "ipo"},
    "a sum": {"loss_type": "sigmoid,sft", "pairs": "all"},
    "without a reference": {"loss_type": "simpo"},
    "coupled pairs": {"loss_type": "bco_pair", "max_tokens": 40, "pairs": "all"},
    "kto": {"loss_type": "kto"},
    "kto of all": {"loss_type": "kto", "pairs": "all", "max_tokens": 40},
    "bco": {"loss_type": "bco"},
    "rankings": {"loss_type": "plackett_luce"},
    "modified": {"f_divergence_type": "js_divergence", "ld_alpha": 0.5, "use_weighting": True, "nll_weight": 0.1},
    "an adapter": {"lora_r": 2, "reference_each_round": True},
    "an encoder-decoder": {"model": "t5"},
    "texts beside": {"ptx": "texts.jsonl", "ptx_coef": 0.5},
    "another reference": {"reference": "gpt2"},
    "a second scorer": {"watch_reward": "rewards.py:length"},
    "passes and minibatches": {"num_epochs": 2, "num_mini_batches": 2},
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_kind_of_loss_and_model_trains(place: Path, go: Go, name: str) -> None:
    files = ("model", "ptx", "reference", "watch_reward")
    given = {key: place / str(value) if key in files else value for key, value in LOSSES[name].items()}
    lines = trained(go(max_steps=2, **given))
    assert len(lines) == 2 and all(math.isfinite(line["loss"]) and line["grad_norm"] > 0 for line in lines)
    if name == "a second scorer":
        assert lines[0]["rewards/watched/length"] < 0
    if name == "texts beside":
        assert lines[0]["ptx/bits_per_token"] > 0


def test_micro_batches_change_nothing_but_rounding(go: Go) -> None:
    whole, small = (trained(go(f"{size}", max_tokens=size, max_steps=2, loss_type="kto")) for size in (2000, 30))
    for one, other in zip(whole, small, strict=True):
        for key in ("loss", "grad_norm", "objective/scores", "kl"):
            assert one[key] == pytest.approx(other[key], rel=2e-4, abs=1e-5)


def test_a_dry_run_samples_and_writes_nothing(
    go: Go, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accord.stages.rl_rollouts.sample", lambda *given, **more: pytest.fail("sampled"))
    assert not go(dry_run=True).exists()
    assert "dry run of accord online-dpo" in capsys.readouterr().err


def test_python_gives_functions_and_gets_the_model(place: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    def reward(groups: list[accord.Group]) -> list[float]:
        seen.append(len(groups))
        return [float(len(str(group.completions[0].content))) for group in groups]

    given = options(
        place, tmp_path / "run", reward=reward, max_steps=2, data=[{"prompt": "the cat"}, {"prompt": "a ?"}]
    )
    result = accord.online_dpo(**given)
    assert seen == [12, 12] and result.metrics["rewards/reward"] > 0  # of two prompts, each twice in a round
    assert accord.online_dpo(**options(place, tmp_path / "people", judge="file")) is None


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "no judge": ({"reward": None}, "reward: required, and not given: it judges the samples"),
    "two judges": ({"judge": "file"}, "reward: would not be used, as judge is file"),
    "a setting of rewards": ({"judge": "file", "reward": None, "reward_token": "T"}, "reward_token: would not be used"),
    "a penalty": ({"judge": "file", "reward": None, "missing_eos": "mask"}, "missing_eos: would not be used"),
    "draws of no scores": ({"judge": "file", "reward": None, "draw_ranks": True}, "draw_ranks: a person judges"),
    "one pair": ({"num_generations": 2, "pairs": "all"}, "pairs: two samples are one pair"),
    "pairs of rankings": ({"loss_type": "plackett_luce", "pairs": "all"}, "pairs: plackett_luce takes rankings whole"),
    "no reference": ({"loss_type": "simpo", "reference_each_round": True}, "reference_each_round: not used, as simpo"),
    "two references": ({"reference": "m", "reference_each_round": True}, "reference: not used, as"),
    "one sample": ({"num_generations": 1}, "num_generations: 1 is out of range"),
    "no room": ({"max_new_tokens": 40}, "max_new_tokens: 40, which leaves no room for a prompt in max_length 40"),
    "a moving reference": ({"sync_reference": "soft"}, "sync_reference: unknown option"),
    "nothing to keep": ({"reference_cache": "none"}, "reference_cache: unknown option"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_would_do_nothing_are_refused(tmp_path: Path, name: str) -> None:
    changes, said = REFUSED[name]
    given = options(tmp_path, tmp_path, **{"reward": "r.py:f", **changes})
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in given.items()}
    with pytest.raises(InputError) as caught:
        load(OnlineDpoConfig, arguments=plain, where="")
    assert str(caught.value).startswith(said)


ROUNDS = {"num_mini_batches": 2, "max_steps": 4, "validation": 0.2, "save_steps": 1}


def test_people_who_judge_as_a_function_does_teach_the_same(
    place: Path, go: Go, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two rounds through files, bit for bit the model that the function made."""
    by_function = go("function", **ROUNDS)
    by_people, people = tmp_path / "people", {**ROUNDS, "judge": "file"}
    assert run(place, by_people, **people) == 0
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"round 1 waits to be judged, 8 prompts in {by_people}/to_judge/round-0001.jsonl: give")
    assert told.endswith(f"save it as {by_people}/judged/round-0001.jsonl, and run the same command with --resume")
    assert json.loads((by_people / "run.json").read_text())["ended"]["state"] == "waiting"
    judge(by_people, 1)
    assert run(place, by_people, resume=True, **people) == 0
    assert [line["step"] for line in trained(by_people)] == [1, 2] and not (by_people / "model.safetensors").exists()
    judge(by_people, 2)
    assert run(place, by_people, resume=True, **people) == 0
    one, other = loaded(by_function)[0], loaded(by_people)[0]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    names = ("loss", "grad_norm", "pairs/tied", "objective/kl", "rewards/margins")
    ours, theirs = ([[line[name] for name in names] for line in trained(of)] for of in (by_function, by_people))
    assert ours == theirs
    held = metrics(by_people)[-1]
    assert "eval_objective/kl" in held and "eval_loss" not in held and "eval_objective/scores" not in held
    assert json.loads((by_people / "run.json").read_text())["ended"]["state"] == "finished"


def test_a_run_that_waits_says_so_again_and_loses_nothing_by_a_faulty_file(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, people = tmp_path / "people", {"judge": "file", "max_steps": 1}
    assert run(place, output, **people) == 0
    asked = output / "to_judge" / "round-0001.jsonl"
    text = asked.read_text(encoding="utf-8")
    asked.unlink()
    assert run(place, output, resume=True, **people) == 0 and asked.read_text(encoding="utf-8") == text
    path = judge(output, 1)
    good = path.read_text(encoding="utf-8")
    lines = good.splitlines()
    path.write_text("\n".join([lines[0].replace('"ranks": [', '"ranks": [0, '), *lines[2:]]) + "\n", encoding="utf-8")
    capsys.readouterr()
    assert main(words("online-dpo", options(place, output, resume=True, **people))) == 2
    *_, other, last = capsys.readouterr().err.splitlines()
    assert last.startswith(f"error[2] {path}:1: ranks: 4 entries for") and other.startswith(f"{asked}:2: 1-2-")
    path.write_text(good, encoding="utf-8")
    assert run(place, output, resume=True, **people) == 0 and len(trained(output)) == 1


def test_accord_runs_says_what_a_run_waits_for(place: Path, go: Go, capsys: pytest.CaptureFixture[str]) -> None:
    output = go(judge="file")
    capsys.readouterr()
    assert accord.runs(directory=str(output))[0]["state"] == "waiting"
    shown = capsys.readouterr().out
    assert "round 1 waits to be judged" in shown and f"accord online-dpo --config {output}/run.yaml --resume" in shown


def test_samples_that_all_say_the_same_are_no_question(place: Path, go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    def same(prompt: Any, texts: Any) -> Any:
        return answered(prompt, ["same"] * len(texts))

    from accord.stages.rl_prompts import answered

    monkeypatch.setattr("accord.stages.rl_rollouts.answered", same)
    output = go(judge="file", max_steps=2)
    assert not (output / "to_judge").exists() and metrics(output)[-1]["pairs/tied"] == 1.0


def test_a_round_that_waits_is_judged_by_rewards_where_that_is_allowed_later(place: Path, go: Go) -> None:
    whole = go("whole", **ROUNDS)
    changed = go("changed", judge="file", **ROUNDS)
    assert go("changed", resume=True, allow_change="judge,reward", **ROUNDS) == changed
    assert weights(whole) == weights(changed)
