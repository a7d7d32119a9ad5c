"""What the judgements of each annotator are like: how long they take, how often they tie, whom they agree with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accord.collect.quality_counts import Done
from accord.collect.quality_outliers import Couples, Finding, couples, outliers
from accord.collect.quality_position import Order, first_wins
from accord.collect.quality_read import Given, Read, alike
from accord.maths.position import Shown
from accord.maths.statistics import Estimate, proportion_interval

FAST = 5  # a page is very fast that took less than one FASTth of what half of all pages take
LEAST = 5  # groups that two annotators must have in common to stand in the picture of who agrees with whom


@dataclass(frozen=True)
class Annotator:
    """One annotator. seconds: active, the median. fast: pages that were very fast, of `timed`. others, gold: how far
    they agree with the others, and with the known answers (0..1). ratings: how often each, from 1. ticked: of all
    outputs, the share that has each flag. first: how often what was shown first wins."""

    account: int
    name: str
    labels: int
    gold_done: int
    skips: int
    last: float | None
    seconds: float | None
    timed: int
    fast: int
    ties: float | None
    first: Shown | None
    others: Estimate | None
    gold: Estimate | None
    ratings: tuple[int, ...]
    ticked: Mapping[str, float]
    finding: Finding | None


@dataclass(frozen=True)
class Together:
    """(A,) accounts, and (A, A) how far each two agree, None for those with too little in common."""

    accounts: tuple[int, ...]
    agree: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Everyone:
    """fast_below: seconds; a page that took less is very fast."""

    annotators: tuple[Annotator, ...]
    together: Together
    seconds: float | None
    fast_below: float | None


def everyone(found: Read, orders: Sequence[Order], done: Sequence[Done], scale: int, level: float) -> Everyone:
    """All who did something in the project."""
    seconds = [one.active_ms / 1000 for one in found.given if one.active_ms is not None]
    median = float(np.median(seconds)) if seconds else None
    fast_below = None if median is None else median / FAST
    by_group = _groups(found)
    agreed = [(group, couples(said, lambda a, b: alike(a, b, scale))) for group, said in by_group.items()]
    findings = outliers(_complete(found, agreed))
    shares = _with_others(agreed, level)
    own: dict[int, list[Given]] = defaultdict(list)
    for given in found.given:
        own[given.account].append(given)
    ordered: dict[int, list[Order]] = defaultdict(list)
    for order in orders:
        ordered[order.account].append(order)
    annotators = tuple(
        _annotator(one, own[one.account], ordered[one.account], found, scale, level, fast_below,
                   shares.get(one.account), findings.get(one.account))
        for one in done
    )  # fmt: skip
    return Everyone(annotators, _together(agreed, done), median, fast_below)


def _groups(found: Read) -> dict[int, dict[int, Mapping[str, Any]]]:
    """Of each group: who said what. The order is that in which groups got their last judgement."""
    last = {one.item: place for place, one in enumerate(found.counted)}
    groups: dict[int, dict[int, Mapping[str, Any]]] = {item: {} for item in sorted(last, key=last.__getitem__)}
    for one in found.counted:
        groups[one.item][one.account] = one.answer
    return groups


def _complete(found: Read, agreed: Sequence[tuple[int, Couples]]) -> list[Couples]:
    """Only those that have all their judgements: what was bet on does not change later."""
    count: dict[int, int] = defaultdict(int)
    for one in found.counted:
        count[one.item] += 1
    return [couple for item, couple in agreed if couple and count[item] >= found.wanted[item]]


def _with_others(agreed: Sequence[tuple[int, Couples]], level: float) -> dict[int, Estimate]:
    values: dict[int, list[float]] = defaultdict(list)
    clusters: dict[int, list[int]] = defaultdict(list)
    for item, couple in agreed:
        for pair, value in couple.items():
            for name in pair:
                values[name].append(value)
                clusters[name].append(item)
    return {name: proportion_interval(values[name], clusters[name], level=level) for name in values}


def _together(agreed: Sequence[tuple[int, Couples]], done: Sequence[Done]) -> Together:
    accounts = [one.account for one in done]
    place = {account: i for i, account in enumerate(accounts)}
    total, count = np.zeros((len(place), len(place))), np.zeros((len(place), len(place)))
    for _, couple in agreed:
        for (one, other), value in couple.items():
            for i, j in ((place[one], place[other]), (place[other], place[one])):
                total[i, j] += value
                count[i, j] += 1
    known = (count >= LEAST).any(axis=1)
    kept = np.flatnonzero(known)
    rows = [
        tuple(float(total[i, j] / count[i, j]) if count[i, j] >= LEAST else None for j in kept) for i in kept
    ]  # fmt: skip
    return Together(tuple(accounts[i] for i in kept), tuple(rows))


def _annotator(
    one: Done,
    own: Sequence[Given],
    orders: Sequence[Order],
    found: Read,
    scale: int,
    level: float,
    fast_below: float | None,
    others: Estimate | None,
    finding: Finding | None,
) -> Annotator:
    seconds = [given.active_ms / 1000 for given in own if given.active_ms is not None]
    first = first_wins(orders, level)
    compared = first.wins + first.losses + first.ties if first else 0
    return Annotator(
        account=one.account,
        name=one.name,
        labels=one.labels,
        gold_done=one.gold,
        skips=one.skips,
        last=one.last,
        seconds=float(np.median(seconds)) if seconds else None,
        timed=len(seconds),
        fast=sum(value < (fast_below or 0.0) for value in seconds),
        ties=first.ties / compared if first and compared else None,
        first=first,
        others=others,
        gold=_on_gold(own, found, lambda a, b: alike(a, b, scale), level),
        ratings=ratings(own, scale),
        ticked=ticked(own),
        finding=finding,
    )


def _on_gold(
    own: Sequence[Given], found: Read, agree: Callable[[Any, Any], float | None], level: float
) -> Estimate | None:
    known = [(agree(one.answer, found.gold[one.item]), one.item) for one in own if one.item in found.gold]
    said = [(value, item) for value, item in known if value is not None]
    if not said:
        return None
    return proportion_interval([value for value, _ in said], [item for _, item in said], level=level)


def ratings(given: Sequence[Given], scale: int) -> tuple[int, ...]:
    """(scale,) how often each rating was given, from 1."""
    count = [0] * scale
    for one in given:
        for value in one.answer.get("ratings") or ():
            if value is not None and 1 <= value <= scale:
                count[int(value) - 1] += 1
    return tuple(count)


def ticked(given: Sequence[Given]) -> dict[str, float]:
    """Of all outputs that were asked about, the share that has each flag."""
    yes: dict[str, int] = defaultdict(int)
    asked: dict[str, int] = defaultdict(int)
    for one in given:
        for name, values in (one.answer.get("flags") or {}).items():
            yes[name] += sum(map(bool, values))
            asked[name] += len(values)
    return {name: yes[name] / asked[name] for name in asked if asked[name]}
