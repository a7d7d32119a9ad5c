"""A sweep: which runs a file asks for, that each is made once, and what is shown of them side by side."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from accord.cli import main
from accord.errors import Diverged, InputError
from accord.stages import sweep
from accord.stages.sweep import plan
from accord.stages.sweep_report import Row, _best, _folded, write

HEAD = "command: dpo\nmodel: m\ndata: d.jsonl\nvalidation: 0.2\noutput_dir: out\n"


def planned(tmp_path: Path, text: str, head: str = HEAD) -> list[str]:
    (tmp_path / "sweep.yaml").write_text(head + text)
    return [one.name for one in plan(str(tmp_path / "sweep.yaml")).runs]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("learning_rate: [1e-6, 0.00001]\nbeta: [0.1, 0.5]\n",
         ["lr=1e-06,beta=0.1", "lr=1e-06,beta=0.5", "lr=1e-05,beta=0.1", "lr=1e-05,beta=0.5"]),
        ("loss_type: [[sigmoid], [ipo, hinge]]\n", ["loss_type=sigmoid", "loss_type=ipo+hinge"]),
        ("lora_r: [4, 8]\nlora_target_modules: [q_proj, v_proj]\n", ["lora_r=4", "lora_r=8"]),
        ("lora_r: 4\nlora_target_modules: [[q_proj], [q_proj, v_proj]]\n",
         ["lora_target_modules=q_proj", "lora_target_modules=q_proj+v_proj"]),
        ("reference: [models/a, other/b]\n", ["reference=a", "reference=b"]),
        ("reference: [models/a, other/a]\n", ["reference=a", "002,reference=a"]),
        ("max_steps: [null, 5]\nshuffle: [true]\n", ["max_steps=none,shuffle=true", "max_steps=5,shuffle=true"]),
        ("per_device_train_batch_size: [2, 4]\ngradient_accumulation_steps: 8\n", ["batch_size=16", "batch_size=32"]),
        ("seed: [7]\n", ["seed=7"]),
        ("loss_type: [sigmoid, ipo]\n", ["loss_type=sigmoid", "loss_type=ipo"]),
        ("loss_type: [sigmoid, [sigmoid, sft]]\n", ["loss_type=sigmoid", "loss_type=sigmoid+sft"]),
    ],
)  # fmt: skip
def test_a_list_stands_for_the_values_to_try(tmp_path: Path, text: str, names: list[str]) -> None:
    assert planned(tmp_path, text) == names


def test_every_run_has_its_folder_and_resumes(tmp_path: Path) -> None:
    planned(tmp_path, "beta: [0.1, 0.5]\n")
    found = plan(str(tmp_path / "sweep.yaml"))
    assert (found.command, found.folder) == ("dpo", Path("out"))
    assert [one.config.run.output_dir for one in found.runs] == ["out/beta=0.1", "out/beta=0.5"]
    assert all(one.config.run.resume for one in found.runs) and found.runs[1].varied == {"beta": 0.5}


@pytest.mark.parametrize(
    ("text", "head", "error"),
    [
        ("beta: 0.1\n", HEAD, "sweep.yaml: nothing varies: give an option a list of values; one that takes a list"),
        ("loss_type: [sigmoid, sft]\nloss_weights: [1, 0.5]\n", HEAD, "sweep.yaml: nothing varies"),
        ("lora_target_modules: [q_proj, [v_proj]]\n", HEAD, "sweep.yaml:6: lora_target_modules: lists and single"),
        ("beta: []\n", HEAD, "sweep.yaml:6: beta: no value in the list"),
        ("beta: [0.1, 0.10]\n", HEAD, "sweep.yaml: two runs are the same"),
        ("beta: [0.1, -1]\n", HEAD, "sweep.yaml:6: beta: -1.0 is out of range: beta must be greater than 0"),
        ("bata: [0.1]\n", HEAD, "sweep.yaml:6: unknown option 'bata': did you mean"),
        ("beta: [0.1, 1]\nresume: true\n", HEAD, "sweep.yaml:7: resume: not in a sweep, which resumes by itself"),
        ("beta: [0.1, 1]\n", HEAD.replace("command: dpo\n", ""), "sweep.yaml: no command: a line such as"),
        ("beta: [0.1, 1]\n", HEAD.replace("dpo", "dbo"), "sweep.yaml:1: command: 'dbo' is no stage that trains: did"),
        ("seed: [0, 1]\n", HEAD.replace("dpo", "init"), "sweep.yaml:1: command: 'init' is no stage that trains"),
        ("beta: [0.1, 1]\n", HEAD.replace("validation: 0.2\n", ""), "validation: a sweep compares held-out figures"),
        ("beta: [0.1, 1]\n", HEAD.replace("output_dir: out\n", ""), "sweep.yaml: output_dir: required, and one folder"),
        ("deepspeed: z.json\nbeta: [0.1, 1]\n", HEAD, "sweep.yaml:6: deepspeed: z.json has no counterpart"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused_before_any_run(tmp_path: Path, text: str, head: str, error: str) -> None:
    with pytest.raises(InputError) as caught:
        planned(tmp_path, text, head)
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(error)


class Stage:
    """Stands for accord dpo: writes a summary of a loss of 10 x beta, or fails."""

    def __init__(self) -> None:
        self.ran: list[float] = []
        self.failing: dict[float, Exception] = {}

    def __call__(self, command: str, config: Any, given: dict[str, object]) -> None:
        beta = config.preference.beta
        self.ran.append(beta)
        if beta in self.failing:
            raise self.failing[beta]
        folder = Path(config.run.output_dir)
        folder.mkdir(parents=True)
        figures = {
            "loss": {"mean": 10 * beta, "standard_error": 1.0, "interval": [9 * beta, 11 * beta]},
            "rewards/accuracies": {"mean": 0.6, "standard_error": None, "interval": [None, None]},
        }
        held = {name: {"before": None, "after": figure} for name, figure in figures.items()}
        (folder / "summary.json").write_text(json.dumps({"steps": 5, "seconds": 2.0, "held_out": held}))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    found = Stage()
    monkeypatch.setattr(sweep, "execute", found)
    return found


def run(tmp_path: Path) -> int:
    (tmp_path / "sweep.yaml").write_text(
        f"command: dpo\nmodel: m\ndata: d\nvalidation: 0.2\noutput_dir: {tmp_path}/out\nbeta: [0.1, 0.3, 0.5]\n"
    )
    return main(["sweep", str(tmp_path / "sweep.yaml")])


def test_one_failing_run_does_not_lose_the_others_and_is_made_again(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.failing = {0.1: Diverged("loss nan", where="step 3"), 0.3: ValueError("odd\nthing")}
    assert run(tmp_path) == 3  # the code of the first that failed
    shown = capsys.readouterr()
    assert "beta=0.1: step 3: loss nan" in shown.err and "5.000 (4.500 to 5.500)" in shown.out
    rows = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert [row["error"] for row in rows] == ["step 3: loss nan", "ValueError: odd thing", ""]
    assert (rows[2]["varied"], rows[2]["held_out"]["loss"]["mean"]) == ({"beta": 0.5}, 5.0)
    assert (tmp_path / "out" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    stage.failing = {}
    assert run(tmp_path) == 0
    assert stage.ran == [0.1, 0.3, 0.5, 0.1, 0.3]
    text = (tmp_path / "out" / "sweep.md").read_text()
    assert "| 0.3 | 5 | 2 | 3.0000 (2.7000 to 3.3000) | 0.6000 |  |\n" in text
    assert "units of their own" in text
    assert run(tmp_path) == 0 and len(stage.ran) == 5


def test_a_done_run_of_other_options_is_not_taken_for_this_one(stage: Stage, tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "out" / "beta=0.3" / "run.yaml").write_text("beta: 0.3\nlearning_rate: 5.0\n")
    assert run(tmp_path) == 2
    rows = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert "was trained with other options" in rows[1]["error"] and not rows[0]["error"]


def test_a_dry_run_lists_and_makes_none(stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage.failing = {0.5: Diverged("x")}
    run(tmp_path)
    capsys.readouterr()
    stage.ran.clear()
    assert main(["sweep", str(tmp_path / "sweep.yaml"), "--dry_run"]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert [line.split() for line in lines if "beta" in line] == [
        ["beta=0.1", "done"], ["beta=0.3", "done"], ["beta=0.5", "to", "run"],
    ]  # fmt: skip
    assert stage.ran == []


def test_an_interrupt_ends_the_sweep(stage: Stage, tmp_path: Path) -> None:
    stage.failing = {0.3: KeyboardInterrupt()}  # type: ignore[dict-item]
    assert run(tmp_path) == 130
    assert stage.ran == [0.1, 0.3] and not (tmp_path / "out" / "sweep.json").exists()


@pytest.mark.parametrize(
    ("figure", "means", "best"),
    [
        ("loss", [3.0, 1.0, 2.0], 1),
        ("rewards/accuracies", [0.5, None, 0.7], 2),
        ("rewards/accuracies", [1.0, 1.0], None),
        ("objective/kl", [1.0, 2.0], None),
        ("loss", [math.nan, 1.0], None),
    ],
)
def test_which_run_is_marked_as_the_best(figure: str, means: list[float | None], best: int | None) -> None:
    assert _best(figure, [None if mean is None else (mean, mean, mean) for mean in means]) == best


def test_no_label_is_wider_than_its_place(tmp_path: Path) -> None:
    """What is drawn of long names stays inside the picture, and no two of them overlap."""
    from matplotlib.figure import Figure

    name = "learning_rate=1e-06,warmup_steps=0.25,lora_target_modules=q_proj+v_proj,weight_decay=0.01"
    assert _folded(name).split("\n") == [
        "learning_rate=1e-06,warmup_steps=0.25", "lora_target_modules=q_proj+v_proj", "weight_decay=0.01",
    ]  # fmt: skip
    held = {"loss": {"after": {"mean": 1.0, "interval": [0.9, 1.1]}}}
    rows = [
        Row(f"{name},seed={i}", {"seed": i}, "x", "", {"steps": 1, "seconds": 1.0, "held_out": held}) for i in (1, 2)
    ]
    drawn: list[Figure] = []
    save = Figure.savefig
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, *how: (drawn.append(self), save(self, *how)))
        write(rows, tmp_path, "title")
    (picture,) = drawn
    labels = [label.get_window_extent() for label in picture.axes[0].get_yticklabels()]
    assert all(label.x0 >= 0 for label in labels)
    assert labels[0].y0 > labels[1].y1 or labels[1].y0 > labels[0].y1


def test_a_figure_that_a_run_does_not_have_is_no_failure(tmp_path: Path) -> None:
    """KTO has no margins, and did not fail."""
    from matplotlib.figure import Figure

    loss, margins = ({"after": {"mean": 1.0, "interval": [0.9, 1.1]}} for _ in range(2))
    rows = [
        Row("loss=kto", {"loss_type": "kto"}, "a", "", {"steps": 1, "seconds": 1.0, "held_out": {"loss": loss}}),
        Row("loss=ipo", {"loss_type": "ipo"}, "b", "", {"steps": 1, "seconds": 1.0, "held_out": {
            "loss": loss, "rewards/margins": margins}}),
        Row("loss=npo", {"loss_type": "npo"}, "c", "error[3] diverged", None),
    ]  # fmt: skip
    drawn: list[Figure] = []
    save = Figure.savefig
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, *how: (drawn.append(self), save(self, *how)))
        write(rows, tmp_path, "title")
    assert [text.get_text() for text in drawn[0].axes[1].texts] == ["none", "failed"]
