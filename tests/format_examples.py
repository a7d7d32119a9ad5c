"""One worked example of every format: its rows, and the groups that they are. Used by tests and by the docs."""

from typing import Any, NamedTuple

from accord.records import Completion, Group, Judgement, Message, Origin

Columns = dict[str, Any]


class Example(NamedTuple):
    """Rows of a file, and the groups that reading gives (their source is a line of HERE)."""

    rows: tuple[Columns, ...]
    groups: tuple[Group, ...]


HERE = "example.jsonl"
ASK = {"role": "user", "content": "What colour is the sky?"}
BLUE = {"role": "assistant", "content": "Blue."}
RED = {"role": "assistant", "content": "Red."}
USER = Message("user", "What colour is the sky?")
SAID_BLUE = (Message("assistant", "Blue."),)
SAID_RED = (Message("assistant", "Red."),)
PREFERS = Judgement(ranks=(1, 2))
WORSE_FIRST = Judgement(ranks=(2, 1), annotator="Ben")
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def group(
    prompt: Any,
    *contents: Any,
    said: tuple[Judgement, ...] = (),
    models: tuple[str, ...] = (),
    line: int = 1,
    **more: Any,
) -> Group:
    completions = tuple(map(Completion, contents, models or (None,) * len(contents)))
    more.setdefault("id", str(line))
    return Group(prompt=prompt, completions=completions, judgements=said, source=Origin(HERE, line), **more)


EXAMPLES: dict[str, Example] = {
    "comparison": Example(
        (
            {"prompt": "The sky is", "chosen": " blue.", "rejected": " red.", "margin": 2.0},
            {"id": "sky", "prompt": [ASK], "chosen": [BLUE], "rejected": [RED], "annotator": "Ann"},
            {"id": "sky", "prompt": [ASK], "chosen": [RED], "rejected": [BLUE], "annotator": "Ben"},
        ),
        (
            group("The sky is", " blue.", " red.", said=(Judgement(ranks=(1, 2), margin=2.0),)),
            group(
                (USER,),
                SAID_BLUE,
                SAID_RED,
                said=(Judgement(ranks=(1, 2), annotator="Ann"), WORSE_FIRST),
                id="sky",
                line=2,
            ),
        ),
    ),
    "demonstration": Example(
        (
            {"prompt": "The sky is", "completion": " blue."},
            {"prompt": [ASK], "completion": [BLUE], "model": "m-7b"},
            {"prompt": "The sky is", "completion": " red.", "labels": ["false", "short"]},
        ),
        (
            group("The sky is", " blue."),
            group((USER,), SAID_BLUE, models=("m-7b",), line=2),
            group("The sky is", " red.", said=(Judgement(classes=(("false", "short"),)),), line=3),
        ),
    ),
    "unpaired": Example(
        (
            {"prompt": "The sky is", "completion": " blue.", "label": True},
            {"prompt": "The sky is", "completion": " red.", "label": False},
        ),
        (
            group("The sky is", " blue.", said=(Judgement(labels=(True,)),)),
            group("The sky is", " red.", said=(Judgement(labels=(False,)),), line=2),
        ),
    ),
    "ranking": Example(
        (
            {"prompt": "The sky is", "completions": [" blue.", " red.", " green."], "ranks": [1, 2, 2]},
            {
                "prompt": [ASK],
                "completions": [[BLUE], [RED]],
                "ratings": [4.5, 1.0],
                "models": ["m-7b", "m-1b"],
                "annotator": "Ann",
            },
        ),
        (
            group("The sky is", " blue.", " red.", " green.", said=(Judgement(ranks=(1, 2, 2)),)),
            group(
                (USER,),
                SAID_BLUE,
                SAID_RED,
                said=(Judgement(ratings=(4.5, 1.0), annotator="Ann"),),
                models=("m-7b", "m-1b"),
                line=2,
            ),
        ),
    ),
    "group": Example(
        (
            {
                "id": "sky",
                "prompt": [ASK],
                "completions": [[BLUE], [RED]],
                "models": ["m-7b", None],
                "judgements": [
                    {"ranks": [1, 2], "margin": 2.0, "annotator": "Ann", "shown": [2, 1]},
                    {"ratings": [4.0, 5.0], "annotator": "Ben", "aspects": {"brevity": [5.0, 5.0]}},
                    {"labels": [True, False]},
                    {"classes": ["true", ["false", "short"]], "flags": {"toxic": [False, None]}},
                ],
                "category": "colours",
                "weight": 0.5,
                "tools": [TOOL],
            },
        ),
        (
            Group(
                "sky",
                (USER,),
                (Completion(SAID_BLUE, "m-7b"), Completion(SAID_RED)),
                (
                    Judgement(ranks=(1, 2), margin=2.0, annotator="Ann", shown=(2, 1)),
                    Judgement(ratings=(4.0, 5.0), annotator="Ben", aspects={"brevity": (5.0, 5.0)}),
                    Judgement(labels=(True, False)),
                    Judgement(classes=("true", ("false", "short")), flags={"toxic": (False, None)}),
                ),
                weight=0.5,
                category="colours",
                tools=(TOOL,),
                source=Origin(HERE, 1),
            ),
        ),
    ),
    "conversation": Example(
        (
            {"messages": [{"role": "system", "content": "Be brief."}, ASK, BLUE]},
            {"messages": [ASK, RED], "labels": "false", "annotator": "Ann"},
        ),
        (
            group((Message("system", "Be brief."), USER), SAID_BLUE),
            group((USER,), SAID_RED, said=(Judgement(classes=("false",), annotator="Ann"),), line=2),
        ),
    ),
    "document": Example(
        (
            {"text": "The sky is blue."},
            {"text": "The sky is red.", "label": "false"},
            {"text": "The sky is a fool.", "labels": {"toxic": True, "short": True, "sad": False}},
        ),
        (
            group("", "The sky is blue."),
            group("", "The sky is red.", said=(Judgement(classes=("false",)),), line=2),
            group(
                "",
                "The sky is a fool.",
                said=(Judgement(flags={"toxic": (True,), "short": (True,), "sad": (False,)}),),
                line=3,
            ),
        ),
    ),
    "prompt": Example(({"prompt": "The sky is"}, {"prompt": [ASK]}), (group("The sky is"), group((USER,), line=2))),
    "implicit": Example(
        ({"chosen": [ASK, BLUE], "rejected": [ASK, RED]},), (group((USER,), SAID_BLUE, SAID_RED, said=(PREFERS,)),)
    ),
    "hh": Example(
        (
            {
                "chosen": "\n\nHuman: What colour is the sky?\n\nAssistant: Blue.",
                "rejected": "\n\nHuman: What colour is the sky?\n\nAssistant: Red.",
            },
        ),
        (group((USER,), SAID_BLUE, SAID_RED, said=(PREFERS,)),),
    ),
    "alpaca": Example(
        (
            {"instruction": "What colour is it?", "input": "the sky", "output": "Blue."},
            {"instruction": "Sure?", "output": "Yes.", "system": "Be brief.", "history": [["The sky?", "Blue."]]},
        ),
        (
            group((Message("user", "What colour is it?\nthe sky"),), SAID_BLUE),
            group(
                (
                    Message("system", "Be brief."),
                    Message("user", "The sky?"),
                    Message("assistant", "Blue."),
                    Message("user", "Sure?"),
                ),
                (Message("assistant", "Yes."),),
                line=2,
            ),
        ),
    ),
    "alpaca_unpaired": Example(
        ({"instruction": "What colour is the sky?", "input": "", "output": "Red.", "kto_tag": False},),
        (group((USER,), SAID_RED, said=(Judgement(labels=(False,)),)),),
    ),
    "alpaca_comparison": Example(
        ({"instruction": "What colour is the sky?", "input": "", "chosen": "Blue.", "rejected": "Red."},),
        (group((USER,), SAID_BLUE, SAID_RED, said=(PREFERS,)),),
    ),
    "sharegpt": Example(
        (
            {
                "conversations": [
                    {"from": "human", "value": "What colour is the sky?"},
                    {"from": "function_call", "value": '{"name": "look", "arguments": {"at": "sky"}}'},
                    {"from": "observation", "value": "blue"},
                    {"from": "gpt", "value": "Blue."},
                ],
                "system": "Be brief.",
                "tools": '[{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]',
            },
        ),
        (
            group(
                (Message("system", "Be brief."), USER),
                (
                    Message(
                        "assistant",
                        "",
                        {
                            "tool_calls": [
                                {"type": "function", "function": {"name": "look", "arguments": {"at": "sky"}}}
                            ]
                        },
                    ),
                    Message("tool", "blue"),
                    *SAID_BLUE,
                ),
                tools=(TOOL,),
            ),
        ),
    ),
    "sharegpt_unpaired": Example(
        (
            {
                "conversations": [
                    {"from": "human", "value": "What colour is the sky?"},
                    {"from": "gpt", "value": "Blue."},
                ],
                "kto_tag": True,
            },
        ),
        (group((USER,), SAID_BLUE, said=(Judgement(labels=(True,)),)),),
    ),
    "sharegpt_comparison": Example(
        (
            {
                "conversations": [{"from": "human", "value": "What colour is the sky?"}],
                "chosen": {"from": "gpt", "value": "Blue."},
                "rejected": {"from": "gpt", "value": "Red."},
            },
        ),
        (group((USER,), SAID_BLUE, SAID_RED, said=(PREFERS,)),),
    ),
    "ultrafeedback": Example(
        (
            {
                "instruction": "What colour is the sky?",
                "completions": [
                    {
                        "model": "m-7b",
                        "response": "Blue.",
                        "annotations": {"honesty": {"Rating": "5"}, "truthfulness": {"Rating": "4"}},
                        "overall_score": 8.5,
                    },
                    {
                        "model": "m-1b",
                        "response": "Red.",
                        "annotations": {"honesty": {"Rating": "2"}, "truthfulness": {"Rating": "1"}},
                        "overall_score": 2.0,
                    },
                ],
            },
        ),
        (
            group(
                (USER,),
                SAID_BLUE,
                SAID_RED,
                said=(Judgement(ratings=(8.5, 2.0), aspects={"honesty": (5.0, 2.0), "truthfulness": (4.0, 1.0)}),),
                models=("m-7b", "m-1b"),
            ),
        ),
    ),
    "helpsteer": Example(
        (
            {
                "prompt": "What colour is the sky?",
                "response": "Blue.",
                "helpfulness": 4,
                "correctness": 4,
                "coherence": 4,
                "complexity": 0,
                "verbosity": 0,
            },
            {
                "prompt": "What colour is the sky?",
                "response": "Red.",
                "helpfulness": 1,
                "correctness": 0,
                "coherence": 4,
                "complexity": 0,
                "verbosity": 0,
            },
        ),
        (
            group(
                (USER,),
                SAID_BLUE,
                SAID_RED,
                said=(
                    Judgement(
                        ratings=(4.0, 1.0),
                        aspects={
                            "correctness": (4.0, 0.0),
                            "coherence": (4.0, 4.0),
                            "complexity": (0.0, 0.0),
                            "verbosity": (0.0, 0.0),
                        },
                    ),
                ),
            ),
        ),
    ),
}
