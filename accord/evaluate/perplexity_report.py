"""What `accord perplexity` says: a row for each model, its differences from the first, and how both came about."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from accord.data.report import DataReport
from accord.evaluate.blocks import Sums
from accord.evaluate.surprise import Setting
from accord.maths.likelihood import bits_per_token, perplexity
from accord.maths.ratios import Floats, ratio, ratio_difference
from accord.maths.statistics import Estimate
from accord.stages.tables import markdown_table

FEW = 20  # clusters; errors from fewer are rough
Cells = list[dict[str, str]]


class Read(NamedTuple):
    """A model, and how it read the texts."""

    model: str
    setting: Setting


@dataclass(frozen=True)
class Perplexity:
    """What came of it. Python gets this. sums: of each model, by cluster; the clusters are the same for all.

    same_tokens: of each model, whether its tokens are those of the first, so that nats per token can be compared.
    """

    read: Sequence[Read]
    sums: Sequence[Sums]
    kind: str
    level: float
    same_tokens: Sequence[bool]
    documents: int
    report: DataReport

    def __repr__(self) -> str:
        shown = (f"{one.model} {self.bits_per_byte(i).mean:.4f}" for i, one in enumerate(self.read))
        return f"<Perplexity: bits per byte {', '.join(shown)}>"

    def nats_per_token(self, model: int) -> Estimate:
        """Eq. 4."""
        return ratio(self.sums[model].nats, self.sums[model].tokens, self.level)

    def bits_per_byte(self, model: int) -> Estimate:
        """The same for any tokenizer: of how many bits a byte of the text is, if coded by the model."""
        return ratio(_bits(self.sums[model].nats), self.sums[model].bytes, self.level)

    def bits_per_character(self, model: int) -> Estimate:
        return ratio(_bits(self.sums[model].nats), self.sums[model].characters, self.level)

    def difference(self, model: int) -> dict[str, Any]:
        """From the first model, paired by cluster; below 0 this one predicts better. None: other tokens."""
        own, first = self.sums[model], self.sums[0]
        of_bytes = ratio_difference((_bits(own.nats), own.bytes), (_bits(first.nats), first.bytes), self.level)
        found = {"against": self.read[0].model, "bits_per_byte": _json(of_bytes), "nats_per_token": None}
        if self.same_tokens[model]:
            of_tokens = ratio_difference((own.nats, own.tokens), (first.nats, first.tokens), self.level)
            found["nats_per_token"] = _json(of_tokens)
        return found

    def rows(self) -> list[dict[str, Any]]:
        """The table as JSON has it."""
        return [self._row(model) for model in range(len(self.read))]

    def _row(self, model: int) -> dict[str, Any]:
        nats, sums, setting = self.nats_per_token(model), self.sums[model], self.read[model].setting
        return {
            "model": self.read[model].model,
            "perplexity": perplexity(nats.mean),
            "perplexity_interval": [_known(perplexity(end)) for end in nats.interval],
            "nats_per_token": _json(nats),
            "bits_per_token": bits_per_token(nats.mean),
            "bits_per_byte": _json(self.bits_per_byte(model)),
            "bits_per_character": _json(self.bits_per_character(model)),
            "documents": self.documents,
            "tokens": int(sums.tokens.sum()),
            "characters": int(sums.characters.sum()),
            "bytes": int(sums.bytes.sum()),
            "clusters": len(sums.nats),
            "clustered_by": self.kind,
            "level": self.level,
            "max_length": setting.max_length,
            "stride": setting.stride,
            "before": setting.named,
            **({"difference": self.difference(model)} if model else {}),
        }

    def tables(self) -> Iterator[tuple[str, Cells]]:
        """Titles and tables as people read them."""
        yield f"perplexity of {self.documents:,} document{'s' * (self.documents > 1)}", list(self._cells())
        if len(self.read) > 1:
            yield f"less {self.read[0].model}, on the same texts", list(self._differences())

    def _cells(self) -> Iterator[dict[str, str]]:
        for model, read in enumerate(self.read):
            nats, of_bytes = self.nats_per_token(model), self.bits_per_byte(model)
            yield {
                "model": read.model,
                "perplexity": f"{perplexity(nats.mean):,.3f}",
                f"{self._level} interval": _between(perplexity(end) for end in nats.interval),
                "nats/token": f"{nats.mean:.4f}",
                "bits/token": f"{bits_per_token(nats.mean):.4f}",
                "bits/byte": f"{of_bytes.mean:.4f}",
                f"{self._level} interval ": _between(of_bytes.interval),
                "bits/character": f"{self.bits_per_character(model).mean:.4f}",
                "tokens": f"{int(self.sums[model].tokens.sum()):,}",
            }

    def _differences(self) -> Iterator[dict[str, str]]:
        for model in range(1, len(self.read)):
            found = self.difference(model)
            of_bytes, of_tokens = found["bits_per_byte"], found["nats_per_token"]
            yield {
                "model": self.read[model].model,
                "bits/byte": f"{of_bytes['mean']:+.4f}",
                f"{self._level} interval": _signed(of_bytes["interval"]),
                "nats/token": f"{of_tokens['mean']:+.4f}" if of_tokens else "other tokens",
                f"{self._level} interval ": _signed(of_tokens["interval"]) if of_tokens else "",
                "which is better": _better(of_bytes["interval"], self.read[model].model, self.read[0].model),
            }

    def lines(self) -> Iterator[str]:
        """How the tables came about."""
        clusters = len(self.sums[0].nats)
        rough = "; so few clusters make rough intervals" if 1 < clusters < FEW else ""
        rough = "; one cluster says nothing of the error" if clusters == 1 else rough
        yield f"intervals: Student's, clustered by {clusters:,} {self.kind}{rough}"
        yield from self._readings()
        if len({int(sums.bytes.sum()) for sums in self.sums}) > 1:
            yield "the models do not predict quite the same bytes (first tokens, templates): see --first"

    def _readings(self) -> Iterator[str]:
        """How the models read the texts, each for itself where they differ in that."""
        same = len({read.setting for read in self.read}) == 1
        for read in self.read[:1] if same else self.read:
            setting, whose = read.setting, "" if same else f"{read.model}: "
            least = f"with at least {setting.max_length - setting.stride:,} before it, where the text has them"
            apart = f"windows of {setting.max_length:,} tokens, {setting.stride:,} apart"
            yield f"{whose}{apart}: each token is predicted once, {least}"
            yield f"{whose}before a plain text stands {setting.named}"

    def markdown(self) -> str:
        """The tables, and below them how they came about."""
        parts = []
        for title, cells in self.tables():
            parts += [f"{title[0].upper()}{title[1:]}.", "", *markdown_table(cells), ""]
        return "\n".join([*parts, ". ".join(line[0].upper() + line[1:] for line in self.lines()) + "."])

    @property
    def _level(self) -> str:
        return f"{100 * self.level:g} %"


def _bits(nats: Floats) -> Floats:
    return nats / math.log(2)


def _json(estimate: Estimate) -> dict[str, Any]:
    error, interval = _known(estimate.standard_error), [_known(end) for end in estimate.interval]
    return {"mean": estimate.mean, "standard_error": error, "interval": interval}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _between(interval: Any) -> str:
    low, high = interval
    return f"{low:,.4g} to {high:,.4g}" if math.isfinite(low) and math.isfinite(high) else "unknown"


def _signed(interval: Sequence[float | None]) -> str:
    low, high = interval
    return "unknown" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"


def _better(interval: Sequence[float | None], model: str, first: str) -> str:
    low, high = interval
    if low is None or high is None or low <= 0 <= high:
        return "cannot be told"
    return model if high < 0 else first
