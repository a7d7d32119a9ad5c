"""What samples became over a run: the curves that it has besides the usual ones, and first against last at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from accord.stages.reward_sources import Rewards
from accord.stages.session import Findings, Session
from accord.training.curves import PANELS, Panel

DRY = "samples       taken to be max_new_tokens long; to make and to score them comes on top"
TOLD = ("objective/scores", "objective/kl", "completions/mean_length", "completions/ended")


def apart(rewards: Rewards | None, watched: Rewards | None) -> tuple[str, ...]:
    """The sources whose numbers are not the score itself: where there are several, and those that are only watched."""
    own = rewards.names if rewards is not None and len(rewards.names) > 1 else ()
    return (*own, *(watched.names if watched is not None else ()))


def to_be_shown(session: Session, rewards: Rewards | None, watched: Rewards | None, words: str) -> None:
    """Has the session draw and say all this. rewards: None where people judge. words: what is learnt, for the card."""
    sources = apart(rewards, watched)
    session.dry = (DRY,)
    session.panels = panels(sources, losses_tell=session.losses_tell)
    session.told = ("objective/rlhf_reward", *named(sources))
    said = f"{words}; rewards: {', '.join(rewards.names)}." if rewards is not None else f"{words}."
    session.at_end = partial(findings, sources=sources, said=said)


def named(sources: Sequence[str]) -> tuple[str, ...]:
    """The figures that are said of samples, by their names in the log."""
    return (*TOLD, *(f"rewards/{name}" for name in sources))


def panels(sources: Sequence[str], *, losses_tell: bool) -> tuple[Panel, ...]:
    """The pictures of curves.png. sources: names of rewards, each with a picture of its own.

    losses_tell: whether the loss means something from step to step; that of a policy gradient does not.
    """
    usual = [panel for panel in PANELS if losses_tell or panel.metric != "loss"]
    place = [panel.metric for panel in usual].index("objective/scores") + 1
    own = [Panel(f"rewards/{name}", f"reward {name}") for name in sources]
    return (*usual[:place], *own, *usual[place:])


def findings(session: Session, sources: Sequence[str], said: str) -> Findings:
    """The first log line's means against the last one's, of the samples that were learnt from.

    They are said where nothing was held out, whose figures say more.
    """
    lines = [line for line in session.folder.metrics() if TOLD[1] in line]
    if not lines:
        return Findings({})
    names = [name for name in named(sources) if name in lines[-1]]
    found = {name: {"first": lines[0].get(name), "last": lines[-1][name]} for name in names}
    return Findings(
        {"samples": found}, [said, "", *_card(found)], [] if session.begun.data.held else _said(found, lines)
    )


def _said(found: Mapping[str, Mapping[str, Any]], lines: Sequence[Mapping[str, Any]]) -> list[str]:
    steps = f"steps to {lines[0]['step']} -> to {lines[-1]['step']}"
    return [f"samples' {name}: {_both(both)} ({steps})" for name, both in found.items()]


def _card(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [f"| {name} | {_number(both['first'])} | {_number(both['last'])} |" for name, both in found.items()]
    return ["| samples that were learnt from | first | last |", "| --- | --- | --- |", *rows]


def _both(both: Mapping[str, Any]) -> str:
    return f"{_number(both['first'])} -> {_number(both['last'])}"


def _number(value: float | None) -> str:
    """A figure that is not finite is null in the file."""
    return "unknown" if value is None else f"{value:.4f}"
