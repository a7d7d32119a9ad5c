"""What several of the options of TRL's GRPO, RLOO and PPO decide together; as `accord.stages.jointly`.

TRL's batches count completions, ours prompts: a step of P completions with K of each prompt is one of P / K prompts.
"""

from __future__ import annotations

import math
import os
import re

from accord.errors import InputError
from accord.stages.flat_yaml import Given
from accord.stages.jointly import Join, Options, Rest, items, number, whole, word
from accord.stages.rl_names import ALGORITHMS

OWN_FUNCTIONS = ("accuracy_reward", "reasoning_accuracy_reward", "think_format_reward", "get_soft_overlong_punishment")
DOTTED = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)\.(?P<function>[A-Za-z_]\w*)")
AGGREGATIONS = {"grpo": "sequence_mean", "dapo": "token_mean", "bnpo": "token_mean", "dr_grpo": "sequence_sum"}
CLIPRANGE = "0.2"  # TRL's epsilon where it is not given


def _batch(found: Options, rest: Rest) -> Options:
    """Completions of a step -> its prompts; steps of a generation -> minibatches of a round."""
    numbers = {name: whole(name, given, rest) for name, given in found.items() if word(given.value) != "none"}
    a_pass = numbers.get("per_device_train_batch_size", 8) * int(os.environ.get("WORLD_SIZE", "1"))
    passes, result = numbers.get("gradient_accumulation_steps", 1), {}
    of_step = [name for name in ("per_device_train_batch_size", "gradient_accumulation_steps") if name in numbers]
    if of_step:
        each = _default("num_generations", rest)
        prompts = _share(of_step[0], found, a_pass * passes, each, rest, f"completions by num_generations {each}")
        result["batch_size"] = Given(str(prompts), found[of_step[0]].place, of_step[0])
    if name := next((key for key in ("steps_per_generation", "generation_batch_size") if key in numbers), None):
        count, each = (numbers[name], passes) if name == "steps_per_generation" else (numbers[name], a_pass * passes)
        what = "passes by those of a step" if name == "steps_per_generation" else "completions by those of a step"
        minis = _share(name, found, count, each, rest, f"{what}, {each}")
        result["num_mini_batches"] = Given(str(minis), found[name].place, name)
    return result


def _share(name: str, found: Options, count: int, each: int, rest: Rest, what: str) -> int:
    """count / each; InputError where it is not whole."""
    if count % each:
        where = found[name].at(name, rest.where)
        fix = "other numbers, or --batch_size and --num_mini_batches"
        raise InputError(f"{count} {what} is no whole number", where=where, fix=fix)
    return count // each


def _default(name: str, rest: Rest) -> int:
    """What an option that depends on the algorithm comes to."""
    told = {"num_ppo_epochs": "num_iterations"}.get(name, name)
    for key in (name, told):
        if key in rest.told and word(rest.told[key].value) != "none":
            return whole(key, rest.told[key], rest)
    if isinstance(own := rest.ours[name].default, int):
        return own
    algorithm = str(rest.told["algorithm"].value) if "algorithm" in rest.told else ""
    row = next((row for key, row in ALGORITHMS.items() if key == algorithm), None)
    return int(str(row.defaults[name])) if row else 1  # of no algorithm: refused later


def _episodes(found: Options, rest: Rest) -> Options:
    """Samples of the whole run -> the steps that learn from them."""
    (given,) = found.values()
    if word(given.value) == "none":
        return {}
    minis, each = _default("num_mini_batches", rest), _default("num_generations", rest)
    a_round = _default("batch_size", rest) * minis * each
    rounds = math.ceil(whole("total_episodes", given, rest) / a_round)
    steps = rounds * _default("num_ppo_epochs", rest) * minis
    return {"max_steps": Given(str(steps), given.place, "total_episodes")}


def _reward(found: Options, rest: Rest) -> Options:
    """A reward model, and functions behind it."""
    given = {name: one for name, one in found.items() if word(one.value) not in ("none", "[]", "")}
    if not given:
        return {}
    paths = [name for name in ("reward_model_name_or_path", "reward_model_path") if name in given]
    if len(paths) > 1:
        raise rest.refuse(paths[1], given[paths[1]], "reward_model_name_or_path is given, too", "keep one of the two")
    sources: list[object] = [given[name].value for name in paths]
    if "reward_funcs" in given:
        sources += [_function(str(item), given["reward_funcs"], rest) for item in items(given["reward_funcs"].value)]
    name, first = next(iter(given.items()))
    return {"reward": Given(sources[0] if len(sources) == 1 else sources, first.place, name)}


def _function(written: str, given: Given, rest: Rest) -> str:
    if ":" in written:
        return written
    if written in OWN_FUNCTIONS:
        why = "it is a function of TRL's own"
        raise rest.refuse("reward_funcs", given._replace(value=written), why, "write it, and give module:function")
    if not (parts := DOTTED.fullmatch(written)):
        raise rest.refuse("reward_funcs", given._replace(value=written), "it names no module", "give module:function")
    return f"{parts['module']}:{parts['function']}"


def _cliprange(found: Options, rest: Rest) -> Options:
    low = found.get("epsilon", Given(CLIPRANGE))
    high = found.get("epsilon_high")
    if high is not None and word(high.value) not in ("none", word(low.value)):
        raise rest.refuse("epsilon_high", high, "ratios have one bound on both sides", "epsilon alone")
    return {"cliprange": low._replace(spelling="epsilon")} if "epsilon" in found else {}


def _aggregation(found: Options, rest: Rest) -> Options:
    (given,) = found.values()
    if word(given.value) == "none":
        return {}
    kind = word(items(given.value)[0])
    if kind not in AGGREGATIONS or len(items(given.value)) > 1:
        raise rest.refuse(
            "loss_type", given, "the loss is that of the clipped ratio", f"one of {', '.join(AGGREGATIONS)}"
        )
    if kind == "dr_grpo":
        where = given.at("loss_type", rest.where)
        rest.notes.append(f"{where}: max_completion_length times TRL's, which max_grad_norm sees, and AdamW does not")
    return {"loss_aggregation": Given(AGGREGATIONS[kind], given.place, "loss_type")}


def _penalty(found: Options, rest: Rest) -> Options:
    """It is subtracted, unless missing_eos says something else."""
    (given,) = found.values()
    if word(given.value) == "none":
        return {}
    held = {"missing_eos_penalty": given}
    mask = rest.told.get("mask_truncated_completions", Given(False))
    if "missing_eos" in rest.told or word(mask.value) == "true":
        return held
    return {**held, "missing_eos": Given("subtract", given.place, "missing_eos_penalty")}


def _bounds(found: Options, rest: Rest) -> Options:
    (given,) = found.values()
    if word(given.value) == "none":
        return {}
    ends = [number(item) for item in items(given.value)]
    low, high = ends if len(ends) == 2 else (None, None)
    if not (isinstance(low, float) and isinstance(high, float) and low == -high and high > 0):
        raise rest.refuse("reward_clip_range", given, "rewards are kept within plus and minus a number", "[-5, 5]")
    return {"reward_clip": Given(str(high), given.place, "reward_clip_range")}


def _policy(found: Options, rest: Rest) -> Options:
    """The model that is trained; where that has a name of its own the other one is the tokenizer's."""
    tuned, named = found.get("sft_model_path"), found.get("model_name_or_path")
    if tuned is None:
        assert named is not None
        return {"model": named._replace(spelling="model_name_or_path")}
    if named is not None and word(named.value) != word(tuned.value):
        where = named.at("model_name_or_path", rest.where)
        rest.notes.append(f"{where}: not used, as sft_model_path is given, with its tokenizer")
    return {"model": tuned._replace(spelling="sft_model_path")}


def _length(found: Options, rest: Rest) -> Options:
    """Without a limit for prompts the whole may be as long as the model can read, unless a limit is given."""
    prompt, result = found.pop("max_prompt_length", None), {}
    if new := next(iter(found.items()), None):
        result["max_new_tokens"] = new[1]._replace(spelling=new[0])
    if prompt is not None and word(prompt.value) != "none":
        samples = whole(*new, rest) if new else _default("max_new_tokens", rest)
        longest = Given(str(whole("max_prompt_length", prompt, rest) + samples), prompt.place, "max_prompt_length")
        cut = {} if "on_long" in rest.told else {"on_long": longest._replace(value="truncate_prompt")}
        return {**result, **cut, "max_length": longest}
    if new and not {"max_length", "max_seq_length"} & rest.told.keys():
        result["max_length"] = Given(None, new[1].place, new[0])
    return result


RL_JOINTLY: tuple[tuple[tuple[str, ...], Join], ...] = (
    (("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation", "generation_batch_size"),
     _batch),
    (("total_episodes",), _episodes),
    (("reward_model_name_or_path", "reward_model_path", "reward_funcs"), _reward),
    (("epsilon", "epsilon_high"), _cliprange),
    (("loss_type",), _aggregation),
    (("missing_eos_penalty",), _penalty),
    (("reward_clip_range",), _bounds),
    (("sft_model_path", "model_name_or_path"), _policy),
    (("max_completion_length", "max_prompt_length"), _length),
    (("response_length",), _length),
)  # fmt: skip
