"""Rewards that are easily learnt, as a file of functions that runs name (`rl_rewards.py:letters`)."""

from collections.abc import Sequence

from accord.records import Group


def said(group: Group) -> str:
    """Of a group of one completion."""
    content = group.completions[0].content
    return content if isinstance(content, str) else content[0].content


def letters(groups: Sequence[Group]) -> list[float]:
    """The share of a sample's characters that are ASCII letters: a network with random weights writes few."""
    return [sum(c.isascii() and c.isalpha() for c in said(group)) / max(1, len(said(group))) for group in groups]
