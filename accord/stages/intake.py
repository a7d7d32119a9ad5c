"""One source of data as a stage takes it: files -> groups -> what the stage takes of each -> tokens, kept for later."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import tokenizers
import transformers
from transformers import PreTrainedTokenizerBase

from accord import __version__
from accord.data import order
from accord.data.dialogue import Dialogue, TokenGroup
from accord.data.findings import FINDINGS, Stage
from accord.data.length import check_fit, fit_groups
from accord.data.read import read_groups
from accord.data.report import DataReport, Refusals
from accord.data.sift import sift
from accord.data.sources import Source, files_of, source_name
from accord.data.table import Table, Writer
from accord.data.take import Take
from accord.data.template import CLOCK
from accord.data.token_cache import TokenCache, file_digest
from accord.records import Group, Judged, RecordError
from accord.stages.options import LengthOptions, ModelOptions, ReadOptions
from accord.stages.setup import say
from accord.training.progress import Waiting

TIME_OF_DAY = re.compile(r"(?<!\{)%[-_0^#]?[cfHIMpRrSsTX]")  # in a format of strftime, and not Jinja's {%for
KEPT = 2_000  # groups; of fewer the tokens are not kept, as they are made in no time
Pairs = Iterator[tuple[Group, TokenGroup]]
Tokenise = Callable[[Dialogue, Iterable[Group], ReadOptions], Pairs]


class Intake(NamedTuple):
    """What a stage takes of data.

    take: of a group, or RecordError. name: of `take`, where a stage has several. holds: whether there is still
    something to learn once texts are tokens. pack: makes other groups of all that are trained on, or held out.
    turns: which assistant turns of a single completion carry loss. kept: whether tokens may come from the cache, where
    `take` sees no texts.
    """

    stage: Stage
    take: Take
    tokenise: Tokenise
    name: str = ""
    holds: Callable[[Judged], object] | None = None
    pack: Callable[[list[TokenGroup], ReadOptions], list[TokenGroup]] | None = None
    turns: str = "all"
    kept: bool = True


class Prepared(NamedTuple):
    """One source as tokens. mark (G, 32) and asks (G, 16): as in accord.data.table.Columns."""

    groups: list[TokenGroup]
    mark: npt.NDArray[np.uint8]
    asks: npt.NDArray[np.uint8]
    report: DataReport


@dataclass(frozen=True)
class Preparation:
    """How the sources of a run become tokens. apart: for an encoder-decoder. clock: what templates are told."""

    tokenizer: PreTrainedTokenizerBase
    model: ModelOptions
    options: ReadOptions
    intake: Intake
    length: LengthOptions | None = None
    apart: bool = False
    cache: TokenCache | None = None
    clock: datetime | None = None

    def of(self, source: Source, split: str) -> Prepared:
        """From the cache, or made anew and kept there. BadRows, InputError: as reading, tokenising and fitting."""
        key = None if self.cache is None or not self.intake.kept else self._key(source, split)
        if self.cache is not None and key is not None and (found := self.cache.find(key)):
            # The same bytes may lie under other names now; who is named in an error should be there.
            names = dict(zip(found.about["files"], files_of(source), strict=True))
            report = DataReport.from_json(_renamed(found.about["report"], names))
            if self.length is not None:
                check_fit(report, max_dropped=self.length.max_dropped)
            say(f"tokens of {len(found.table.columns.prompt):,} groups from {self.cache.root}")
            return _prepared(found.table._replace(names=names), report)
        report = DataReport()
        table = self._made(source, split, report)
        # A file that grew or was put in place while it was read has other tokens than its key says.
        large = len(table.columns.prompt) >= KEPT
        if self.cache is not None and key is not None and large and key == self._key(source, split):
            counts = {"groups": len(table.columns.prompt), "tokens": len(table.ids)}
            about = {"data": source_name(source), **counts, "files": files_of(source)}
            if self.cache.keep(key, table, {**about, "report": report.to_json()}):
                table = kept.table if (kept := self.cache.find(key)) else table
        return _prepared(table, report)

    def _made(self, source: Source, split: str, report: DataReport) -> Table:
        ids, said = io.BytesIO(), io.BytesIO()
        writer, asks = Writer(ids, said), dict[str, bytes]()
        refusals = Refusals(self.options.on_bad_row, report)
        taken = self._taken(source, split, report, asks)
        with Waiting(source_name(source)) as waiting:
            for number, (group, tokens) in enumerate(self.intake.tokenise(self.dialogue(report), taken, self.options)):
                prompt = asks.pop(group.id)
                waiting.tell(number)
                if self._holds(tokens, refusals):
                    writer.add(tokens, asks=prompt)
        refusals.close()
        words = np.frombuffer(said.getbuffer(), dtype=np.uint8)
        return Table(writer.columns(), np.frombuffer(ids.getbuffer(), dtype=np.int32), words)

    def _taken(self, source: Source, split: str, report: DataReport, asks: dict[str, bytes]) -> Iterator[Group]:
        """What the stage takes of each group; what each asks goes to `asks` by its id."""
        refusals = Refusals(self.options.on_bad_row, report)
        groups = read_groups(source, split=split, implicit_prompt=self.options.implicit_prompt, refusals=refusals)
        for group, taken in sift(groups, self.intake.take, self.intake.stage, refusals):
            asks[taken.id] = order.asks(group)
            yield taken

    def _holds(self, tokens: TokenGroup, refusals: Refusals) -> bool:
        """Whether there is still something to learn; if not, it is a bad row."""
        group = tokens.group
        if self.intake.holds is None or self.intake.holds(group):
            return True
        what, fix = "the completions differ as texts, and are the same tokens", FINDINGS["equal_tokens"].fix
        refusals.add(RecordError(what, origin=group.source, fix=fix, finding="equal_tokens"), id=group.id)
        return False

    def dialogue(self, report: DataReport) -> Dialogue:
        """The one tokenising function of a run."""
        kwargs, turns = self.model.chat_template_kwargs, cast(Any, self.intake.turns)
        return Dialogue(
            self.tokenizer, template_kwargs=kwargs, turns=turns, apart=self.apart, report=report, clock=self.clock
        )

    def _key(self, source: Source, split: str) -> str | None:
        """Of everything that has a part in the tokens; None for what has no files that can be read, or a tokenizer
        without a file."""
        files = files_of(source)
        if not files or not self.tokenizer.is_fast:
            return None
        try:
            digests = [file_digest(Path(name)) for name in files]
        except OSError:  # reading says what it is
            return None
        # Of several files the names are part of ids; of one the place does not matter.
        names = [os.path.relpath(name, os.path.commonpath(files)) for name in files] if len(files) > 1 else []
        return hashlib.sha256(json.dumps([self._way, split, names, digests], sort_keys=True).encode()).hexdigest()

    @cached_property
    def _way(self) -> dict[str, object]:
        code = hashlib.sha256()
        here = Path(__file__)
        for path in (here, here.parent.parent / "records.py", *sorted(here.parent.parent.glob("data/*.py"))):
            code.update(path.read_bytes())
        tokenizer: Any = self.tokenizer
        # What is set on it beside its file: the language to write, whether special tokens are split.
        settings = {name: value for name, value in vars(tokenizer).items() if isinstance(value, str | int)}
        settings["name_or_path"] = type(tokenizer).__qualname__
        own = (tokenizer.backend_tokenizer.to_str(), tokenizer.special_tokens_map, tokenizer.chat_template, settings)
        return {
            "code": [code.hexdigest(), __version__, transformers.__version__, tokenizers.__version__],
            "tokenizer": hashlib.sha256(repr(own).encode()).hexdigest(),
            "kwargs": self.model.chat_template_kwargs,
            "clock": self.told,
            "options": self.options.model_dump(include={"on_bad_row", "max_length", "implicit_prompt"}),
            "on_long": self.length and self.length.on_long,
            "intake": [self.intake.stage, self.intake.name, self.intake.turns, self.apart],
        }

    @property
    def told(self) -> str:
        """What of the clock the chat template may write: of most that ask for it, the day."""
        text = repr(self.tokenizer.chat_template)
        if CLOCK not in text:
            return ""
        now = self.clock or datetime.now()
        return str(now.date() if TIME_OF_DAY.search(text) is None else now)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A data report with other names of files in its places (`file:line`), wherever they stand in it."""
    if isinstance(value, str):
        for old, new in names.items():
            value = value.replace(f"{old}:", f"{new}:") if old != new else value
        return value
    if isinstance(value, dict):
        return {key: _renamed(item, names) for key, item in value.items()}
    return [_renamed(item, names) for item in value] if isinstance(value, list) else value


def _prepared(table: Table, report: DataReport) -> Prepared:
    return Prepared(table.groups(), table.columns.mark, table.columns.asks, report)


def fitting(length: LengthOptions) -> Tokenise:
    """Tokenises, and applies the length policy."""
    return partial(_fitting, length)


def _fitting(length: LengthOptions, dialogue: Dialogue, groups: Iterable[Group], options: ReadOptions) -> Pairs:
    assert options.max_length is not None
    made = dialogue.stream(groups, on_bad_row=options.on_bad_row)
    return fit_groups(
        made, dialogue, max_length=options.max_length, on_long=length.on_long, max_dropped=length.max_dropped
    )


def documents(dialogue: Dialogue, groups: Iterable[Group], options: ReadOptions) -> Pairs:
    """Each group as one document; nothing is too long."""
    return dialogue.stream_documents(groups, on_bad_row=options.on_bad_row)
