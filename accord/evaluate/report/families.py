"""Which runs can be laid over each other, and what a run did in plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import NamedTuple

from accord.evaluate.report.ran import Ran
from accord.evaluate.report.values import mapping, number, rows
from accord.stages.commands import COMMANDS
from accord.stages.config import ClassifyConfig, DpoConfig, PretrainConfig, RewardConfig, RlConfig, SftConfig
from accord.stages.loss_names import NAMES, REWARDS
from accord.stages.online_config import OnlineDpoConfig
from accord.stages.options import Config
from accord.stages.rl_names import ALGORITHMS


class Family(NamedTuple):
    """Runs whose figures mean the same. loss: whether their losses do, and margins of rewards with them."""

    id: str
    title: str
    runs: Sequence[Ran]
    loss: bool
    note: str = ""


# By the config of the command, in the order of a pipeline.
KINDS: tuple[tuple[type[Config], str, str], ...] = (
    (PretrainConfig, "pretrain", "Pre-training"),
    (SftConfig, "sft", "Supervised fine-tuning"),
    (RewardConfig, "reward", "Reward models"),
    (DpoConfig, "preferences", "Alignment with comparisons"),
    (OnlineDpoConfig, "samples", "Alignment with the model's own samples"),
    (RlConfig, "samples", "Alignment with the model's own samples"),
    (ClassifyConfig, "classify", "Classifiers"),
)
OTHER_LOSSES = (
    "The losses of these runs differ, or their beta does, so losses and margins have units of their own: left out."
)
NO_LOSS = "The loss of a policy gradient says nothing from step to step and is left out."


def families(runs: Sequence[Ran]) -> list[Family]:
    """The runs by kind, in the order of a pipeline; damaged ones, of which no kind is known, are left out."""
    titles = {name: title for _, name, title in KINDS}
    kinds = {ran.name: kind(ran.command) for ran in runs}
    found = []
    for name, title in titles.items():
        if own := [ran for ran in runs if kinds[ran.name] == name]:
            loss, note = _losses(name, own)
            found.append(Family(name, title, own, loss, note))
    return found


def placed(runs: Sequence[Ran]) -> list[Ran]:
    """The same runs, each with its place among those that it is drawn together with: their colours are then unlike."""
    found, count = list[Ran](), Counter[str]()
    for ran in runs:
        found.append(ran._replace(place=count[kind(ran.command)]))
        count[kind(ran.command)] += 1
    return found


def kind(command: str) -> str:
    """Of a command; empty where it is not known."""
    if command not in COMMANDS:
        return ""
    return next((name for config, name, _ in KINDS if issubclass(COMMANDS[command].config, config)), "")


def _losses(name: str, runs: Sequence[Ran]) -> tuple[bool, str]:
    if name == "samples" and not all(ran.command == "online-dpo" for ran in runs):
        return False, NO_LOSS
    terms = [tuple(sorted(mapping(term).items()) for term in rows(ran.summary.get("losses"))) for ran in runs]
    keys = ("loss_type", "beta", "reference", "f_divergence_type")
    options = [[ran.options.get(key) for key in keys] for ran in runs]
    unlike = any(term != terms[0] for term in terms if term and terms[0]) or any(one != options[0] for one in options)
    return (False, OTHER_LOSSES) if unlike and name in ("preferences", "samples", "reward") else (True, "")


def told(ran: Ran) -> str:
    """What a run did, for whoever has never heard of its command."""
    sentence = SENTENCES.get(kind(ran.command))
    return sentence(ran) if sentence else "Its run.json cannot be read, so nothing is known of what it did."


def _pretrained(ran: Ran) -> str:
    return f"{_model(ran)} read {_groups(ran, 'texts')} and learned to guess each next word of them."


def _tuned(ran: Ran) -> str:
    return f"{_model(ran)} learned from {_groups(ran, 'demonstrations')} to answer as they do."


def _scoring(ran: Ran) -> str:
    loss = str(ran.options.get("loss_type", ""))
    about = f" Loss: {loss}. {REWARDS[loss]}" if loss in REWARDS else ""
    learned = f"{_model(ran)} learned from {_groups(ran, 'prompts with ranked answers')}"
    return f"{learned} to score what people prefer higher.{about}"


def _preferring(ran: Ran) -> str:
    loss, beta = ran.options.get("loss_type"), number(ran.options.get("beta"))
    name = "+".join(map(str, loss)) if isinstance(loss, list) else str(loss)
    about = f" {NAMES[name]}" if name in NAMES else ""
    strength = f", beta {beta:g}" if beta is not None else ""
    start = (
        f"{_model(ran)} learned from {_groups(ran, 'prompts with judged answers')} which answers to make more probable."
    )
    return f"{start} Loss: {name}{strength}.{about}"


def _sampling(ran: Ran) -> str:
    source = _last(ran.options.get("reward"))
    asked = _groups(ran, "prompts")
    if ran.command == "online-dpo":
        how = "direct preference optimisation on pairs of them"
    else:
        algorithm = str(ran.options.get("algorithm", ran.command))
        text = next((about.text for name, about in ALGORITHMS.items() if name == algorithm), "")
        how = f"{algorithm.upper()} ({text})" if text else algorithm
    judge = f"{source} scored its answers" if source else "its answers were judged"
    return f"{_model(ran)} answered {asked} itself, {judge}, and what scored high was made more probable by {how}."


def _classifying(ran: Ran) -> str:
    return f"{_model(ran)} learned from {_groups(ran, 'labelled texts')} to say which label a text has."


SENTENCES: dict[str, Callable[[Ran], str]] = {
    "pretrain": _pretrained,
    "sft": _tuned,
    "reward": _scoring,
    "preferences": _preferring,
    "samples": _sampling,
    "classify": _classifying,
}


def _model(ran: Ran) -> str:
    return f"The model {_last(ran.options.get('model')) or '(unknown)'}"


def _groups(ran: Ran, what: str) -> str:
    count = number(ran.summary.get("train_groups")) or number(mapping(ran.data.get("train")).get("groups"))
    return f"{count:,.0f} {what}" if count is not None else what


def _last(value: object) -> str:
    """Of a path its last part."""
    if isinstance(value, list):
        return ", ".join(filter(None, map(_last, value)))
    if isinstance(value, dict):
        return ", ".join(filter(None, map(_last, value.values())))
    return (PurePath(value).name or value) if isinstance(value, str) else ""
