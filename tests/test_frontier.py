"""accord frontier: methods and their options, points that are made once, and figures that are those of the answers."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from stage_runs import lines, words, write_lines

import accord
from accord.cli import main
from accord.errors import InputError, Stopped
from accord.evaluate.frontier import run as command
from accord.evaluate.frontier.methods import methods_of
from accord.evaluate.frontier.result import Frontier, read
from accord.training import curves

PROMPTS = [{"id": f"p{i}", "prompt": row["prompt"]} for i, row in enumerate(tiny.comparisons(16))]
REWARDS = Path(__file__).with_name("rl_rewards.py")
GOLD = "def short(groups):\n    return [-float(len(group.completions[0].content)) for group in groups]\n"
OPTIONS = """\
report_to: none
samples: 0
batch_size: 4
max_steps: 2
learning_rate: 1e-2
ppo: {num_ppo_epochs: 1}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("frontier")
    network = tiny.llama(vocab_size=300)
    network.lm_head.weight.data[2] *= 3  # of EOS: most answers come to an end
    tiny.write_model(home / "model", network)
    write_lines(home / "prompts.jsonl", PROMPTS)
    (home / "gold.py").write_text(GOLD)
    (home / "letters.py").write_text(REWARDS.read_text())
    (home / "options.yaml").write_text(OPTIONS)
    return home


def asked(home: Path, **changes: Any) -> dict[str, Any]:
    usual = {
        "model": home / "model", "reward": f"{home}/letters.py:letters", "gold": f"{home}/gold.py:short",
        "data": home / "prompts.jsonl", "validation": 0.5, "output_dir": home / "out", "samples": 2, "rounds": 50,
        "methods": "dpo,ppo,best_of_n", "betas": "0.1,1", "n": "1,2,3", "options": home / "options.yaml",
        "max_new_tokens": 12, "threads": 1,
    }  # fmt: skip
    return {**usual, **changes}


def frontier(home: Path, **changes: Any) -> int:
    with pytest.MonkeyPatch.context() as patch:  # pictures take longer than all the rest
        patch.setattr(curves, "draw", lambda *given: False)
        patch.setattr(command, "draw", lambda found, folder: None)
        return main(words("frontier", asked(home, **changes)))


@pytest.fixture(scope="module")
def whole(home: Path) -> dict[str, Any]:
    assert frontier(home) == 0
    found: dict[str, Any] = json.loads((home / "out" / "frontier.json").read_text())
    return found


def held(home: Path, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "out" / kind / f"{name}.json").read_text())["held"]
    return found


def test_every_point_has_the_figures_of_its_answers(home: Path, whole: dict[str, Any]) -> None:
    names = ["dpo,beta=0.1", "dpo,beta=1", "ppo,beta=0.1", "ppo,beta=1"]
    assert [one["name"] for one in whole["points"]] == [*names, *(f"best_of_n,n={n}" for n in (1, 2, 3))]
    for one in whole["points"][:4]:
        answers = held(home, "answers", one["name"])
        texts = [text for said in answers["text"] for text in said]
        letters = [sum(c.isascii() and c.isalpha() for c in text) / max(1, len(text)) for text in texts]
        expected = {
            "proxy": np.mean(letters),
            "gold": -np.mean([len(text) for text in texts]),
            "tokens": np.mean(answers["tokens"]),
            **{name: np.mean(answers[name]) for name in ("k1", "k3", "ended")},
        }
        assert {name: figure["mean"] for name, figure in one["figures"].items()} == pytest.approx(expected)
        assert one["kl"] == one["figures"]["k3"] and one["kl"]["mean"] > 0
        assert all(value >= 0 for said in answers["k3"] for value in said)
        low, high = one["figures"]["gold"]["interval"]
        assert low < one["figures"]["gold"]["mean"] < high


def test_the_best_of_n_is_the_mean_over_all_choices_of_n(home: Path, whole: dict[str, Any]) -> None:
    proxy, gold = (held(home, side, "model")["score"] for side in ("proxy", "gold"))
    assert {len(row) for row in proxy} == {6}  # twice the largest n
    for n, one in zip((1, 2, 3), whole["points"][4:], strict=True):
        best = [np.mean([max(some) for some in itertools.combinations(row, n)]) for row in proxy]
        assert one["figures"]["proxy"]["mean"] == pytest.approx(np.mean(best))
        assert one["kl"]["mean"] == pytest.approx(math.log(n) - (n - 1) / n)
        assert "k1" not in one["figures"] and "k3" not in one["figures"]
    assert whole["points"][4]["figures"]["gold"]["mean"] == pytest.approx(np.mean(gold))
    assert whole["start"]["figures"]["gold"]["mean"] == pytest.approx(np.mean(gold))


def test_prompts_that_are_measured_on_are_not_learnt_from(home: Path, whole: dict[str, Any]) -> None:
    learnt, measured = (
        [row["prompt"] for row in lines(home / "out" / name)] for name in ("prompts.jsonl", "held_out.jsonl")
    )
    assert len(learnt) + len(measured) == len(PROMPTS) and not set(learnt) & set(measured)
    assert whole["prompts"] == len(measured)
    ranked = lines(home / "out" / "comparisons.jsonl")
    assert ranked and {row["prompt"] for row in ranked} <= set(learnt)


def test_what_is_there_is_not_made_again(
    home: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*given: object, **more: object) -> None:
        raise AssertionError("made again")

    for name in ("execute", "scores", "drawn_by_model", "drawn_by_policy", "write_comparisons"):
        monkeypatch.setattr(command, name, never)
    assert frontier(home, dry_run="true") == 0
    assert capsys.readouterr().out.count("trained") == 4
    assert frontier(home, json="-") == 0
    assert json.loads(capsys.readouterr().out)["points"] == whole["points"]


def test_only_what_a_change_touches_is_made_again(
    home: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[str]()

    def trains(name: str, config: Any, given: Any) -> None:
        made.append(f"{name} {getattr(config, 'preference', None) and config.preference.beta}")
        raise InputError("stops here", where="test")

    real = command.scores
    monkeypatch.setattr(command, "execute", trains)
    monkeypatch.setattr(command, "scores", lambda name, *given: made.append(name) or real(name, *given))
    before = {path: path.stat().st_mtime_ns for path in (home / "out" / "answers").iterdir()}
    assert frontier(home, methods="dpo,best_of_n", betas="0.1,3") == 2  # a run that fails is said, and the rest is made
    assert made == ["dpo 3.0"]
    row = read(home / "out").points[1]
    assert (row.name, row.error, row.kl) == ("dpo,beta=3", "test: stops here", None)
    made.clear()
    (home / "gold.py").write_text(GOLD + "\n# another file\n")
    assert frontier(home) == 0
    assert made == ["gold: model", *(f"gold: {one['name']}" for one in whole["points"][:4])]
    assert {path: path.stat().st_mtime_ns for path in (home / "out" / "answers").iterdir()} == before


def test_who_stops_it_is_told_how_it_goes_on(
    home: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stops(name: str, config: Any, given: Any) -> None:
        raise Stopped(15, "stopped by SIGTERM after step 1", where="runs/x", fix="--resume goes on from there")

    monkeypatch.setattr(command, "execute", stops)
    assert frontier(home, betas="0.5") == 143
    said = "error[143] runs/x: stopped by SIGTERM after step 1: the same command goes on from there"
    assert said in capsys.readouterr().err


def test_another_setting_of_a_run_is_refused(
    home: Path, whole: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(OPTIONS.replace("1e-2", "2e-2"))
    assert frontier(home, options=other) == 2
    error = capsys.readouterr().err
    assert (
        "it was trained otherwise: learning_rate was 0.01, is 0.02" in error and "runs/dpo,beta=0.1 to train" in error
    )
    (home / "letters.py").write_text(REWARDS.read_text() + "\n# another file\n")
    assert frontier(home, methods="ppo,best_of_n") == 2
    assert "ppo,beta=0.1: what it was trained from is not what it was: reward" in capsys.readouterr().err
    (home / "letters.py").write_text(REWARDS.read_text())


def test_the_result_from_python_is_the_same_and_draws_itself(home: Path, whole: dict[str, Any]) -> None:
    given = {key: str(value) if isinstance(value, Path) else value for key, value in asked(home).items()}
    found = accord.frontier(**given)
    assert found.to_json()["points"] == whole["points"]
    assert repr(found) == f"<Frontier: 7 points of 3 methods on {whole['prompts']} prompts>"
    assert read(home / "out") == Frontier.from_json(found.to_json())
    assert found.picture().startswith(b"\x89PNG") and b"<svg" in found.picture("svg")
    assert (home / "out" / "frontier.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"methods": "dpoo"}, "error[2] methods: 'dpoo' is no method: did you mean dpo?"),
        ({"methods": "best_of_n"}, "error[2] betas: would not be used by these methods: leave it out, or add dpo"),
        ({"n_samples": 2}, "error[2] n_samples: the best of 3 cannot be told from 2"),
        ({"betas": "0.1,0.1"}, "error[2] --betas: names 0.1 twice"),
        ({"gold": "https://user:pass@x/y"}, "error[2] gold: entry 1: a password in a URL"),
        ({"prompts": "x.jsonl"}, "error[2] --validation: not together with prompts"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    home: Path, tmp_path: Path, changes: dict[str, Any], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert frontier(home, output_dir=tmp_path / "new", **changes) == 2
    assert error in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_a_prompt_on_both_sides_and_a_folder_of_something_else_are_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = write_lines(tmp_path / "shared.jsonl", PROMPTS[3:4])
    given = {key: value for key, value in asked(home).items() if key != "validation"}
    assert main(words("frontier", {**given, "prompts": shared, "output_dir": tmp_path / "new"})) == 2
    assert "shared.jsonl:1 would be learnt from, and measured on" in capsys.readouterr().err
    assert frontier(home, output_dir=tmp_path) == 2
    assert "not empty, and no frontier" in capsys.readouterr().err


def methods(tmp_path: Path, text: str, *names: str) -> dict[str, tuple[str, tuple[float, ...], dict[str, object]]]:
    file = tmp_path / "options.yaml"
    file.write_text(text)
    found = methods_of(names, str(file), [0.1, 1.0], [1, 4])
    return {
        one.name: (one.command, one.values, {key: held.value for key, held in one.options.items()}) for one in found
    }


def test_options_of_all_of_one_and_of_a_method_with_a_name_of_its_own(tmp_path: Path) -> None:
    text = (
        "learning_rate: 1e-3\ncritic: own\nppo:\n  learning-rate: 1e-4\nslow:\n  command: ppo\n  betas: [0.5]\n"
        "best_of_n: {n: '2, 8'}\nkto: {unused: 1}\n"
    )
    assert methods(tmp_path, text, "online_dpo", "ppo", "slow", "best-of-n", "simpo") == {
        "online-dpo": ("online-dpo", (0.1, 1.0), {"learning_rate": "1e-3"}),
        "ppo": ("ppo", (0.1, 1.0), {"learning_rate": "1e-4", "critic": "own"}),
        "slow": ("ppo", (0.5,), {"learning_rate": "1e-3", "critic": "own"}),
        "best_of_n": ("best_of_n", (2, 8), {}),
        "simpo": ("simpo", (0.1, 1.0), {"learning_rate": "1e-3"}),
    }


def test_beta_is_the_option_that_the_command_calls_so(tmp_path: Path) -> None:
    found = {one.name: one for one in methods_of(["dpo", "grpo", "online-dpo", "kto"], None, [0.1], [1])}
    assert {name: one.key for name, one in found.items()} == {
        "dpo": "beta", "grpo": "kl_coef", "online-dpo": "beta", "kto": "beta",
    }  # fmt: skip
    assert [name for name, one in found.items() if one.offline] == ["dpo", "kto"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("lerning_rate: 1\n", "options.yaml:1: unknown option 'lerning_rate': did you mean 'learning_rate'?"),
        ("ppo:\n  kl_coef: 1\n", "options.yaml:2: kl_coef: not in a frontier: give --betas"),
        ("ppo:\n  beta: 1\n", "options.yaml:2: beta: not in a frontier: give --betas"),
        ("reward: x\n", "options.yaml:1: reward: is the same for all points of a frontier"),
        ("pqo: {batch_size: 1}\n", "options.yaml: 'pqo' is no method, and has no command: did you mean ppo?"),
        ("slow: {command: pqo}\n", "options.yaml: 'slow' is no method"),
        ("best_of_n: {seed: 1}\n", "options.yaml:1: seed: nothing is trained, and seed would not be used"),
        ("ppo: {n: 4}\n", "options.yaml:1: n: of ppo it is betas"),
        ("ppo: {betas: [0.1, 0.1]}\n", "options.yaml:1: betas: ['0.1', '0.1'] are no different numbers above 0"),
        ("ppo: {temperature: 0.5}\n", "options.yaml:1: temperature: not in a frontier: policies are measured as"),
    ],
)
def test_options_that_cannot_be_are_refused_with_their_line(tmp_path: Path, text: str, error: str) -> None:
    if "command" in text:
        with pytest.raises(InputError) as caught:
            methods(tmp_path, text, "slow")
        assert str(caught.value).endswith("needs a section with command: in --options")
        return
    with pytest.raises(InputError) as caught:
        methods(tmp_path, text, "ppo", "best_of_n")
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(error)
