"""The config machinery: three sources, one set of checks, one frozen model."""

import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import accord
from accord.errors import InputError
from accord.records import Group
from accord.stages.command_options import DemoOptions
from accord.stages.commands import COMMANDS, call
from accord.stages.config import DpoConfig, InitConfig, LogprobsConfig, PretrainConfig, SftConfig
from accord.stages.leaves import leaves
from accord.stages.options import Config
from accord.stages.resolve import changed, dump, flat, load, nearest

NEEDED = {"model": "m", "data": "d.jsonl", "output_dir": "out"}


def sft(**arguments: object) -> SftConfig:
    return load(SftConfig, arguments=NEEDED | arguments)


def refusal(**arguments: object) -> str:
    with pytest.raises(InputError) as caught:
        sft(**arguments)
    return str(caught.value)


def yaml_refusal(tmp_path: Path, text: str) -> str:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        load(SftConfig, file=str(file), arguments=NEEDED)
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_a_unique_name_and_a_small_group(name: str) -> None:
    config = COMMANDS[name].config
    for field in config.model_fields.values():
        assert len(field.annotation.model_fields) <= 25
    for leaf in leaves(config).values():  # leaves() refuses a name that two groups use
        assert leaf.help.endswith(".")
        needed = ("model", "data", "output_dir", "output", "adapter", "file", "directory", "to", "reward")
        needed = (*needed, "runs", "tasks")
        free = (("check", "model"), ("runs", "directory"), ("sample", "reward"), ("online-dpo", "reward"))
        free = (*free, ("perplexity", "output"), ("report", "output"))
        judged = (("winrate", "data"), ("winrate", "model"))  # verdicts, or models whose answers are judged
        own = name in ("demo", "collect demo") or (name, leaf.key) in (*free, *judged)
        if (name, leaf.key) == ("rl", "algorithm"):
            continue  # which the other commands have in their name
        assert leaf.required == (leaf.key in needed and not own)
    assert set(config.defaults) <= set(leaves(config))


def test_defaults_are_those_of_the_design() -> None:
    config = sft()
    assert (config.train.batch_size, config.data.max_length, config.run.logging_steps) == (16, 1024, 10)
    assert (config.model.dtype, config.run.report_to, config.run.resume) == (None, ["tensorboard"], False)
    rate = {stage: leaves(stage)["learning_rate"].default for stage in (PretrainConfig, SftConfig, DpoConfig)}
    assert rate == {PretrainConfig: 1e-3, SftConfig: 2e-5, DpoConfig: 1e-6}
    assert load(LogprobsConfig, arguments={"model": "m", "data": "d", "output": "o"}).model.dtype == "float32"


def test_beta_has_the_default_of_the_loss_itself() -> None:
    from accord.maths.preference import PAIR_LOSSES, hyperparameters

    assert leaves(DpoConfig)["beta"].default is None  # which leaves it to the loss
    assert hyperparameters(PAIR_LOSSES["sigmoid"].loss)["beta"] == 0.1


def test_the_command_line_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("batch_size: 4\nlearning-rate: 1e-6  # YAML 1.1 takes this for a text\nreference: x\n")
    config = load(DpoConfig, file=str(file), arguments={**NEEDED, "batch_size": "8"})
    assert (config.train.batch_size, config.train.learning_rate, config.train.momentum) == (8, 1e-6, 0.9)
    assert config.preference.reference == "x"


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("batch_size", "8", 8),
        ("learning_rate", "3e-4", 3e-4),
        ("num_train_epochs", "2", 2.0),
        ("shuffle", "False", False),
        ("resume", "true", True),
        ("resume", "out/checkpoint-5", "out/checkpoint-5"),
        ("max_steps", "none", None),
        ("device", "null", None),
        ("average", "none", "none"),
        ("model", "none", "none"),
        ("model", "123", "123"),
        ("chat_template_kwargs", '{"thinking": false}', {"thinking": False}),
        ("eval_steps", "epoch", "epoch"),
        ("eval_steps", "none", None),
        ("save_steps", "20", 20),
        ("report_to", "wandb", ["wandb"]),
        ("report_to", "tensorboard, mlflow", ["tensorboard", "mlflow"]),
        ("report_to", '["tensorboard"]', ["tensorboard"]),
        ("lora_target_modules", "all-linear", "all-linear"),
        ("lora_target_modules", '["q_proj", "v_proj"]', ["q_proj", "v_proj"]),
    ],
)
def test_text_is_read_by_the_type_of_its_option(key: str, text: str, value: object) -> None:
    needs = {"eval_steps": {"validation": 0.1}, "lora_target_modules": {"lora_r": 4}}
    found = flat(sft(**{key: text}, **needs.get(key, {})))[key]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("batch_size", "0", "--batch_size: 0 is out of range: batch_size must be at least 1"),
        ("batch_size", "many",
         "--batch_size: 'many' is not a whole number: batch_size must be a whole number, at least 1"),
        ("batch_size", "1.5",
         "--batch_size: '1.5' is not a whole number: batch_size must be a whole number, at least 1"),
        ("batch_size", True, "--batch_size: True is not a whole number: batch_size must be a whole number, at least 1"),
        ("batch_size", None, "--batch_size: null is not a whole number: batch_size must be a whole number, at least 1"),
        ("learning_rate", "nan",
         "--learning_rate: nan is not a finite number: learning_rate must be a number, greater than 0"),
        ("learning_rate", math.inf,
         "--learning_rate: inf is not a finite number: learning_rate must be a number, greater than 0"),
        ("validation", "1", "--validation: 1.0 is out of range: validation must be at least 0 and below 1"),
        ("max_dropped", "-0.1", "--max_dropped: -0.1 is out of range: max_dropped must be at least 0 and at most 1"),
        ("shuffle", "yes", "--shuffle: 'yes' is not true or false: shuffle must be true or false"),
        ("eval_steps", "0", "--eval_steps: 0 is out of range: eval_steps must be at least 1"),
        ("save_steps", "often",
         "--save_steps: 'often' is not a whole number or epoch: "
         "save_steps must be a whole number or epoch, at least 1"),
        ("report_to", "wandb,comet",
         "--report_to: 'comet' is not one of them: "
         "report_to must be some of tensorboard, wandb, trackio, mlflow, none"),
        ("report_to", "none,wandb",
         "--report_to: none together with trackers: none alone, or only the trackers"),
        ("on_long", "cut",
         "--on_long: 'cut' is not one of the choices: on_long must be one of drop, error, truncate_prompt"),
        ("model", "", "--model: empty: give a value, or leave it out"),
        ("model", None, "--model: null is not a text: model must be a text"),
        ("chat_template_kwargs", "[1]",
         "--chat_template_kwargs: [1] is not a JSON object: chat_template_kwargs must be a JSON object"),
        ("lerning_rate", "1", "--lerning_rate: unknown option: did you mean --learning_rate?"),
        ("xyzzy", "1", "--xyzzy: unknown option: `accord COMMAND --help` lists the options"),
        ("warmup_steps", "2.5",
         "--warmup_steps: 2.5 is neither a fraction nor a number of steps: "
         "below 1 it is a fraction of all steps, from 1 on a whole number of steps"),
        ("mix", "texts", "--mix: would not be used, as mix_fraction is 0: give mix_fraction too, for example 0.1"),
        ("mix_fraction", "0.5",
         "--mix_fraction: a fraction of nothing, as no mix is given: give mix too, or leave both out"),
        ("data", "<object>",
         "--data: <object> stands for an object that was passed from Python: give a directory, a file or a name"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_where_what_and_fix(key: str, value: object, error: str) -> None:
    assert refusal(**{key: value}) == error


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999", "[NaN]"])
def test_no_number_of_a_json_object_is_infinite(text: str) -> None:
    assert "is not a finite number" in refusal(chat_template_kwargs=f'{{"a": {text}}}')


def test_what_contradicts_itself_is_refused() -> None:
    assert refusal(validation="0.1", eval_data="e") == "--validation: not together with eval_data: give one of the two"
    assert sft(mix="texts", mix_fraction="0.25").demonstration.mix_fraction == 0.25


def test_all_mistakes_are_found_at_once() -> None:
    with pytest.raises(InputError) as caught:
        load(SftConfig, arguments={"model": "m", "beta1": 1, "bath_size": 2})
    assert str(caught.value) == "--beta1: unknown option: did you mean --adam_beta1?"
    with pytest.raises(InputError) as caught:
        load(SftConfig, arguments={"model": "m", "batch_size": 0, "momentum": 1})
    assert [str(caught.value).split(": ")[0], *(error.where for error in caught.value.others)] == [
        "--data", "--batch_size", "--momentum", "--output_dir",
    ]  # fmt: skip


@pytest.mark.parametrize("beta", ["0", "-0.1", "nan", "inf", "true"])
def test_beta_is_greater_than_0_and_finite(beta: str) -> None:
    with pytest.raises(InputError, match=r"^--beta: .*greater than 0$"):
        load(DpoConfig, arguments=NEEDED | {"beta": beta})


def test_the_loss_is_one_of_the_table() -> None:
    with pytest.raises(InputError, match=r"^--loss_type: 'sigmoit' is not one of the choices: .* one of sigmoid"):
        load(DpoConfig, arguments=NEEDED | {"loss_type": "sigmoit"})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("seed: 1\n\nbata: 2\n", "config.yaml:3: unknown option 'bata': did you mean 'data'?"),
        ("seed: 1\nseed: 2\n", "config.yaml:2: 'seed' is given twice, first in line 1: keep one of the two"),
        ("batch-size: 1\nbatch_size: 2\n",
         "config.yaml:2: 'batch_size' is given twice, first in line 1: keep one of the two"),
        ("chat_template_kwargs:\n  a: 1\n  a: 2\n",
         "config.yaml:3: 'a' is given twice, first in line 2: keep one of the two"),
        ("# a comment\nseed: x\n",
         "config.yaml:2: seed: 'x' is not a whole number: "
         "seed must be a whole number, at least 0 and at most 4294967295"),
        ("seed:\n",
         "config.yaml:1: seed: null is not a whole number: "
         "seed must be a whole number, at least 0 and at most 4294967295"),
        ("shuffle: yes\n", "config.yaml:1: shuffle: 'yes' is not true or false: shuffle must be true or false"),
        ("momentum: [0.1, 0.2]\n",
         "config.yaml:1: momentum: ['0.1', '0.2'] is not a number: momentum must be a number, at least 0 and below 1"),
        ("env:\n  A: b\n",
         "config.yaml:1: env: is not supported, as a config sets options, not the process's environment: "
         "set the variables in the shell"),
        ("- seed\n", "config.yaml:1: not a list of options: write one `key: value` a line"),
        ("seed: 'x\n", "config.yaml:2: not YAML (found unexpected end of stream): write one `key: value` a line"),
        ("chat_template_kwargs: &x {a: *x}\n",
         "config.yaml:1: not YAML (found unconstructable recursive node): write one `key: value` a line"),
        ("chat_template_kwargs: !!python/name:os.system\n",
         "config.yaml:1: chat_template_kwargs: '' is not a JSON object: chat_template_kwargs must be a JSON object"),
        ("data: <object>\n", ""),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path, text: str, error: str) -> None:
    if not error:  # what the command line gives wins over the file's mistake
        (tmp_path / "config.yaml").write_text(text)
        assert load(SftConfig, file=str(tmp_path / "config.yaml"), arguments=NEEDED).data.data == "d.jsonl"
    else:
        assert yaml_refusal(tmp_path, text) == error


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read \(No such file or directory\)"):
        load(SftConfig, file=str(tmp_path / "none.yaml"))
    (tmp_path / "latin.yaml").write_bytes(b"model: caf\xe9\n")
    with pytest.raises(InputError, match=r"latin\.yaml: not text .*give a YAML file in UTF-8"):
        load(SftConfig, file=str(tmp_path / "latin.yaml"))


def test_a_deep_file_is_refused_not_a_crash(tmp_path: Path) -> None:
    assert "not YAML" in yaml_refusal(tmp_path, "chat_template_kwargs: " + "[" * 20_000)


def test_an_empty_file_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("# nothing yet\n")
    assert load(SftConfig, file=str(tmp_path / "config.yaml"), arguments=NEEDED) == sft()


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        sft().train.seed = 1  # type: ignore[misc]


@settings(max_examples=60, deadline=None)
@given(
    model=st.text(min_size=1),
    reference=st.none() | st.text(min_size=1),
    beta=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    kwargs=st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-9, 9) | st.text()),
)
def test_what_is_dumped_is_read_back(
    tmp_path_factory: Any, model: str, reference: Any, beta: float, kwargs: Any
) -> None:
    given_here = {"model": model, "reference": reference, "beta": beta, "chat_template_kwargs": kwargs}
    config = load(DpoConfig, arguments=NEEDED | given_here, where="")
    file = tmp_path_factory.getbasetemp() / "dumped.yaml"
    file.write_text(dump(config), encoding="utf-8")
    assert load(DpoConfig, file=str(file)) == config


def test_a_dump_has_every_option_in_the_order_of_the_groups() -> None:
    lines = dump(sft(learning_rate="1e-5")).splitlines()
    assert [line.split(":")[0] for line in lines] == list(leaves(SftConfig))
    assert {"model: m", "learning_rate: 1.0e-05", "max_steps: null", "average: none"} <= set(lines)


def test_changed_names_key_old_and_new() -> None:
    assert changed(sft(), sft(seed="3", mix="t", mix_fraction="0.5")) == [
        ("seed", 0, 3), ("mix", None, "t"), ("mix_fraction", 0.0, 0.5),
    ]  # fmt: skip
    assert changed(sft(), sft()) == []


@pytest.mark.parametrize(
    ("shape", "error"),
    [
        ({"heads": 3},
         "--hidden_size: 256 does not give 3 heads of an even width each: hidden_size must be a multiple of 6"),
        ({"kv_heads": 3}, "--kv_heads: 3 does not divide 4 heads: kv_heads must be a divisor of heads"),
        ({"vocab_size": 100}, "--vocab_size: 100 is out of range: vocab_size must be at least 264 and at most 1000000"),
    ],
)  # fmt: skip
def test_a_new_model_has_a_shape_that_works(shape: dict[str, int], error: str) -> None:
    with pytest.raises(InputError) as caught:
        load(InitConfig, arguments={"data": "d", "output_dir": "o"} | shape)
    assert str(caught.value).startswith(error)


def test_key_value_heads_are_half_the_heads_unless_given() -> None:
    needed = {"data": "d", "output_dir": "o"}
    assert load(InitConfig, arguments=needed).new_model.key_value_heads == 2
    assert load(InitConfig, arguments=needed | {"heads": 1}).new_model.key_value_heads == 1
    assert load(InitConfig, arguments=needed | {"kv_heads": 4}).new_model.key_value_heads == 4


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A supervised stage that only says what it got."""
    module: Any = ModuleType("accord.stages.sft")
    module.run = lambda config, given: SimpleNamespace(config=config, given=given)
    monkeypatch.setitem(sys.modules, "accord.stages.sft", module)
    return module


def test_a_stage_called_from_python_gets_a_checked_config(stage: SimpleNamespace, tmp_path: Path) -> None:
    result = accord.sft(model=tmp_path / "m", data="d", output_dir="o", batch_size=4, learning_rate="1e-4")
    assert result.config.model.model == str(tmp_path / "m")
    assert (result.config.train.batch_size, result.config.train.learning_rate, result.given) == (4, 1e-4, {})
    (tmp_path / "c.yaml").write_text("data: d\noutput_dir: o\nseed: 3\n")
    assert accord.sft(config=tmp_path / "c.yaml", model="m", seed=4).config.train.seed == 4


def test_objects_from_python_go_past_the_config(stage: SimpleNamespace) -> None:
    model, tokenizer, groups = object(), object(), [Group("1", "a", ())]
    result = accord.sft(model=model, tokenizer=tokenizer, data=groups, output_dir="o")
    assert result.given == {"model": model, "tokenizer": tokenizer, "data": groups}
    assert (result.config.model.model, result.config.data.data) == ("<object>", "<object>")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"bath_size": 1}, "bath_size: unknown option: did you mean batch_size?"),
        ({"batch_size": 0}, "batch_size: 0 is out of range: batch_size must be at least 1"),
        ({"reference": object()}, "reference: unknown option: "),
        ({"tokenizer": "gpt2"}, "tokenizer: takes a loaded tokenizer only: leave it out to take the model's own"),
        ({"eval_data": [], "validation": 0.5}, "validation: not together with eval_data: give one of the two"),
    ],
)
def test_python_gets_the_same_refusals(stage: SimpleNamespace, options: dict[str, Any], error: str) -> None:
    with pytest.raises(InputError) as caught:
        accord.sft(**{"model": "m", "data": "d", "output_dir": "o"}, **options)
    assert str(caught.value).startswith(error)


def test_an_unset_object_is_no_object(stage: SimpleNamespace) -> None:
    result = call("sft", model="m", data="d", output_dir="o", tokenizer=None, eval_data=None)
    assert (result.given, result.config.data.eval_data) == ({}, None)


def test_the_functions_show_their_options() -> None:
    import inspect

    parameters = inspect.signature(accord.dpo).parameters
    assert parameters["model"].default is inspect.Parameter.empty
    assert (parameters["batch_size"].default, parameters["config"].default) == (16, None)
    assert "accord dpo --help" in (accord.dpo.__doc__ or "")


def test_every_public_name_is_there_and_torch_is_not_needed() -> None:
    script = (
        "import sys, accord, accord.cli\n"
        "for name in accord.__all__: getattr(accord, name)\n"
        "assert accord.Group('1', 'a', ()).id == '1' and 'dpo' in dir(accord)\n"
        "heavy = {'torch', 'transformers', 'numpy', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, cwd=Path(accord.__file__).parents[1])
    assert set(accord.__all__) - {"__version__"} == set(accord.HOMES)
    with pytest.raises(AttributeError, match="no attribute 'dpoo'"):
        _ = accord.dpoo


def test_nearest_prefers_what_begins_alike() -> None:
    assert nearest("bata", ["data", "beta"]) == nearest("bata", ["beta", "data"]) == "beta"
    assert nearest("xyzzy", ["data", "beta"]) is None and nearest("x", []) is None


def test_two_options_of_one_name_are_our_mistake() -> None:
    class Twice(Config):
        first: DemoOptions
        second: DemoOptions

    with pytest.raises(AssertionError, match="two options are called output_dir"):
        leaves(Twice)


def test_a_file_whose_name_begins_with_a_bracket_is_a_file() -> None:
    given = {"model": "m", "output_dir": "o"}
    config: Any = load(COMMANDS["dpo"].config, arguments=given | {"data": "[red]x.jsonl"})
    assert config.data.data == "[red]x.jsonl"
    mixed: Any = load(COMMANDS["dpo"].config, arguments=given | {"data": '[{"path": "x"}, {"path": "y"}]'})
    assert [part.path for part in mixed.data.parts] == ["x", "y"]
