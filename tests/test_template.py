"""Chat templates: tried in a process of their own, killed where they must be, and then written as stock writes them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shapes import CHATML, QWEN25, SHAPES, tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from accord.data import sandbox
from accord.data.dialogue import Dialogue
from accord.data.report import DataReport
from accord.data.sandbox import ANSWERED, ASKED, PROBES, written
from accord.data.template import Template
from accord.errors import InputError, StorageError
from accord.records import Completion, Group, Message, Origin, RecordError, Turns

ROOT = Path(__file__).resolve().parents[1]
UNDEFINED = "{% for m in messages %}{{ m.body.text }}{% endfor %}"
ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
# Each with what is said of it.
HOSTILE = {
    "loops": (ENDLESS, "takes longer than"),
    "a power": ("{{ 9**(9**9) }}", "takes longer than"),
    "a string of 4 GB": ("{{ 'a' * 4000000000 }}", "needs more than 128 MB of memory"),
    "doubling": (
        "{% set ns = namespace(x='a' * 64) %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "needs more than 128 MB of memory",
    ),
    "much text": ("{{ messages[0].content * 999999 }}", "needs more than 128 MB of memory (19999980 characters"),
    "a long range": ("{{ range(1000000) | list }}", "counts further than templates may"),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "calls itself without end"),
    "internals": (
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "does what templates may not (access to attribute '__class__' of 'str' object is unsafe.)",
    ),
    "names that are not there": (UNDEFINED, "reads what is not there ("),
    "a misspelt name": (
        "{% for m in mesages %}{{ m.content }}{% endfor %}",
        "leaves out what was said: 'Whence the marigold?' does not stand in ''",
    ),
    "no assistant": (
        "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
        "leaves out what was said: 'From Zephyria.' does not stand in 'Whence",
    ),
    "no template": ("{% for %}", "is no template: Expected an expression, got 'end of statement block' (line 1)"),
    "an unknown filter": ("{{ messages | shuffle }}", "is no template: No filter named 'shuffle'"),
}


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less patience, for a quicker test."""
    monkeypatch.setattr(sandbox, "CPU_S", 0.5)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_broken_templates_are_refused(name: str) -> None:
    template, said = HOSTILE[name]
    with pytest.raises(InputError) as caught:
        written(template, {})
    assert caught.value.what.startswith(f"the chat template {said}")
    assert caught.value.fix == "--chat_template FILE or --chat_template_kwargs" and caught.value.code == 2


def test_the_child_is_gone_and_was_small() -> None:
    """In a process of its own: what it says of its children is about these alone."""
    program = f"""
import json, resource, sys
from accord.data import sandbox
from accord.errors import InputError
sandbox.CPU_S, children, started = 0.25, [], sandbox._started
def kept():
    children.append(started())
    return children[-1]
sandbox._started = kept
for template in json.loads({json.dumps(json.dumps([template for template, _ in HOSTILE.values()]))}):
    try:
        sandbox.written(template, {{}})
    except InputError:
        pass
megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
print(json.dumps([len(children), [child.poll() is None for child in children].count(True), megabytes]))
print(json.dumps("torch" in sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    started, alive, megabytes = json.loads(ran.stdout.splitlines()[0])
    assert (started, alive) == (len(HOSTILE), 0)
    assert megabytes < 300
    assert ran.stdout.splitlines()[1] == "false"


def test_the_child_writes_no_file(tmp_path: Path) -> None:
    """And starts wherever it is started from."""
    before = set(tmp_path.iterdir())
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from accord.data.sandbox import written; "
    program += f"print(written({CHATML!r}, {{}})[0] is not None)"
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == "True\n" and set(tmp_path.iterdir()) == before


def test_one_child_for_a_template_and_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    started = list[Any]()

    def counted() -> Any:
        started.append(True)
        return start()

    start = sandbox._started
    monkeypatch.setattr(sandbox, "_started", counted)
    template = CHATML + "{# once #}"
    first = written(template, {"eos_token": "</s>"})
    assert written(template, {"eos_token": "</s>"}) is first and len(started) == 1
    written(template, {"eos_token": "<|im_end|>"})
    assert len(started) == 2


def test_a_child_that_does_not_start_is_no_fault_of_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StorageError, match="the process that tries chat templates does not start"):
        written(CHATML + "{# never #}", {})
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(StorageError, match=r"does not start \(.*No such file"):
        written(CHATML + "{# never #}", {})


def test_what_the_child_writes_is_what_stock_writes_here() -> None:
    for name, shape in SHAPES.items():
        tok = tokenizer(name)
        texts = written(shape.template, tok.special_tokens_map)
        for probe, text in zip(PROBES, texts, strict=True):
            if text is not None:
                messages, tools, generation = probe
                stock: Any = tok.apply_chat_template
                assert text == stock(messages, tools=tools, add_generation_prompt=generation, tokenize=False)
        assert texts[0] is not None and ASKED in texts[0] and ANSWERED in texts[0]
        assert (texts[3] is None) == (name == "gemma3")  # whose roles must alternate


# In this process


class Counting(PreTrainedTokenizerFast):
    """Counts how often stock was asked to write."""

    calls = 0

    def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any:
        type(self).calls += 1
        return super().apply_chat_template(*args, **kwargs)


def counting(template: Any) -> Counting:
    Counting.calls = 0
    backend = tokenizer("chatml").backend_tokenizer
    return Counting(tokenizer_object=backend, eos_token="<|im_end|>", chat_template=template)


ASK = [{"role": "user", "content": "the sky"}]
TOOLS = [{"name": "look"}]


def test_messages_of_role_and_text_take_the_quick_way_and_all_others_the_stock_one() -> None:
    template = Template(counting(QWEN25), None, {})
    quick = template.write(ASK, None, generation=True)
    tried = Counting.calls
    assert template.write(ASK, None, generation=True) == quick and Counting.calls == tried
    called = [*ASK, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look"}}]}]
    assert "<tool_call>" in template.write(called, None, generation=False) and Counting.calls == tried + 1
    assert "<tools>" in template.write(ASK, TOOLS, generation=True) and Counting.calls > tried + 1


def test_a_template_that_does_not_write_the_same_twice_is_left_to_stock() -> None:
    clock = Template(counting(CHATML + "{{ strftime_now('%f') }}"), None, {})
    clock.write(ASK, None, generation=True)
    tried = Counting.calls
    clock.write(ASK, None, generation=True)
    assert Counting.calls == tried + 1


def test_variables_that_are_not_plain_are_left_to_stock() -> None:
    """Which puts a harmless name in their place."""
    template = Template(counting(CHATML + "{{ extra }}"), None, {"extra": Path("/etc")})
    assert template.write(ASK, None, generation=False).endswith("<PosixPath>")


@pytest.mark.parametrize("stored", ["dict", "list"])
def test_named_templates(tmp_path: Path, stored: str) -> None:
    """default, and tool_use for groups with tools; in tokenizer_config.json they are a list of names and templates."""
    named = {"default": CHATML, "tool_use": "TOOLS" + CHATML}
    tok: PreTrainedTokenizerBase = counting(named)
    if stored == "list":
        plain = tokenizer("chatml")
        plain.save_pretrained(tmp_path)
        (tmp_path / "chat_template.jinja").unlink()
        config = tmp_path / "tokenizer_config.json"
        listed = [{"name": name, "template": text} for name, text in named.items()]
        config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": listed}))
        tok = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    template = Template(tok, None, {})
    assert template.write(ASK, None, generation=False) == "<|im_start|>user\nthe sky<|im_end|>\n"
    assert template.write(ASK, TOOLS, generation=False).startswith('TOOLS<|im_start|>system\nTools: [{"name"')
    with pytest.raises(InputError, match="several chat templates, and none is called default"):
        Template(counting({"rag": CHATML}), None, {}).write(ASK, None, generation=False)


def test_every_named_template_is_tried() -> None:
    tok = counting({"default": CHATML, "tool_use": UNDEFINED})
    assert Template(tok, None, {}).write(ASK, None, generation=False)
    with pytest.raises(InputError, match="reads what is not there"):
        Template(tok, None, {}).write(ASK, TOOLS, generation=False)


@pytest.mark.parametrize("taken", ["tools", "messages", "tokenize", "padding"])
def test_what_is_no_variable_of_a_template(taken: str) -> None:
    with pytest.raises(InputError, match=f"chat_template_kwargs: '{taken}' is set by accord: leave it out"):
        Template(counting(CHATML), None, {taken: None})


def test_documents_are_a_variable_like_any_other() -> None:
    template = CHATML + "{% for d in documents or [] %}{{ d.text }}{% endfor %}"
    wrote = Template(counting(template), None, {"documents": [{"text": "blue"}]}).write(ASK, None, generation=False)
    assert wrote.endswith("blue")


# What a row meets


def group(prompt: Turns, *replies: Turns) -> Group:
    return Group("r1", prompt, tuple(map(Completion, replies)), source=Origin("rows.jsonl", 7))


USER, REPLY = (Message("user", "the sky"),), (Message("assistant", "blue"),)


@pytest.mark.parametrize(
    ("template", "prompt", "finding", "said"),
    [
        (
            "{{ raise_exception('no tools') if messages[0].role == 'tool' }}" + CHATML,
            "tool",
            "refused_turns",
            "no tool",
        ),
        ("{{ 1 // 0 if messages[0].content == 'the sky' }}" + CHATML, "user", "refused_turns", "integer division"),
        ("{{ bos_token * 2 }}" + CHATML, "user", "double_bos", "BOS stands twice at the start"),
        (CHATML.replace("assistant\\n'", "assistant:'"), "user", "not_prefix", "writes the prompt alone as"),
        ("{{ messages[-1].role }}" + CHATML, "user", "not_prefix", "they differ at character 1"),
    ],
    ids=["raises", "divides", "two BOS", "another header", "another start"],
)
def test_rows_that_a_template_refuses_are_named_with_their_finding(
    template: str, prompt: str, finding: str, said: str
) -> None:
    tok = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer("llama3").backend_tokenizer,
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        chat_template=template,
    )
    with pytest.raises(RecordError, match=said) as caught:
        Dialogue(tok).tokens(group((Message(prompt, "the sky"),), REPLY))
    assert caught.value.finding == finding and str(caught.value).startswith("rows.jsonl:7: ")


def test_mistral_with_the_system_text_in_the_last_question_is_no_prefix() -> None:
    """As mistralai/Mistral-7B-Instruct-v0.3 has it: peers train such rows on a prompt that is never sampled from."""
    template = """{{ bos_token }}{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}[INST]
{%- if loop.last and messages[0].role == 'system' %} {{ messages[0].content }}{% endif %} {{ m.content }}[/INST]
{%- else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"""
    dialogue = Dialogue(tokenizer("mistral"), chat_template=template)
    assert dialogue.tokens(group(USER, REPLY))
    with pytest.raises(RecordError) as caught:
        dialogue.tokens(group((Message("system", "Be brief."), *USER), REPLY))
    assert caught.value.finding == "not_prefix"


def test_rows_that_differ_are_counted_under_one_reason() -> None:
    report = DataReport()
    dialogue = Dialogue(tokenizer("chatml"), chat_template="{{ messages[-1].role }}" + CHATML, report=report)
    rows = [group(USER, REPLY), group((Message("user", "the sea"),), REPLY)]
    assert dialogue.many(rows, on_bad_row="drop") == []
    reason = "the chat template writes the prompt alone differently from the start of the whole"
    assert {name: len(rows) for name, rows in report.dropped.items()} == {reason: 2}


def test_plain_text_needs_no_template() -> None:
    tok = tokenizer("chatml")
    plain = Dialogue(tok, chat_template=ENDLESS).tokens(Group("1", "the sky", (Completion(" is blue"),)))
    assert len(plain.completions) == 1


def test_workers_and_ranks_start_it_too() -> None:
    """Under torchrun and pytest-xdist much is set in the environment, threads above all."""
    environment = {**os.environ, "RANK": "1", "WORLD_SIZE": "2", "OMP_NUM_THREADS": "64", "PYTHONPATH": str(ROOT)}
    program = f"from accord.data.sandbox import written; print(len(written({CHATML!r}, {{}})))"
    run = [sys.executable, "-c", program]
    ran = subprocess.run(run, env=environment, cwd="/", capture_output=True, text=True, check=True)
    assert ran.stdout == "4\n"
