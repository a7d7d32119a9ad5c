"""`accord perplexity`: how well models predict texts, per token, per byte and per character, and how sure that is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from accord.data.report import DataReport, Refusals
from accord.data.sources import Source, source_name
from accord.data.texts import read_texts, text_files
from accord.evaluate import blocks
from accord.evaluate.blocks import Sums
from accord.evaluate.inputs import check_outputs, sources_of
from accord.evaluate.perplexity_report import Perplexity, Read
from accord.evaluate.surprise import Surprise, surprises
from accord.records import Group
from accord.stages.evaluation_configs import PerplexityConfig
from accord.stages.options import ModelOptions
from accord.stages.perplexity_options import PerplexityOptions
from accord.stages.setup import Given, machine, say
from accord.stages.tables import put, show, tell, written
from accord.training.progress import Waiting


def run(config: PerplexityConfig, given: Given) -> Perplexity:
    """Reads the texts, predicts them with every model, prints, and on request writes."""
    options = config.perplexity
    named = sources_of(config.data.data, given)
    sources = [one for source in named for one in (*text_files(source),) or (source,)]
    check_outputs(sources, (options.json, options.markdown), with_folder=(options.output,))
    report = DataReport()
    texts = _read(sources, config, report)
    models = _models(config.model.each(), given)
    place = machine(models[0][0], threads=options.threads, max_tokens=options.max_tokens)
    read, scored = list[Read](), list[list[Surprise]]()
    for one, passed in models:
        setting, documents = surprises(one, passed, texts, options, place)
        read.append(Read(one.model, setting))
        scored.append(documents)
    kind, sums = _clusters(scored, options)
    found = Perplexity(read, sums, kind, options.level, _same_tokens(scored), len(texts), report)
    _write(found, scored, options)
    return found


def _read(sources: Sequence[Source], config: PerplexityConfig, report: DataReport) -> list[Group]:
    refusals, texts = Refusals(config.data.on_bad_row, report), list[Group]()
    for source in sources:
        with Waiting(source_name(source)) as waiting:
            for group in read_texts(source, config.data.unit, refusals, split=config.data.split):
                texts.append(group)
                waiting.tell(len(texts))
    say(f"data: {report.summary()}")
    for line in report.warnings():
        say(f"note: {line}")
    return texts


def _models(options: Sequence[ModelOptions], given: Given) -> list[tuple[ModelOptions, Given]]:
    """Each model's options, and what Python gave in its place: an object, or a list of objects and names."""
    if "model" not in given:
        return [(one, {key: value for key, value in given.items() if key == "tokenizer"}) for one in options]
    passed = given["model"]
    found: list[tuple[ModelOptions, Given]] = []
    for one in passed if isinstance(passed, list | tuple) else [passed]:
        rest = {key: given[key] for key in ("tokenizer",) if key in given}
        if isinstance(one, str | os.PathLike):
            found.append((options[0].model_copy(update={"model": os.fspath(one)}), rest))
            continue
        name = str(getattr(one, "name_or_path", "")) or f"model {len(found) + 1}"
        found.append((options[0].model_copy(update={"model": name}), {**rest, "model": one}))
    return found


def _clusters(scored: Sequence[Sequence[Surprise]], options: PerplexityOptions) -> tuple[str, list[Sums]]:
    """What the clusters are, and each model's; of those in which every model predicts something."""
    many = len(scored[0]) >= blocks.MANY
    if options.cluster == "document" or (options.cluster == "auto" and many):
        kind, sums = "documents", [blocks.by_document(one) for one in scored]
    else:
        size = options.block or blocks.block_size(scored[0])
        kind, sums = f"blocks of about {size:,} characters", [blocks.by_block(one, size) for one in scored]
    kept = sums[0].tokens > 0
    for one in sums:
        kept &= (one.tokens > 0) & (one.bytes > 0)
    return kind, [one.at(kept) for one in sums]


def _same_tokens(scored: Sequence[Sequence[Surprise]]) -> list[bool]:
    """For each model whether it predicts the very tokens that the first one does."""

    def tokens(documents: Sequence[Surprise]) -> list[tuple[bytes, int]]:
        return [(one.ids, len(one.nats)) for one in documents]

    return [tokens(documents) == tokens(scored[0]) for documents in scored]


def _write(found: Perplexity, scored: Sequence[Sequence[Surprise]], options: PerplexityOptions) -> None:
    if options.output is not None:
        put(options.output, "".join(json.dumps(row) + "\n" for row in _rows(found.read, scored)), with_folder=True)
    if options.markdown is not None:
        put(options.markdown, found.markdown() + "\n")
    if written(found.rows(), options.json):
        return
    for title, cells in found.tables():
        show(cells, title=title)
    tell(found.lines())


def _rows(read: Sequence[Read], scored: Sequence[Sequence[Surprise]]) -> Iterator[Mapping[str, Any]]:
    """A line of --output for each document and model."""
    for of_document in zip(*scored, strict=True):
        for model, one in zip(read, of_document, strict=True):
            yield {
                "id": one.id,
                "source": one.source,
                "model": model.model,
                "nats": float(one.nats.sum()),
                "tokens": len(one.nats),
                "characters": one.characters,
                "bytes": one.bytes,
            }
