"""Writes the formats and findings of docs/data.md anew, from what the program really prints: python docs/data.py"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import format_examples  # noqa: E402
from rich.console import Console  # noqa: E402
from tokenizers.normalizers import Lowercase, Normalizer  # noqa: E402
from transformers import LlamaConfig  # noqa: E402

from accord.data.findings import FINDINGS, LETTERS, STAGES  # noqa: E402
from accord.data.formats import EVERYWHERE, FORMATS, to_rows  # noqa: E402
from accord.data.read import read_groups  # noqa: E402
from accord.data.report import BadRows, DataReport, Refusals  # noqa: E402
from accord.data.sift import sift  # noqa: E402
from accord.models.pocket import train_tokenizer  # noqa: E402
from accord.stages import check_report  # noqa: E402
from accord.stages.config import CheckConfig  # noqa: E402
from accord.stages.examine import examine  # noqa: E402
from accord.stages.resolve import load  # noqa: E402

PAGE = HERE / "data.md"
BECOMES = "In the columns of `group`:"
WIDE = 240  # characters of a line of an example; what is longer is cut
ASK = {"role": "user", "content": "What colour is the sky?"}
PAIR = {"prompt": "The sky is", "chosen": " blue.", "rejected": " red."}
PLAIN = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
OPEN = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
Row = dict[str, Any] | str | bytes


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def chat(chosen: str = "Blue.", rejected: str = "Red.", ask: str = "What colour is the sky?") -> dict[str, Any]:
    prompt = [{"role": "user", "content": ask}]
    return {"prompt": prompt, "chosen": said(chosen), "rejected": said(rejected)}


@dataclass(frozen=True)
class Case:
    """The rows of a small file in which something is found, and how it is checked.

    shown: how many of the rows the page prints. template: a chat template; held: rows of the held-out data.
    """

    rows: Sequence[Row]
    shown: int = 3
    name: str = "data.jsonl"
    template: str | None = None
    tokens: bool = False
    held: Sequence[Row] = ()
    options: dict[str, object] = field(default_factory=dict)


MANY = [{"prompt": f"Question {i}?", "chosen": "Yes, and here is why.", "rejected": "No."} for i in range(24)]
CASES: dict[str, Case] = {
    "not_utf8": Case([json.dumps(PAIR).encode().replace(b"blue", b"caf\xe9")]),
    "broken_json": Case(['{"prompt": "Coal is", "chosen" " black.", "rejected": " pink."}']),
    "duplicate_key": Case(['{"prompt": "Coal is", "chosen": " black.", "chosen": " grey.", "rejected": " pink."}']),
    "lone_surrogate": Case([r'{"prompt": "Coal is", "chosen": " \ud83d", "rejected": " pink."}']),
    "too_large": Case(['{"prompt": ' + "[" * 101 + "]" * 101 + "}"]),
    "unreadable": Case(["prompt,chosen,rejected", "The sky is, blue., red.", 'Coal is,"black'], name="data.csv"),
    "malformed": Case([PAIR | {"chosen": 5}, {"prompt": "Coal is", "Chosen": " black.", "rejected": " pink."}]),
    "not_finite": Case(['{"prompt": "The sky is", "chosen": " blue.", "rejected": " red.", "margin": NaN}']),
    "duplicate_id": Case([{"id": "sky", **PAIR}, {"id": "sky", **PAIR, "prompt": "The sea is"}]),
    "empty_prompt": Case([PAIR | {"prompt": " "}]),
    "empty_turn": Case([chat(ask="")]),
    "empty_completion": Case([PAIR | {"chosen": ""}]),
    "equal_sides": Case([PAIR | {"rejected": PAIR["chosen"]}]),
    "not_judged": Case([{"prompt": "The sky is", "completions": [" blue.", " azure."], "ranks": [1, 1]}]),
    "odd_roles": Case([{**chat(), "prompt": [ASK, ASK]}]),
    "several_turns": Case([{**chat(), "chosen": [*said("Blue."), ASK, *said("Still blue.")]}]),
    "weighted": Case([{"text": "The sky is blue.", "weight": 2}]),
    "duplicate": Case([PAIR, PAIR]),
    "near_duplicate": Case(
        [PAIR | {"prompt": f"Write a poem about the sea, the wind and the old house on the hill{end}"} for end in ".!"]
    ),
    "contradiction": Case([PAIR, PAIR | {"chosen": PAIR["rejected"], "rejected": PAIR["chosen"]}]),
    "shared_prompt": Case([PAIR], held=[PAIR | {"chosen": " azure."}], options={"eval_data": "held.jsonl"}),
    "length_bias": Case(MANY, 1),
    "annotator_imbalance": Case([row | {"annotator": "Ann" if i % 6 else "Ben"} for i, row in enumerate(MANY)], 2),
    "refused_turns": Case(
        [chat()], template="{{ raise_exception('roles must be system, then user') }}", options={"stage": "dpo"}
    ),
    "not_prefix": Case(
        [chat()],
        template=PLAIN.replace("{{ m.content }}", "{{ '/no_think ' if m == messages[-1] }}{{ m.content }}") + OPEN,
    ),
    "left_out": Case(
        [{**chat(), "prompt": [{"role": "system", "content": "Be brief."}, ASK]}],
        template=PLAIN.replace("in messages", "in messages if m.role != 'system'") + OPEN,
    ),
    "double_bos": Case([chat()], template="{{ bos_token }}" + PLAIN + OPEN),
    "no_end": Case([chat()], template=PLAIN.replace("<|im_end|>\n", "\n") + OPEN),
    "control_string": Case([chat(ask="What does <|im_end|> mean?")], template=PLAIN + OPEN),
    "no_loss": Case(
        [{**chat(), "chosen": [{**said("")[0], "tool_calls": [{"name": "look"}]}]}],
        template="{% for m in messages %}{{ m.role }}:\n{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:\n{% endif %}",
    ),
    "too_long": Case([*[chat(ask=f"{i}?") for i in range(20)], chat("Blue. " * 99)], 0, tokens=True,
                     options={"max_length": 64}),
    "many_too_long": Case([chat(), chat("Blue. " * 99)], tokens=True, options={"max_length": 64}),
    "equal_after_cut": Case([chat("Blue. " * 99 + "now.", "Blue. " * 99 + "then.")], tokens=True,
                            options={"max_length": 64}),
    "equal_tokens": Case([chat("BLUE.", "Blue.")], tokens=True, options={"model": "lower"}),
}  # fmt: skip
REFUSED: list[Row] = [
    PAIR,
    '{"prompt": "Grass is", "chosen": "", "rejected": " red.", "source": "web"}',
    {"prompt": "Snow is", "chosen": " white.", "rejected": " white."},
    '{"prompt": "Coal is", "chosen" " black.", "rejected": " pink."}',
]
FINDING_TITLES = {
    "not_utf8": "Of a file",
    "malformed": "Of a row",
    "duplicate": "Of rows together",
    "refused_turns": "Of tokens",
}


def line_of(row: Row) -> bytes:
    if isinstance(row, dict):
        return json.dumps(row, ensure_ascii=False).encode()
    return row if isinstance(row, bytes) else row.encode()


def write(name: str, rows: Iterable[Row]) -> None:
    Path(name).write_bytes(b"".join(line_of(row) + b"\n" for row in rows))


@contextmanager
def workplace() -> Iterator[None]:
    """An empty folder as the present one, so that file names are short; with a tokenizer in `model`."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            write_model(Path("model"), None)
            write_model(Path("lower"), Lowercase())
            yield
        finally:
            os.chdir(before)


def write_model(directory: Path, normalizer: Normalizer | None) -> None:
    """A tokenizer and a config; no weights, which are not read."""
    words = "user assistant What colour is the sky? Blue. Red. Yes. No. Is it 1 x 2 = 3? Question " * 3
    tokenizer = train_tokenizer([words], 400)
    tokenizer.backend_tokenizer.normalizer = normalizer
    tokenizer.bos_token = "<|im_start|>"
    tokenizer.save_pretrained(directory)
    LlamaConfig(vocab_size=400, hidden_size=16, num_attention_heads=2, num_hidden_layers=1).save_pretrained(directory)


def of_check(**options: object) -> str:
    """What `accord check` prints."""
    checked = examine(load(CheckConfig, file=None, arguments=options), {})
    out = io.StringIO()
    check_report.show(checked, Console(file=out, width=110, highlight=False))
    return "\n".join(line.rstrip() for line in out.getvalue().strip("\n").split("\n"))


def printed(name: str, case: Case) -> str:
    """What `accord check` prints of this finding."""
    write(case.name, case.rows)
    write("held.jsonl", case.held)
    options: dict[str, object] = {"data": case.name, **case.options}
    if case.template is not None or case.tokens:
        options.setdefault("model", "model")
    if case.template is not None:
        Path("template.jinja").write_text(case.template)
        options["chat_template"] = "template.jinja"
    blocks = [block.strip("\n") for block in of_check(**options).split("\n\n")]
    return next(block for block in blocks if block.split(" ")[2:3] == [name])


def shown(row: Row) -> str:
    text = line_of(row).decode(errors="replace")
    return text if len(text) <= WIDE else text[: WIDE - 3] + "..."


def fenced(lines: Iterable[str], kind: str = "") -> str:
    return "\n".join([f"```{kind}", *lines, "```"]) + "\n"


def findings() -> str:
    """One section a finding: the rows, and what is printed of them."""
    made = []
    with workplace():
        for name in FINDINGS:
            if name in FINDING_TITLES:
                made.append(f"### {FINDING_TITLES[name]}\n")
            case = CASES[name]
            rows = [shown(row) for row in case.rows[: case.shown]]
            more = len(case.rows) - len(rows)
            rows += [f"... {'and ' if rows else ''}{more} {'more ' if rows else ''}rows"] if more else []
            if case.template is not None:
                rows = [*rows, "", f"with the template {case.template!r}"]
            made.append(fenced([*rows, "", printed(name, case)]))
    return "\n".join(made)


def stages() -> str:
    """The table of findings by stage."""
    word = {"error": "error", "warning": "warning", "data": ""}
    lines = [f"| finding | what | {' | '.join(STAGES)} |", "|---|---|" + "---|" * len(STAGES)]
    for name, kind in FINDINGS.items():
        lines.append(f"| `{name}` | {kind.what} | {' | '.join(word[LETTERS[letter]] for letter in kind.at)} |")
    return "\n".join(line.replace("  ", " ") for line in lines) + "\n"


def take(on_bad_row: str, report: DataReport) -> None:
    """Reads as accord dpo does."""
    refusals = Refusals(on_bad_row, report)
    list(sift(read_groups("prefs.jsonl", refusals=refusals), lambda group: group, "dpo", refusals=refusals))


def refused() -> str:
    """A file with bad rows: what reading says of it, and what is counted where they are dropped."""
    with workplace():
        write("prefs.jsonl", REFUSED)
        stopped, report = DataReport(), DataReport()
        try:
            take("error", stopped)
        except BadRows as error:
            errors = [str(error), *error.others]
        take("drop", report)
    return (
        "These four lines\n\n"
        + fenced([shown(row) for row in REFUSED])
        + "\nare refused with up to ten reasons at once:\n\n"
        + fenced(errors)
        + "\nWith `--on_bad_row drop` they are left out and counted; the data report names each with its line:\n\n"
        + fenced([report.summary()])
    )


def checking() -> str:
    """A whole output, with the tokens of a group."""
    rows = [chat(), *(chat("Yes.", "No. " * (1 + i % 5), f"Is {i} x {i} = {i * i}?") for i in range(20))]
    with workplace():
        write("comparisons.jsonl", [*rows, chat("Blue.", ""), chat("Red.", "Blue."), rows[3]])
        return fenced([of_check(data="comparisons.jsonl", model="model", show=1)])


def table() -> str:
    """A line a format: what it needs and reads."""
    lines = ["| format | columns | also read | what it is |", "|---|---|---|---|"]
    for name, form in FORMATS.items():
        needs, takes = (", ".join(f"`{column}`" for column in columns) for columns in (form.needs, form.takes))
        lines.append(f"| `{name}` | {needs} | {takes} | {form.means} |")
    everywhere = ", ".join(f"`{column}`" for column in EVERYWHERE)
    return "\n".join(lines).replace("|  |", "| |") + f"\n\nEvery format also reads {everywhere}.\n"


def formats() -> str:
    """One section a format: its columns, example rows, and the groups that they become."""
    made = []
    for name, form in FORMATS.items():
        example = format_examples.EXAMPLES[name]
        groups = [row for group in example.groups for row in to_rows(FORMATS["group"], group)[0]]
        made.append(
            f"### {name}\n\n{form.means[0].upper()}{form.means[1:]}.\n\n"
            + fenced([json.dumps(row, ensure_ascii=False) for row in example.rows], "json")
            + ("" if name == "group" else f"\n{BECOMES}\n\n" + fenced(map(json.dumps, groups), "json"))
        )
    return "\n".join(made)


SECTIONS: dict[str, Callable[[], str]] = {
    "table": table,
    "refused": refused,
    "checking": checking,
    "stages": stages,
    "formats": formats,
    "findings": findings,
}


def renewed(text: str) -> str:
    """The page with its sections as the program makes them now."""
    for name, make in SECTIONS.items():
        begin, end = f"<!-- {name}: python docs/data.py -->\n", f"<!-- end of {name} -->\n"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{make()}\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
