"""Windows of prompts -> samples -> the rows that are kept of them, and what is to be said of it at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from accord.data.write import RowWriter
from accord.records import Group
from accord.stages.best_of_table import BestOf
from accord.stages.config import SampleConfig
from accord.stages.sample_kept import KEEPS, Asked, One
from accord.stages.sample_made import Advance, Sampler
from accord.stages.windows import Window

AT_ONCE = 4096  # samples that are made before any of them is written


@dataclass
class Tally:
    """Counts of samples, but for the last two: of prompts."""

    samples: int = 0
    tokens: int = 0
    cut: int = 0
    silent: int = 0  # without any text, which is a completion in no format
    seconds: float = 0.0
    rows: int = 0
    rowless: int = 0


class Writing:
    """Of one command. model: the name of who writes; judge: of who scores. best_of: gathers scores, where there are."""

    def __init__(self, config: SampleConfig, sampler: Sampler, model: str) -> None:
        self.options, self.sampler, self.model = config.samples, sampler, model
        self.judge = None if sampler.rewards is None else " + ".join(sampler.rewards.names)
        self.best_of = None if sampler.rewards is None else BestOf(config.samples.n)
        self.keep, self.tally = KEEPS[config.samples.keep or "all"], Tally()

    def window(self, window: Window, writer: RowWriter, advance: Advance) -> None:
        """Samples behind every prompt of a window, written in its order."""
        prompts = max(1, AT_ONCE // self.options.n)
        for start in range(0, len(window.tokens), prompts):
            part, began = slice(start, start + prompts), time.monotonic()
            made = self.sampler.samples(window.tokens[part], window.groups[part], advance)
            self.tally.seconds += time.monotonic() - began
            if self.best_of is not None:
                self._gather(made)
            for group, samples in zip(window.groups[part], made, strict=True):
                self._write(group, samples, writer)

    def _gather(self, made: Sequence[Sequence[One]]) -> None:
        """A search may find fewer than n; of those no expectation is taken."""
        assert self.best_of is not None
        scores = [[one.score for one in samples] for samples in made if len(samples) == self.options.n]
        if scores:
            self.best_of.add(torch.tensor(scores, dtype=torch.float64))

    def _write(self, group: Group, samples: Sequence[One], writer: RowWriter) -> None:
        tally = self.tally
        tally.samples += len(samples)
        tally.tokens += sum(one.tokens for one in samples)
        tally.cut += sum(not one.ended for one in samples)
        tally.silent += sum(not one.text for one in samples)
        kept = [one for one in samples if one.text and (one.ended or self.options.on_cut == "keep")]
        row = self.keep(Asked(group, kept, self.model, self.judge))
        if row is None:
            tally.rowless += 1
        else:
            tally.rows += 1
            writer.add(row)

    def notes(self) -> Iterator[str]:
        """What is not in the file, and why."""
        tally = self.tally
        if tally.cut and self.options.on_cut == "drop":
            yield f"{tally.cut:,} samples were cut and are left out"
        if tally.silent:
            yield f"{tally.silent:,} samples say nothing and are left out: an empty text is no completion"
        if tally.rowless:
            why = "no two samples with different scores" if self.options.keep == "pairs" else "no sample that is kept"
            yield f"{tally.rowless:,} prompts have no row: {why}"

    def summary(self) -> str:
        tally = self.tally
        each, rate = tally.tokens / max(1, tally.samples), tally.tokens / max(tally.seconds, 1e-9)
        ended = 1 - tally.cut / max(1, tally.samples)
        scored = "" if self.judge is None else ", scores included"
        return (
            f"{tally.samples:,} samples, {each:.1f} tokens each, {ended:.1%} came to their end; {rate:,.0f} tokens/s"
            f"{scored}; {tally.rows:,} rows: {self.options.output}"
        )
