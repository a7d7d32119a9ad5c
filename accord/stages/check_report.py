"""`accord check` on the terminal: what the data hold, how long they are, and what is wrong, worst first."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import dropwhile
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from accord.data.findings import FINDINGS, Finding, Severity
from accord.data.measures import QUANTILES, Histogram, Measures, histogram
from accord.stages.checked import Checked
from accord.stages.commands import COMMANDS

if TYPE_CHECKING:
    from accord.stages.check_tokens import TokenCheck

LINES = 3  # of each kind that are printed whole
NUMBERS = 12  # further lines that are named by number
BARS = 12  # of the histogram
WIDTH = 40  # characters of its longest bar
EIGHTHS = " ▏▎▍▌▋▊▉█"
TO_DO = {"reward": "a reward model", "rl": "reinforcement learning", "evaluate": "evaluation"}
MARK: dict[Severity, tuple[str, str]] = {"error": ("✗", "red"), "warning": ("!", "yellow"), "data": ("·", "dim")}
HOLDS = {
    "comparison": "comparisons",
    "ranking": "rankings",
    "label": "labelled completions",
    "class": "texts with a label",
    "demonstration": "demonstrations",
    "document": "texts",
    "prompt": "prompts alone",
    "unjudged": "prompts with several completions that nobody judged",
}


def show(checked: Checked, console: Console | None = None) -> None:
    """Prints everything; the last line says whether training would stop."""
    out = console or Console(highlight=False)
    rows = f"{_many(checked.read, 'row')}, checked for {_command(checked)}"
    out.print(f"\n[bold]{escape(checked.source)}[/bold]  {rows}\n", soft_wrap=True)
    if checked.census.groups:
        out.print(_counts(checked))
        _show_lengths(checked, out)
    if checked.tokens is not None and checked.tokens.shown:
        from accord.stages.check_show import show_groups  # needs transformers

        show_groups(checked.tokens.shown, checked.tokens.dialogue.tokenizer, out)
    _show_findings(checked, out)
    if checked.drawn is not None:
        out.print(f"drew {escape(checked.drawn)}", soft_wrap=True)
    out.print(_verdict(checked), soft_wrap=True)


def _counts(checked: Checked) -> Table:
    """What the file holds, a line a fact."""
    census = checked.census
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("groups", ", ".join(f"{count:,} {HOLDS[kind]}" for kind, count in census.holds.most_common()))
    of = " in the rows that can be used" if census.unsound else ""
    table.add_row("prompts", f"{len(census.repeats.prompts):,} different{of}")
    if census.judgements:
        table.add_row("judgements", f"{census.judgements:,}")
    named = {"annotators": census.annotators, "models": census.models, "categories": census.categories}
    for name, counts in named.items():
        if counts:
            table.add_row(name, _named(counts))
    if checked.ignored:
        table.add_row("ignored columns", escape(", ".join(checked.ignored)))
    for note in checked.notes:
        table.add_row("note", escape(note))
    if checked.tokens is not None:
        for row in _of_tokens(checked.tokens, checked.source):
            table.add_row(*row)
    lengths = _lengths(checked)
    if (bias := lengths.bias()) is not None:
        table.add_row("length bias", bias.say(lengths.unit))
    return table


def _named(counts: Counter[str], most: int = 4) -> str:
    """`3: ann 20, bob 12, eve 3`."""
    shown = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(most))
    return escape(f"{len(counts)}: {shown}" + (", ..." if len(counts) > most else ""))


def _of_tokens(tokens: TokenCheck, source: str) -> Iterator[tuple[str, str]]:
    """What carries loss, what fits, and the longest."""
    share = 100 * tokens.with_loss / max(1, tokens.total)
    yield "tokens", f"{tokens.total:,}, of which {share:.1f} % carry loss"
    all_fit = f"all fit max_length {tokens.max_length:,}"
    some = f"{tokens.too_long:,} of {tokens.groups:,} groups do not fit max_length {tokens.max_length:,}"
    yield "length", some if tokens.too_long else all_fit
    longest, where = tokens.longest
    yield "longest", escape(f"{longest:,} tokens: {f'line {where.line}' if where.file == source else where}")


def _lengths(checked: Checked) -> Measures:
    return checked.tokens.lengths if checked.tokens is not None else checked.census.lengths


def _show_lengths(checked: Checked, out: Console) -> None:
    """Quantiles as a table; below it the histogram of prompt and longest completion together."""
    lengths = _lengths(checked)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"{lengths.unit} of")
    for part in QUANTILES:
        word = {0.0: "least", 0.5: "median", 1.0: "most"}.get(part, f"{100 * part:.0f} %")
        table.add_column(word, justify="right")
    for name, values in lengths.quantiles().items():
        table.add_row(NAMES[name], *(f"{value:,}" for value in values))
    out.print(table)
    together = lengths.lengths().get("together")
    if together is not None and len(together) > BARS:
        for line in bars(histogram(together, bars=BARS)):
            out.print(line)


NAMES = {"prompt": "prompt", "completion": "completion", "together": "prompt and longest completion"}


def bars(of: Histogram) -> Iterator[Text]:
    """A line a bar, from the first that is not empty on: `100 to 199  ██████▌ 1,204`."""
    most = max(of.counts)
    ends = [f"{i * of.width:,} to {(i + 1) * of.width - 1:,}" for i in range(len(of.counts))]
    if of.beyond:
        ends[-1] = f"from {(len(of.counts) - 1) * of.width:,} on"
    room = max(map(len, ends))
    for end, count in dropwhile(lambda bar: not bar[1], zip(ends, of.counts, strict=True)):
        eighths = round(8 * WIDTH * count / most)
        bar = "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()
        bar = bar or ("▏" if count else "")
        yield Text.assemble(f"  {end:>{room}}  ", (bar, "cyan"), f" {count:,}" if count else "")


def _show_findings(checked: Checked, out: Console) -> None:
    out.print()
    for severity in ("error", "warning"):
        kinds: dict[str, list[Finding]] = defaultdict(list)
        for finding in checked.of(severity):
            kinds[finding.name].append(finding)
        for name in sorted(kinds, key=list(FINDINGS).index):
            for line in _kind(severity, name, kinds[name]):
                out.print(line, soft_wrap=True)
            out.print()


def _kind(severity: Severity, name: str, found: list[Finding]) -> Iterator[Text]:
    """One kind of finding: how many, what it is, the first lines, where the others are, and what to do."""
    mark, style = MARK[severity]
    times = f" x {len(found):,}" if len(found) > 1 else ""
    yield Text.assemble((f"{mark} {severity} {name}{times}", f"bold {style}"), f"  {FINDINGS[name].what}")
    chosen = _examples(found)
    for finding in chosen:
        said = ": ".join(part for part in (finding.field, finding.what) if part)
        yield Text.assemble("    ", (str(finding.origin), "cyan"), f": {said}")
    if more := _numbers(found, chosen):
        yield Text(f"    {more}")
    for fix in dict.fromkeys(finding.fix or FINDINGS[name].fix for finding in chosen):
        yield Text.assemble(("    -> ", "green"), fix)


def _examples(found: list[Finding]) -> list[Finding]:
    """The first ones: of different wording first, as they say more."""
    different = list({(finding.field, finding.what): finding for finding in reversed(found)}.values())
    first = sorted(different, key=lambda finding: finding.origin)[:LINES]
    return sorted([*first, *(finding for finding in found if finding not in first)][:LINES], key=lambda one: one.origin)


def _numbers(found: Iterable[Finding], shown: list[Finding]) -> str:
    """`and in lines 388, 691 and 828`; beyond NUMBERS only how many."""
    lines = list(dict.fromkeys(finding.origin for finding in found if finding not in shown))
    if not lines:
        return ""
    files = {origin.file for origin in lines}
    named = [str(origin.line) if len(files) == 1 else str(origin) for origin in lines[:NUMBERS]]
    rest = len(lines) - len(named)
    word = "line" if len(lines) == 1 else "lines"
    return f"and in {word} {', '.join(named)}" + (f" and {rest:,} more (--json FILE lists all)" if rest else "")


def _verdict(checked: Checked) -> Text:
    """One line: whether training would stop, and what to do."""
    errors = checked.of("error")
    rows = len({finding.origin for finding in errors if finding.origin.line})
    warnings = len(checked.of("warning"))
    beside = f"; {_many(warnings, 'warning')}" if warnings else ""
    if checked.fixed is not None:
        file, listed, kept, left_out = checked.fixed
        still = f"; this would still stop {_command(checked)}" if checked.exit_code else ""
        return Text(f"wrote {file}: {_many(kept, 'row')}; {left_out:,} left out, listed in {listed}{still}{beside}")
    if not errors:
        return Text.assemble(("clean", "bold green"), f": nothing would stop {_command(checked)}{beside}")
    whole = [finding for finding in errors if not finding.origin.line]
    also = f" and {FINDINGS[whole[0].name].what}" if whole else ""
    of = f"{_many(rows, 'row')}{also} would stop" if rows else "this would stop"
    fix = ": there is none that it can use" if rows and rows == checked.read else ""
    if rows and not fix:
        drops = not whole and all(finding.name != "shared_prompt" for finding in errors)
        fix = ": run it with --on_bad_row drop, or " if drops else ": "
        fix += "write a clean copy with accord check --fix OUT"
    return Text.assemble((of, "bold red"), f" {_command(checked)}{beside}{fix}")


def _command(checked: Checked) -> str:
    """What the data are for: the command, or what is done with them where there is none yet."""
    return f"accord {checked.stage}" if checked.stage in COMMANDS else TO_DO[checked.stage]


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
