"""What several of TRL's options decide together, such as the batch size. One function each; JOINTLY says of which.

Each takes those that are given, and gives our options instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from accord.errors import InputError
from accord.stages.flat_yaml import Given
from accord.stages.leaves import Leaf

Options = dict[str, Given]  # by name

LORA = {"lora_r": "16", "lora_alpha": "32", "lora_dropout": "0.05"}  # what TRL trains with use_peft
OF_LORA = (*LORA, "lora_target_modules", "use_rslora", "use_dora")
PRECISIONS = {
    "bfloat16": "bf16", "bf16": "bf16", "float32": "float32", "float": "float32", "auto": None, "none": None,
}  # fmt: skip


def word(value: object) -> str:
    """How a value is compared: none, true, 8, 0.5, a lower-case text."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    text = str(value).strip().lower()
    try:
        return f"{float(text):g}"
    except ValueError:
        return {"null": "none"}.get(text, text)


SECRETS = ("hub_token",)  # never shown
OF_PARTS = ("name", "data_dir", "columns")  # what TRL may say of an entry of datasets, and we do not


def refusal(name: str, given: Given, where: str, why: str, fix: str) -> InputError:
    """The error for a value of TRL's that cannot be honoured here."""
    shown = "null" if given.value is None else "what stands there" if name in SECRETS else given.value
    return InputError(f"{shown} has no counterpart, as {why}", where=given.at(name, where), fix=fix)


class Rest(NamedTuple):
    """What else is given, for options that are decided together."""

    told: Options
    ours: Mapping[str, Leaf]
    where: str
    notes: list[str]

    def refuse(self, name: str, given: Given, why: str, fix: str) -> InputError:
        """The error for a value that cannot be honoured."""
        return refusal(name, given, self.where, why, fix)


def whole(name: str, given: Given, rest: Rest) -> int:
    """A number of things. InputError where it is none."""
    try:
        number = int(str(given.value))
    except ValueError:
        number = 0
    if number < 1 or isinstance(given.value, bool):
        what = f"{given.value} is not a whole number, at least 1"
        raise InputError(what, where=given.at(name, rest.where), fix="give one")
    return number


def _batch(found: Options, rest: Rest) -> Options:
    """One step's groups: those of a pass on a device, the passes that are added up, and the processes."""
    numbers = {name: whole(name, given, rest) for name, given in found.items()}
    per_pass, passes = numbers.get("per_device_train_batch_size", 8), numbers.get("gradient_accumulation_steps", 1)
    name, given = next(iter(found.items()))
    count = per_pass * passes * int(os.environ.get("WORLD_SIZE", "1"))
    return {"batch_size": Given(str(count), given.place, name)}


def _strategy(to: str, default: Callable[[Rest], str | None]) -> Callable[[Options, Rest], Options]:
    """steps, epoch or no, with `to` where it says steps."""

    def join(found: Options, rest: Rest) -> Options:
        spelled = next((key for key in found if key != to), None)
        if spelled is None:
            return {to: found[to]._replace(value=None if word(found[to].value) == "none" else found[to].value)}
        given = found[spelled]
        match word(given.value):
            case "no" if to != "logging_steps":
                value: object = None
            case "epoch":
                value = "epoch"
            case "steps":
                if to in found and word(found[to].value) != "none":
                    return {to: found[to]}
                value = default(rest)
            case _:
                takes = "steps or epoch" if to == "logging_steps" else "no, steps or epoch"
                raise rest.refuse(spelled, given, f"{to} says how often", takes)
        return {to: Given(value, given.place, spelled)}

    return join


def _evaluation(found: Options, rest: Rest) -> Options:
    """How often, and on what: with TRL the test split of the data set, wherever there is a strategy."""
    test = found.pop("dataset_test_split", None)
    name = rest.told.get("dataset_name")
    own = {"eval_data", "validation", "test_split_size"} & rest.told.keys()
    if found.keys() == {"eval_steps"} and name is not None and not own:
        alone = found.pop("eval_steps")
        rest.notes.append(f"{alone.at('eval_steps', rest.where)}: not used, as TRL uses it with eval_strategy")
    often = _strategy("eval_steps", lambda rest: _value(rest, "logging_steps", "10"))
    result = often(found, rest) if found else {}
    by_strategy = found.keys() - {"eval_steps"} and result["eval_steps"].value is not None
    split = None if test is None else test._replace(spelling="dataset_test_split")
    if by_strategy and name is not None and not own and (split or not os.path.exists(str(name.value))):
        return result | {"eval_data": name._replace(spelling="dataset_name"), "eval_split": split or Given("test")}
    if split is not None and "eval_data" in own:
        return result | {"eval_split": split}
    if split is not None:
        rest.notes.append(f"{split.at('dataset_test_split', rest.where)}: not used, as TRL uses it with eval_strategy")
    return result


def _value(rest: Rest, name: str, default: str) -> str:
    return str(rest.told[name].value) if name in rest.told else default


def _precision(found: Options, rest: Rest) -> Options:
    """The numbers of the computation: bfloat16 where bf16 or dtype says so; masters are float32 anyway."""
    if "fp16" in found and word(found["fp16"].value) != "false":
        raise rest.refuse("fp16", found["fp16"], "nothing is trained in float16", "--dtype bf16")
    loaded = next((name for name in ("dtype", "torch_dtype") if name in found), None)
    chosen: str | None = None
    if loaded is not None:
        asked = word(found[loaded].value).removeprefix("torch.")
        if asked not in PRECISIONS:
            raise rest.refuse(loaded, found[loaded], "models compute in float32 or bf16", "float32, bf16 or auto")
        chosen = PRECISIONS[asked]
    name: str = loaded or "fp16"
    if "bf16" in found and word(found["bf16"].value) != "none":
        name = "bf16"
        if word(found["bf16"].value) not in ("true", "false"):
            raise rest.refuse("bf16", found["bf16"], "it is true or false", "true or false")
        chosen = "bf16" if word(found["bf16"].value) == "true" else chosen or "float32"
    return {} if name == "fp16" else {"dtype": Given(chosen, found[name].place, name)}


def _adapter(found: Options, rest: Rest) -> Options:
    """use_peft decides; without it a rank turns LoRA on."""
    said = found.pop("use_peft", None)
    if said is None:
        return found
    if word(said.value) == "true":
        defaults = {name: Given(value, said.place, "use_peft") for name, value in LORA.items() if name not in found}
        return found | defaults
    if word(said.value) != "false":
        raise rest.refuse("use_peft", said, "it is true or false", "true or false")
    rest.notes.extend(f"{given.at(name, rest.where)}: not used, as use_peft is false" for name, given in found.items())
    return {}


def _loss(found: Options, rest: Rest) -> Options:
    """A list of names, with their weights, is a combination; a list of one name is that loss."""
    if "loss_type" not in found and word(found["loss_weights"].value) == "none":
        return {}
    if "loss_type" not in found:
        raise rest.refuse("loss_weights", found["loss_weights"], "there is no list of losses", "give loss_type too")
    given, weights = found["loss_type"], found.get("loss_weights")
    names = items(given.value)
    if "loss_type" not in rest.ours:
        if [word(name) for name in names] != ["nll"]:
            raise rest.refuse("loss_type", given, "this stage has one loss, the likelihood", "leave it out")
        return {}
    ours = len(names) > 1 or not isinstance(given.value, list) or any(isinstance(name, dict) for name in names)
    if weights is None and ours:
        return {"loss_type": given}
    shares = ["1"] * len(names) if weights is None or word(weights.value) == "none" else items(weights.value)
    if len(shares) != len(names):
        what = f"{len(shares)} weights for {len(names)} losses"
        raise InputError(what, where=(weights or given).at("loss_weights", rest.where), fix="one weight a loss")
    if len(names) == 1 and word(shares[0]) == "1":
        return {"loss_type": given._replace(value=names[0])}
    mixed = [{"name": name, "weight": number(share)} for name, share in zip(names, shares, strict=True)]
    return {"loss_type": given._replace(value=mixed)}


def items(value: object) -> list[object]:
    """Of a list as YAML, JSON or commas give it."""
    if isinstance(value, list):
        return list(value)
    return [item.strip(" \"'") for item in str(value).strip("[] ").split(",")]


def number(value: object) -> object:
    """As a float, where it is one."""
    try:
        return float(str(value))
    except ValueError:
        return value


def _warmup(found: Options, rest: Rest) -> Options:
    (given,) = found.values()
    share = number(given.value)
    if not isinstance(share, float) or not 0 <= share < 1:
        raise rest.refuse("warmup_ratio", given, "it is a fraction of all steps", "at least 0 and below 1")
    return {"warmup_steps": Given(str(share), given.place, "warmup_ratio")}


def _mixture(found: Options, rest: Rest) -> Options:
    """Data sets, each by its name and split or as a file."""
    (given,) = found.values()
    entries = given.value if isinstance(given.value, list) else [given.value]
    if not entries:
        return {}
    parts = [_part(entry, given, rest) for entry in entries]
    if len(parts) > 1 or parts[0].keys() - {"path", "split"}:
        return {"data": Given(parts, given.place, "datasets")}
    result = {"data": Given(parts[0]["path"], given.place, "datasets")}
    split = parts[0].get("split")
    return result if split is None else result | {"split": Given(split, given.place, "datasets")}


def _part(given_entry: object, given: Given, rest: Rest) -> dict[str, object]:
    """An entry as ours: path, split and weight."""
    entry = dict(given_entry) if isinstance(given_entry, dict) else {}
    path, files = (entry.pop(key, None) for key in ("path", "data_files"))
    kept = {key: entry.pop(key) for key in list(entry) if key not in OF_PARTS and entry[key] is not None}
    if isinstance(files, list) and len(files) == 1:
        (files,) = files
    plain = path is not None and (files is None or (path == "json" and isinstance(files, str)))
    if not plain or any(value is not None for value in entry.values()):
        why = "parts of data sets are made beforehand"
        raise rest.refuse("datasets", given._replace(value="this"), why, "entries with path, split and weight")
    return {"path": files or path, **kept}


def _hub(found: Options, rest: Rest) -> Options:
    """Whether, and under which name."""
    said, name = found.get("push_to_hub"), found.get("hub_model_id")
    if said is None or word(said.value) in ("false", "none"):
        if name is not None and word(name.value) != "none":
            rest.notes.append(f"{name.at('hub_model_id', rest.where)}: not used, as push_to_hub is not true")
        return {}
    if word(said.value) != "true":
        return {"push_to_hub": said}
    if name is None:
        raise rest.refuse("push_to_hub", said, "it takes the name on the hub", "USER/NAME, or hub_model_id too")
    return {"push_to_hub": Given(name.value, name.place, "hub_model_id")}


Join = Callable[[Options, Rest], Options]
JOINTLY: tuple[tuple[tuple[str, ...], Join], ...] = (
    (("per_device_train_batch_size", "gradient_accumulation_steps"), _batch),
    (("eval_strategy", "evaluation_strategy", "eval_steps", "dataset_test_split"), _evaluation),
    (("save_strategy", "save_steps"), _strategy("save_steps", lambda rest: "500")),
    (("logging_strategy", "logging_steps"), _strategy("logging_steps", lambda rest: "10")),
    (("dtype", "torch_dtype", "bf16", "fp16"), _precision),
    (("use_peft", *OF_LORA), _adapter),
    (("loss_type", "loss_weights"), _loss),
    (("warmup_ratio",), _warmup),
    (("datasets",), _mixture),
    (("push_to_hub", "hub_model_id"), _hub),
)
