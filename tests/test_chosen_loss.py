"""From options to losses: names, hyper-parameters, combinations, and what does not fit together."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import tiny

import accord
from accord.cli import main
from accord.errors import InputError
from accord.maths import gap_losses, reference_free
from accord.maths.f_divergence import DIVERGENCES
from accord.maths.reward import REWARD_LOSSES
from accord.stages import loss_names
from accord.stages.card import model_card
from accord.stages.commands import COMMANDS
from accord.stages.config import DpoConfig
from accord.stages.loss_names import HYPERPARAMETERS
from accord.stages.loss_options import PreferenceOptions
from accord.stages.losses import TABLES, ChosenLoss, chosen_loss
from accord.stages.resolve import load


def chosen(**options: Any) -> ChosenLoss:
    return chosen_loss(PreferenceOptions(**{"loss_type": "sigmoid", **options}))


def refused(**options: Any) -> str:
    with pytest.raises(InputError) as caught:
        arguments = {"model": "m", "data": "d", "output_dir": "o", **options}
        load(DpoConfig, arguments=arguments, where="--")
    return str(caught.value)


def test_the_names_in_help_texts_are_those_of_the_tables() -> None:
    by_kind = {"pairs": loss_names.PAIRS, "labels": loss_names.LABELS, "rankings": loss_names.RANKINGS}
    assert {kind: list(names) for kind, names in by_kind.items()} == {
        kind: list(table) for kind, table in TABLES.items()
    }
    assert sum(map(len, TABLES.values())) == len(loss_names.NAMES), "two losses of one name"


def test_every_hyper_parameter_of_a_loss_is_an_option() -> None:
    from accord.maths.pair import hyperparameters

    taken = {key for table in TABLES.values() for row in table.values() for key in hyperparameters(row.loss)}
    assert taken == set(HYPERPARAMETERS)
    assert all(key in PreferenceOptions.model_fields for key in HYPERPARAMETERS)


@pytest.mark.parametrize("name", loss_names.NAMES)
def test_every_loss_can_be_chosen_by_its_name_with_its_own_defaults(name: str) -> None:
    (term,) = chosen(loss_type=name).terms
    assert term.row is next(table[name] for table in TABLES.values() if name in table)
    assert term.weight == 1.0


def test_a_given_number_takes_the_place_of_the_losss_own() -> None:
    assert chosen(loss_type="simpo").terms[0].hyper == {"beta": 2.0, "gamma_beta_ratio": 0.5}
    assert chosen(loss_type="simpo", beta=3.5).terms[0].hyper == {"beta": 3.5, "gamma_beta_ratio": 0.5}


def test_losses_are_added_up_with_their_weights() -> None:
    made = chosen(loss_type=[{"name": "sigmoid", "weight": 0.8, "beta": 0.2}, {"name": "sft", "weight": 0.5}, "hinge"])
    assert [(term.row.loss, term.weight) for term in made.terms] == [
        (gap_losses.dpo, 0.8),
        (reference_free.sft, 0.5),
        (gap_losses.hinge, 1.0),
    ]
    assert [term.hyper.get("beta") for term in made.terms] == [0.2, None, 0.1]


def test_names_with_commas_are_a_sum_too() -> None:
    assert [term.row.loss for term in chosen(loss_type="sigmoid, sft").terms] == [gap_losses.dpo, reference_free.sft]


def test_nll_weight_adds_the_likelihood_of_the_chosen() -> None:
    _, nll = chosen(nll_weight=0.3).terms
    assert (nll.row.loss, nll.weight) == (reference_free.sft, 0.3)


def test_a_divergence_with_its_coefficient() -> None:
    import torch

    made = chosen(f_divergence_type="alpha_divergence", f_alpha_divergence_coef=0.0)
    rho = torch.tensor([0.5, -1.0])
    assert made.modifiers.divergence is not None
    torch.testing.assert_close(made.modifiers.divergence(rho), DIVERGENCES["forward_kl"].score(rho))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"loss_type": "simp"}, "did you mean 'simpo'"),
        ({"loss_type": "sigmoid,kto"}, "only losses of pairs can be added up"),
        ({"loss_type": "hinge", "gamma_beta_ratio": 1.0}, "gamma_beta_ratio: not used by the loss hinge"),
        ({"loss_type": "simpo", "reference": "other"}, "reference: not used, as simpo has no reference"),
        ({"loss_type": "simpo", "sync_reference": "soft"}, "sync_reference: not used, as simpo has no reference"),
        ({"loss_type": "apo_zero", "f_divergence_type": "forward_kl"}, "apo_zero does not take one"),
        ({"f_alpha_divergence_coef": 0.3}, "f_alpha_divergence_coef: not used by reverse_kl"),
        ({"loss_type": "kto", "ld_alpha": 0.5}, "ld_alpha: changes losses of pairs"),
        ({"loss_type": "kto", "nll_weight": 0.5}, "nll_weight: changes losses of pairs"),
        ({"loss_type": "aot", "use_weighting": True}, "no pairs of its own to weigh"),
        ({"sync_steps": 10}, "sync_steps: not used, as the reference does not move"),
        ({"loss_type": "exo_pair", "label_smoothing": 0.0}, "0 makes exo_pair infinite"),
        ({"loss_type": [{"name": "sigmoid", "tau": 1.0}]}, "sigmoid has no 'tau'"),
        ({"loss_type": [{"name": "sigmoid", "weight": -1.0}]}, "weight of sigmoid is -1.0"),
        ({"loss_type": [{"weight": 1.0}]}, "has no name"),
        ({"loss_type": []}, "an empty list"),
        ({"beta": 0.0}, "greater than 0"),
        ({"loss_type": [{"name": "sigmoid", "beta": 0}]}, "beta must be greater than 0"),
        ({"loss_type": [{"name": "discopop", "discopop_tau": 0}]}, "discopop_tau must be greater than 0"),
        ({"loss_type": [{"name": "sigmoid", "beta": 0.2}], "beta": 0.7}, "beta: not used by the loss sigmoid"),
        ({"sync_reference": "hard", "sync_alpha": 0.3}, "sync_alpha: not used, as a hard reference moves wholly"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], says: str) -> None:
    assert says in refused(**options)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "prefs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in tiny.comparisons(12)))
    return path


def arguments(model: Path, data: Path, folder: Path, *more: str) -> list[str]:
    fixed = ["--max_steps", "2", "--batch_size", "4", "--samples", "0", "--report_to", "none", "--validation", "0.3"]
    words = ["--model", str(model), "--data", str(data), "--output_dir", str(folder), "--logging_steps", "1"]
    return [*words, *fixed, "--threads", "1", "--reference_cache", "none", *more]


@pytest.mark.parametrize("name", [name for name in loss_names.COMMANDS if COMMANDS[name].hidden])
def test_every_loss_is_a_command_that_trains(name: str, model: Path, data: Path, tmp_path: Path) -> None:
    assert main([name, *arguments(model, data, tmp_path / "run")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any("rewards/accuracies" in line for line in lines) and "eval_loss" in lines[-1]
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_a_loss_by_its_command_is_the_same_as_by_its_name(model: Path, data: Path, tmp_path: Path) -> None:
    for folder, words in (("a", ["hinge"]), ("b", ["dpo", "--loss_type", "hinge"])):
        assert main([*words, *arguments(model, data, tmp_path / folder)]) == 0
    one, two = ((tmp_path / folder / "model.safetensors").read_bytes() for folder in "ab")
    assert one == two


@pytest.mark.parametrize(
    ("options", "title"),
    [
        ({}, "# Aligned with comparisons by direct preference optimisation"),
        ({"loss_type": "kto"}, "# Aligned with labelled completions by kto"),
        ({"loss_type": "plackett_luce"}, "# Aligned with rankings by plackett_luce"),
        ({"loss_type": ["ipo", {"name": "sft", "weight": 0.5}]}, "# Aligned with comparisons by ipo + sft"),
    ],
)
def test_a_model_card_names_the_loss(options: dict[str, Any], title: str) -> None:
    config = load(DpoConfig, arguments={"model": "m", "data": "d.jsonl", "output_dir": "o", **options})
    summary = {"data": {"report": "", "fingerprint": ""}, "train_groups": 1, "held_out_groups": 0, "steps": 1}
    summary |= {"seconds": 1.0, "held_out": {}, "layout": "rows", "changes": []}
    assert title in model_card("dpo", config, summary).splitlines()
    warned = model_card("dpo", config, summary | {"warnings": ["step 3: the loss leapt"]})
    assert "## Warnings while it was trained\n\n- step 3: the loss leapt\n" in warned
    assert "Warnings" not in model_card("dpo", config, summary | {"warnings": []})


@pytest.mark.parametrize("loss", ["sigmoid", "plackett_luce"])
def test_labels_without_comparisons_are_sent_to_their_own_losses(loss: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a label and no comparison: learn from labels: accord kto"):
        accord.dpo(model=model, data=labelled(2), output_dir=tmp_path / "run", loss_type=loss)


@pytest.mark.parametrize("sync", ["soft", "hard"])
def test_a_run_with_a_moving_reference_resumes_to_the_bit(sync: str, model: Path, data: Path, tmp_path: Path) -> None:
    def run(folder: str, **options: Any) -> list[bytes]:
        result = accord.dpo(
            model=model, data=data, output_dir=tmp_path / folder, batch_size=4, max_steps=6, samples=0,
            report_to="none", sync_reference=sync, learning_rate=1e-2, lr_scheduler_type="constant",
            save_steps=3, threads=1, **{"sync_steps": 2, **options},
        )  # fmt: skip
        return [tensor.detach().numpy().tobytes() for tensor in result.model.parameters()]

    whole = run("whole")

    def stop(line: dict[str, Any]) -> None:
        if line["step"] >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("cut", callback=stop, logging_steps=1)
    assert run("cut", resume=True, logging_steps=1) == whole
    assert run("apart", sync_steps=5) != whole


def labelled(count: int, *, words: int = 3, label: bool = True) -> list[dict[str, Any]]:
    return [
        {"prompt": f"{i} {tiny.sentence(i, 2)} ?", "completion": " " + tiny.sentence(90 + i, words), "label": label}
        for i in range(count)
    ]


@pytest.mark.parametrize("name", ["kto", "bco"])
def test_held_out_labels_of_one_side_say_nothing_of_the_other(name: str, model: Path, tmp_path: Path) -> None:
    usual: dict[str, Any] = {"samples": 0, "report_to": "none", "reference_cache": "none", "threads": 1, "max_steps": 1}
    train, held = labelled(6, label=False), [{**row, "prompt": row["prompt"] + " or"} for row in labelled(3)]
    result = accord.dpo(
        model=model, data=train, eval_data=held, output_dir=tmp_path / "run", loss_type=name, eval_steps=1, **usual
    )
    assert "eval_rewards/chosen" in result.metrics and "eval_rewards/rejected" not in result.metrics


def test_what_kto_borrows_fits_into_the_models_context(tmp_path: Path) -> None:
    """A long prompt with another's long completion: 64 places there are, and max_length is 1024."""
    model = tiny.write_model(tmp_path / "model", tiny.gpt2(vocab_size=300, n_positions=64))
    usual: dict[str, Any] = {"samples": 0, "report_to": "none", "reference_cache": "none", "threads": 1, "max_steps": 1}
    rows = [*labelled(2, words=24), {"prompt": tiny.sentence(5, 24), "completion": " yes", "label": False}]
    result = accord.dpo(model=model, data=rows, output_dir=tmp_path / "run", loss_type="kto", **usual)
    assert result.metrics["loss"] == pytest.approx(0.5, abs=1e-4)


def test_checkpointing_of_activations_says_nothing_of_other_names(model: Path, data: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        assert main(["dpo", *arguments(model, data, tmp_path / "run", "--gradient_checkpointing")]) == 0


def test_losses_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["losses", "--json", "-"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows if row["stage"] == "dpo"] == list(loss_names.NAMES)
    rewards = {row["name"]: row["options"] for row in rows if row["stage"] == "reward"}
    assert list(rewards) == list(loss_names.REWARDS) == list(REWARD_LOSSES)
    assert rewards["davidson"] == {"tie_strength": 1.0}
    assert next(row for row in rows if row["name"] == "simpo")["options"] == {"beta": 2.0, "gamma_beta_ratio": 0.5}


def test_held_out_figures_are_against_the_reference_that_the_run_began_with(
    model: Path, data: Path, tmp_path: Path
) -> None:
    """Moved to the policy after the last step, the reference would give every pair a tie and the loss log 2."""
    for loss, at_start in (("sigmoid", 0.6931), ("kto", 0.5)):
        result = accord.dpo(
            model=model, data=data, output_dir=tmp_path / loss, batch_size=4, max_steps=4, samples=0, loss_type=loss,
            report_to="none", sync_reference="hard", sync_steps=4, learning_rate=3e-2, validation=0.4, threads=1,
        )  # fmt: skip
        held = result.summary["held_out"]
        assert held["loss"]["before"]["mean"] == pytest.approx(at_start, abs=1e-3)
        assert abs(held["loss"]["after"]["mean"] - at_start) > 1e-3
        assert held["rewards/accuracies"]["before"]["mean"] == 0.5


def test_the_numbers_of_a_loss_are_in_summary_and_card(model: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main(["simpo", *arguments(model, data, folder, "--beta", "3")]) == 0
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["losses"] == [{"name": "simpo", "weight": 1.0, "beta": 3.0, "gamma_beta_ratio": 0.5}]
    assert "`simpo` (weight 1, beta 3, gamma_beta_ratio 0.5)" in (folder / "README.md").read_text()


def test_a_command_named_after_a_loss_trains_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simpo", "--model", "m", "--data", "d", "--output_dir", "o", "--loss_type"]
    assert main([*words, "ipo"]) == 2
    assert "--loss_type: ipo, and the command is accord simpo" in capsys.readouterr().err
    words[0] = "kto"  # as of TRL, whose KTO has this loss too
    load(COMMANDS["kto"].config, arguments={"model": "m", "data": "d", "output_dir": "o", "loss_type": "bco"})


def test_a_callback_by_name_is_refused() -> None:
    with pytest.raises(InputError, match="callback: takes functions only"):
        accord.dpo(model="m", data="d", output_dir="o", callback="stop")


def test_a_loss_is_a_function_of_python() -> None:
    assert accord.kto.__name__ == "kto"
    with pytest.raises(AttributeError, match="ktoo"):
        accord.ktoo  # noqa: B018
