"""Every loss that TRL 1.16 also has against TRL's own number and gradient, on random log-probabilities.

For development: ACCORD_BENCH_PEER_PYTHON names an interpreter that has TRL 1.16. Where we differ on purpose the test
says so: bco_pair (TRL leaves the baseline out), likelihood terms (TRL pools the tokens of a micro-batch), and weights
of WPO (TRL does not bound them).
"""

import json
import os
import subprocess
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.maths.desensitise import desensitised
from accord.maths.f_divergence import DIVERGENCES
from accord.maths.pair import Pair
from accord.maths.preference import PAIR_LOSSES
from accord.maths.unpaired import UNPAIRED_LOSSES
from accord.maths.weighting import alignment_weight, pair_weight

PEER = os.environ.get("ACCORD_BENCH_PEER_PYTHON")
pytestmark = pytest.mark.skipif(not PEER, reason="ACCORD_BENCH_PEER_PYTHON names no interpreter with TRL 1.16")

Rows = list[list[float]]
LENGTHS = [3, 7, 2, 5, 4, 6, 1, 5, 3, 4]  # of five chosen, then five rejected completions
EQUAL = [4] * 10
MISMATCHED = [3, 5, 2]


def rows(lengths: list[int], seed: int, low: float = -3.0) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    return [(low * torch.rand(n, generator=generator) - 0.01).tolist() for n in lengths]


def request(trainer: str, settings: dict[str, Any], lengths: list[int] = LENGTHS, **more: Any) -> dict[str, Any]:
    return {
        "trainer": trainer,
        "settings": settings,
        "policy": rows(lengths, 1),
        "reference": rows(lengths, 2),
        **more,
    }


def dpo(
    loss_type: str, lengths: list[int] = LENGTHS, more: dict[str, Any] | None = None, **settings: Any
) -> dict[str, Any]:
    return request("dpo", {"loss_types": [loss_type], "beta": 0.3, **settings}, lengths, **(more or {}))


def one_pair(whole: dict[str, Any], i: int) -> dict[str, Any]:
    """The request with its i-th pair alone."""
    return {**whole, **{part: [whole[part][i], whole[part][i + 5]] for part in ("policy", "reference")}}


def balanced() -> dict[str, Any]:
    """A request whose log-ratios have the mean 0."""
    whole = dpo("bco_pair")
    shift = sum(map(sum, whole["reference"])) - sum(map(sum, whole["policy"]))
    whole["policy"][1][0] += shift
    return whole


MILD = {"log_collision": rows(LENGTHS, 3, low=-1.0)}  # sums of p^2 so large that no weight exceeds 1
KTO = {"label": [True, False, True, True, False, False, True, False, True, True]}
KTO["mismatched"] = {"policy": rows(MISMATCHED, 4, low=-2.0), "reference": rows(MISMATCHED, 5)}  # type: ignore[assignment]
WEIGHTS = {"beta": 0.3, "desirable_weight": 1.5, "undesirable_weight": 0.7}

OTHERS = ("exponential", "cdpo", "simpo", "cpo", "orpo", "sft")  # not of TRL's DPO trainer, or asked for below
REQUESTS: dict[str, dict[str, Any]] = {
    **{name: dpo(name) for name in PAIR_LOSSES if name not in OTHERS},
    "robust": dpo("robust", label_smoothing=0.2),
    "exo_pair": dpo("exo_pair", label_smoothing=0.01),
    "aot": dpo("aot", label_smoothing=0.1),
    "aot_unpaired": dpo("aot_unpaired", label_smoothing=0.1),
    "discopop": dpo("discopop", more={"discopop_tau": 0.5}),
    "bco_pair": balanced(),
    "bco_pair shifted": dpo("bco_pair"),
    "sft": dpo("sft", EQUAL),
    "sft ragged": dpo("sft"),
    **{f"sft {i}": one_pair(dpo("sft"), i) for i in range(5)},
    **{f"divergence {name}": dpo("sigmoid", f_divergence_type=name) for name in DIVERGENCES},
    "divergence alpha 2": dpo("sigmoid", f_divergence_type="alpha_divergence", f_alpha_divergence_coef=2.0),
    "divergence in ipo": dpo("ipo", f_divergence_type="js_divergence"),
    "ld": dpo("sigmoid", ld_alpha=0.4),
    "wpo": dpo("sigmoid", use_weighting=True, more=MILD),
    "wpo unbounded": dpo("sigmoid", use_weighting=True, more={"log_collision": rows(LENGTHS, 3, low=-5.0)}),
    "kto": request("kto", {"loss_type": "kto", **WEIGHTS}, **KTO),
    "apo_zero_unpaired": request("kto", {"loss_type": "apo_zero_unpaired", **WEIGHTS}, **KTO),
    "simpo": request(
        "cpo",
        {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.2, "alpha": 0.0, "label_smoothing": 0.0, "cpo_alpha": 0.0},
    ),
}
CPO = {"loss_type": "sigmoid", "beta": 0.3, "alpha": 0.0, "label_smoothing": 0.0, "cpo_alpha": 0.7}
for i in range(5):
    REQUESTS[f"cpo {i}"] = one_pair(request("cpo", CPO), i)
    REQUESTS[f"orpo {i}"] = one_pair(request("orpo", {"beta": 0.3}), i)


@cache
def answers() -> dict[str, dict[str, Any]]:
    """TRL's loss and gradient for each request, in one process."""
    assert PEER
    found = subprocess.run(
        [PEER, str(Path(__file__).with_name("trl_numbers.py"))],
        input=json.dumps(list(REQUESTS.values())),
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRL_EXPERIMENTAL_SILENCE": "1"},
    )
    assert found.returncode == 0, found.stderr[-2000:]
    return dict(zip(REQUESTS, json.loads(found.stdout.splitlines()[-1]), strict=True))


class Tokens:
    """The token log-probabilities of a request, the policy's with gradients."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.token = torch.tensor([value for row in asked["policy"] for value in row]).requires_grad_()
        self.reference_token = torch.tensor([value for row in asked["reference"] for value in row])
        self.length = torch.tensor([len(row) for row in asked["policy"]])
        self.owner = torch.arange(len(self.length)).repeat_interleave(self.length)
        self.policy, self.reference = self.sums(self.token), self.sums(self.reference_token)

    def sums(self, token: Tensor) -> Tensor:
        return token.new_zeros(len(self.length)).index_add(0, self.owner, token)

    def assert_equals(self, loss: Tensor, theirs: dict[str, Any]) -> None:
        (gradient,) = torch.autograd.grad(loss, self.token)
        own = [row[:n] for row, n in zip(theirs["gradient"], self.length.tolist(), strict=True)]
        assert loss.item() == pytest.approx(theirs["loss"], rel=2e-5)
        torch.testing.assert_close(
            gradient, torch.tensor([value for row in own for value in row]), rtol=1e-4, atol=1e-6
        )


def halves(values: Tensor) -> Pair:
    chosen, rejected = values.chunk(2)
    return Pair(chosen, rejected)


def mean_loss(name: str, tokens: Tokens, **hyper: float) -> Tensor:
    sides = (halves(values) for values in (tokens.policy, tokens.reference, tokens.length))
    loss: Tensor = PAIR_LOSSES[name].loss(*sides, **hyper).mean()
    return loss


HYPER = {
    "robust": {"label_smoothing": 0.2},
    "exo_pair": {"label_smoothing": 0.01},
    "aot": {"label_smoothing": 0.1},
    "aot_unpaired": {"label_smoothing": 0.1},
    "discopop": {"discopop_tau": 0.5},
}


@pytest.mark.parametrize(
    "name",
    [name for name, asked in REQUESTS.items() if asked["trainer"] == "dpo" and name in PAIR_LOSSES.keys() - {"sft"}],
)
def test_pair_losses(name: str) -> None:
    tokens = Tokens(REQUESTS[name])
    tokens.assert_equals(mean_loss(name, tokens, beta=0.3, **HYPER.get(name, {})), answers()[name])


def test_bco_differs_by_the_baseline() -> None:
    tokens = Tokens(REQUESTS["bco_pair shifted"])
    assert mean_loss("bco_pair", tokens, beta=0.3).item() != pytest.approx(
        answers()["bco_pair shifted"]["loss"], rel=1e-3
    )


def test_simpo() -> None:
    tokens = Tokens(REQUESTS["simpo"])
    tokens.assert_equals(mean_loss("simpo", tokens, beta=2.0, gamma_beta_ratio=0.6), answers()["simpo"])


def test_sft_of_completions_of_equal_length() -> None:
    tokens = Tokens(REQUESTS["sft"])
    tokens.assert_equals(mean_loss("sft", tokens), answers()["sft"])


@pytest.mark.parametrize("i", range(5))
@pytest.mark.parametrize(
    "name, hyper", [("sft", {}), ("cpo", {"beta": 0.3, "cpo_alpha": 0.7}), ("orpo", {"beta": 0.3})]
)
def test_losses_with_a_likelihood_pair_by_pair(name: str, hyper: dict[str, float], i: int) -> None:
    tokens = Tokens(REQUESTS[f"{name} {i}"])
    tokens.assert_equals(mean_loss(name, tokens, **hyper), answers()[f"{name} {i}"])


def test_sft_differs_where_the_tokens_of_pairs_are_pooled() -> None:
    tokens = Tokens(REQUESTS["sft ragged"])
    own, theirs = mean_loss("sft", tokens).item(), answers()["sft ragged"]["loss"]
    assert own != pytest.approx(theirs, rel=1e-3)
    assert own == pytest.approx(sum(answers()[f"sft {i}"]["loss"] for i in range(5)) / 5)


@pytest.mark.parametrize(
    "key, name, score",
    [(f"divergence {name}", "sigmoid", row.score) for name, row in DIVERGENCES.items()]
    + [
        ("divergence alpha 2", "sigmoid", partial(DIVERGENCES["alpha_divergence"].score, f_alpha_divergence_coef=2.0)),
        ("divergence in ipo", "ipo", DIVERGENCES["js_divergence"].score),
    ],
)
def test_divergences(key: str, name: str, score: Any) -> None:
    tokens = Tokens(REQUESTS[key])
    tokens.policy, tokens.reference = score(tokens.policy - tokens.reference), torch.zeros(10)
    tokens.assert_equals(mean_loss(name, tokens, beta=0.3), answers()[key])


def test_length_desensitising() -> None:
    tokens = Tokens(REQUESTS["ld"])
    pair = Pair(torch.arange(5), torch.arange(5, 10))
    sides = (
        desensitised(token, tokens.owner, 10, pair, ld_alpha=0.4) for token in (tokens.token, tokens.reference_token)
    )
    loss = PAIR_LOSSES["sigmoid"].loss(*sides, halves(tokens.length), beta=0.3).mean()
    tokens.assert_equals(loss, answers()["ld"])


def weighted(key: str, bound: bool) -> tuple[Tokens, Tensor]:
    tokens = Tokens(REQUESTS[key])
    collision = torch.tensor([value for row in REQUESTS[key]["log_collision"] for value in row]).exp()
    weight = halves(alignment_weight(tokens.token.detach(), collision, tokens.owner, 10))
    sides = [halves(values) for values in (tokens.policy, tokens.reference, tokens.length)]
    factor = pair_weight(weight) if bound else weight.chosen * weight.rejected
    return tokens, (factor * PAIR_LOSSES["sigmoid"].loss(*sides, beta=0.3)).mean()


def test_weights_of_wpo() -> None:
    tokens, loss = weighted("wpo", bound=True)
    tokens.assert_equals(loss, answers()["wpo"])


def test_weights_of_wpo_differ_above_one() -> None:
    tokens, loss = weighted("wpo unbounded", bound=False)
    tokens.assert_equals(loss, answers()["wpo unbounded"])
    assert weighted("wpo unbounded", bound=True)[1].item() < 0.99 * loss.item()


@pytest.mark.parametrize("name", ["kto", "apo_zero_unpaired"])
def test_unpaired_losses(name: str) -> None:
    asked, row = REQUESTS[name], UNPAIRED_LOSSES[name]
    tokens, label = Tokens(asked), torch.tensor(asked["label"])
    other = Tokens(asked["mismatched"])
    ratio, mismatched = tokens.policy - tokens.reference, other.policy - other.reference
    baseline = row.baseline(ratio, label, mismatched).detach() if row.baseline else torch.tensor(0.0)
    assert baseline > 0 or row.baseline is None
    loss = row.loss(tokens.policy, tokens.reference, tokens.length, label, baseline, **WEIGHTS).mean()
    tokens.assert_equals(loss, answers()[name])
