"""What a source of rewards is by its form, its weight and its name; and what is refused before anything is loaded."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from reward_service_double import Reply, service

from accord.cli import _options
from accord.errors import InputError
from accord.records import Completion, Group
from accord.stages.command import Command
from accord.stages.commands import _is_object
from accord.stages.leaves import leaves
from accord.stages.options import Config, Conflict
from accord.stages.resolve import dump, load
from accord.stages.reward_service import RewardService
from accord.stages.reward_source_options import RewardEntry, RewardSourceOptions, kind_of


class Small(Config):
    """A command with sources of rewards."""

    sources: RewardSourceOptions


def typed(*words: str) -> RewardSourceOptions:
    """What a command line of these words gives."""
    spelled = [word.removeprefix("--").partition("=") for word in _options(words, Command(Small, "", "", "", ""))]
    return load(Small, arguments={key: value for key, _, value in spelled}).sources


def written(path: Path, text: str) -> RewardSourceOptions:
    """What a YAML file gives."""
    path.write_text(text)
    return load(Small, file=str(path)).sources


FORMS = {
    "http://127.0.0.1:8000/score": "service",
    "https://host/a?b=c": "service",
    "HTTP://host": "service",
    "rewards:short": "function",
    "my.rewards:short": "function",
    "rewards.py:short": "function",
    "../some where/rewards.py:short": "function",
    "reward": "model",
    "runs/reward-1": "model",
    "org/name": "model",
    "./rewards:short": "model",  # a directory of this name
    "runs/a:b": "model",
    "rewards.py": "model",
    "rewards:": "model",
}


@pytest.mark.parametrize("source", FORMS)
def test_the_kind_of_a_source_is_told_by_its_form(source: str) -> None:
    assert kind_of(source) == FORMS[source]


def test_one_source_has_weight_1_and_the_name_of_what_it_is() -> None:
    names = {"runs/reward-1": "reward-1", "http://host:8000/score": "host:8000", "a/rewards.py:short": "short"}
    for source, name in names.items():
        assert typed("--reward", source).entries() == (RewardEntry(source, name),)


def test_several_sources_on_the_command_line() -> None:
    for words in (["--reward", "a", "m:f"], ['--reward=["a", "m:f"]'], ["--reward", "[a, m:f]"]):
        found = typed(*words, "--reward_weights", "0.5", "-2").entries()
        assert found == (RewardEntry("a", "a", 0.5), RewardEntry("m:f", "f", -2.0))
    assert [one.weight for one in typed("--reward", "a", "b", "--reward_weights=0.5,2").entries()] == [0.5, 2.0]


def test_a_list_in_yaml_and_back(tmp_path: Path) -> None:
    text = """
    reward:
    - runs/reward
    - {source: toxic, weight: -0.5, label: toxic, base_model: base}
    - {source: "rewards.py:short", name: brief, weight: 2}
    - {source: other, normalised: spread}
    reward_normalised: mean
    """
    found = written(tmp_path / "a.yaml", text).entries()
    assert found == (
        RewardEntry("runs/reward", "reward", 1.0, None, "mean"),
        RewardEntry("toxic", "toxic", -0.5, "toxic", "mean", "base"),
        RewardEntry("rewards.py:short", "brief", 2.0),
        RewardEntry("other", "other", 1.0, None, "spread"),
    )
    again = written(tmp_path / "b.yaml", dump(load(Small, file=str(tmp_path / "a.yaml"))))
    assert again.entries() == found


def test_equal_names_get_a_number_unless_they_were_given() -> None:
    given: list[Any] = ["a/r", "b/r", {"source": "c/r"}, {"source": "x:y", "name": "r-2"}]
    names = [entry.name for entry in RewardSourceOptions(reward=given).entries()]
    assert names == ["r", "r-3", "r-4", "r-2"]
    assert len(set(names)) == 4


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({"reward": []}, "reward: no source of rewards"),
    "another scheme": ({"reward": "ftp://host/a"}, "entry 1: 'ftp://host/a' is no source"),
    "no host": ({"reward": "http:///a"}, "entry 1: 'http:///a' is no URL"),
    "no port": ({"reward": "http://host:port/a"}, "is no URL (Port could not be cast"),
    "a blank": ({"reward": "http://host/a b"}, "is no URL"),
    "a password": ({"reward": "https://me:secret@host/"}, "a password in a URL would be kept in the run folder"),
    "an empty text": ({"reward": ["a", ""]}, "entry 2: '' is no source"),
    "an unknown key": ({"reward": [{"source": "a", "wieght": 1}]}, "entry 1 has an unknown key 'wieght'"),
    "no source": ({"reward": [{"weight": 1.0}]}, "entry 1 has no source"),
    "a weight of 0": ({"reward": [{"source": "a", "weight": 0}]}, "the weight of entry 1 is no number but 0"),
    "a weight that is text": ({"reward": [{"source": "a", "weight": "1"}]}, "the weight of entry 1 is no number"),
    "a weight that is true": ({"reward": [{"source": "a", "weight": True}]}, "the weight of entry 1 is no number"),
    "too few weights": ({"reward": ["a", "b"], "reward_weights": [1.0]}, "reward_weights: 1 numbers for 2 sources"),
    "weights of 0": ({"reward": "a", "reward_weights": [0.0]}, "the weight of a is no number but 0"),
    "two weights": (
        {"reward": [{"source": "a", "weight": 2.0}], "reward_weights": [1.0]},
        "reward_weights: entry 1 has a weight of its own",
    ),
    "one name twice": (
        {"reward": [{"source": "a", "name": "x"}, {"source": "b", "name": "x"}]},
        "two sources have the name 'x'",
    ),
    "a name that is none": ({"reward": [{"source": "a", "name": 3}]}, "the name of entry 1 is no text"),
    "a label of a function": (
        {"reward": [{"source": "m:f", "label": "x"}]},
        "entry 1 is a function, which has no label",
    ),
    "a base of a service": (
        {"reward": [{"source": "http://h/", "base_model": "x"}]},
        "entry 1 is a service, which has no base_model",
    ),
    "normalised by something": (
        {"reward": [{"source": "a", "normalised": True}]},
        "normalised of entry 1 is none of them: none, mean or spread",
    ),
    "a label of nothing": ({"reward": "m:f", "reward_label": "x"}, "reward_label: no source is a model"),
    "normalising nothing": ({"reward": "m:f", "reward_normalised": "mean"}, "reward_normalised: no source is a model"),
    "a token of nothing": ({"reward": "a", "reward_token": "TOKEN"}, "reward_token: no source is a service"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_source_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    given, said = REFUSED[name]
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(given))
    with pytest.raises(InputError) as raised:
        load(Small, file=str(tmp_path / "a.yaml"))
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_functions_and_networks_from_python() -> None:
    class Network:
        """Anything with parameters and a way to call it."""

        name_or_path = "runs/reward"

        def parameters(self) -> list[float]:
            return []

        def __call__(self) -> None: ...

    class Tokenizer:
        eos_token_id = 2

    options = RewardSourceOptions(reward="<object>", reward_weights=[1.0, 0.5, 2.0, 3.0])
    network = Network()
    passed = [len, network, (network, Tokenizer()), {"source": "m:f", "name": "x"}]
    found = options.entries(passed)
    assert [one.kind for one in found] == ["function", "model", "model", "function"]
    assert [one.name for one in found] == ["len", "Network", "Network-2", "x"]
    assert [one.weight for one in found] == [1.0, 0.5, 2.0, 3.0]
    assert [one.kind for one in RewardSourceOptions(reward="<object>").entries(passed[2])] == ["model"]
    with pytest.raises(Conflict, match="entry 1 has no source"):
        RewardSourceOptions(reward="<object>").entries([3])


@pytest.mark.parametrize(
    ("given", "is_object"),
    [("a", False), (Path("a"), False), (["a", {"source": "m:f", "weight": 2}], False), (len, True), (["a", len], True)],
)
def test_what_python_passes_beside_the_options(given: Any, is_object: bool) -> None:
    """Names and settings stay options, which a run folder keeps; only what is none goes to the stage as it is."""
    assert _is_object("reward", given) == is_object
    assert _is_object("data", ["a row"])  # of other options every list is data


def test_the_help_says_what_every_option_is() -> None:
    known = leaves(Small)
    assert known["reward"].required and known["reward"].is_list
    assert known["reward_normalised"].choices == ("none", "mean", "spread")
    assert "module:function" in known["reward"].help and "URL" in known["reward"].help
    assert all(leaf.panel == "Rewards" and len(leaf.help) > 20 for leaf in known.values())


def test_the_page_is_true(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "reward_sources.md").read_text()
    blocks = re.findall(r"```(yaml|json)\n(.*?)```", page, re.DOTALL)
    (written_out,) = [text for kind, text in blocks if kind == "yaml"]
    names = [(entry.name, entry.weight, entry.kind) for entry in written(tmp_path / "a.yaml", written_out).entries()]
    assert names == [
        ("reward", 1, "model"),
        ("toxic", -0.5, "model"),
        ("length", 2, "function"),
        ("adapter", 1, "model"),
    ]
    request, answer = (json.loads(text) for kind, text in blocks if kind == "json")
    with service(Reply(answer)) as judge:
        group = Group("p1", "Q: 1 + 1 ?", (Completion(" 2"), Completion(" 3")))
        assert RewardService("judge", judge.url).score([group]).tolist() == answer["rewards"][0]
    assert judge.asked == [request]
    for key in set(re.findall(r"--(reward\w*) ", page)):
        assert key in leaves(Small)
    for row, default in {"reward_groups": 32, "reward_timeout": 60, "reward_retries": 2, "reward_backoff": 1}.items():
        assert f"`--{row} {default}`" in page and leaves(Small)[row].default == default
