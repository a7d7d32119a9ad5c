"""Every loss in the exact world: each ends where its row says, and what is wrong is found."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import accord
from accord.errors import InputError, IntegrityError
from accord.evaluate.theory import modified, offline
from accord.evaluate.theory.command import chosen
from accord.evaluate.theory.contents import PARTS
from accord.evaluate.theory.descent import descend
from accord.evaluate.theory.expected import counted, exact, of_pairs
from accord.evaluate.theory.offline import Unclaimed, found, pair_method
from accord.evaluate.theory.spoken import counted as read_by_engine
from accord.evaluate.theory.spoken import spoken_of
from accord.evaluate.theory.trained import WORDS, trained_world
from accord.evaluate.theory.world import table_world
from accord.maths.f_divergence import DIVERGENCES
from accord.maths.pair import Pair
from accord.maths.preference import PAIR_LOSSES
from accord.maths.ranking import RANKING_LOSSES
from accord.maths.unpaired import UNPAIRED_LOSSES

WORLD = table_world()
ROWS: list[tuple[Any, str]] = [
    *((offline.pair_method, name) for name in PAIR_LOSSES),
    *((offline.unpaired_method, name) for name in UNPAIRED_LOSSES),
    *((offline.ranking_method, name) for name in RANKING_LOSSES),
    *((offline.divergence_method, name) for name in DIVERGENCES),
    *((modified.make, name) for name in modified.MODIFIED),
]


@pytest.mark.parametrize("make, name", ROWS, ids=[f"{make.__name__}-{name}" for make, name in ROWS])
def test_every_row_ends_where_it_claims(make: Any, name: str) -> None:
    row = found(WORLD, make(name, WORLD))
    assert row.verdict == "as claimed", row


def test_dpo_ends_in_the_optimum_and_exponential_in_that_of_half_the_rewards() -> None:
    def optimum(reward: Tensor) -> Tensor:
        weight = WORLD.reference.exp() * torch.exp(reward / 0.5)
        return weight / weight.sum(-1, keepdim=True)

    for name, share in (("sigmoid", 1.0), ("exponential", 0.5)):
        policy = found(WORLD, pair_method(name, WORLD)).policy
        assert policy is not None
        torch.testing.assert_close(policy.exp(), optimum(share * WORLD.reward))


@pytest.mark.parametrize("name", [name for name, row in PAIR_LOSSES.items() if row.claim and row.claim.end])
def test_a_wrong_sign_is_found(name: str) -> None:
    """Chosen and rejected change places."""
    row = PAIR_LOSSES[name]

    def swapped(policy: Pair, reference: Pair, length: Pair, **hyper: float) -> Tensor:
        return row.loss(*(Pair(side.rejected, side.chosen) for side in (policy, reference, length)), **hyper)

    right = pair_method(name, WORLD)
    make = offline.of_counted_pairs if row.coupled else of_pairs
    wrong = right._replace(loss=make(row._replace(loss=swapped), right.of, right.hyper))
    assert found(WORLD, wrong).verdict == "not as claimed"


@pytest.mark.parametrize("name", ["sigmoid", "ipo", "nca_pair", "simpo", "hinge"])
def test_a_scaled_beta_is_found(name: str) -> None:
    right = pair_method(name, WORLD)
    doubled = {**right.hyper, "beta": 2 * right.hyper["beta"]}
    wrong = right._replace(loss=of_pairs(PAIR_LOSSES[name], right.of, doubled))
    assert found(WORLD, wrong).verdict == "not as claimed"


@pytest.mark.parametrize(
    "table, make", [(PAIR_LOSSES, "pair"), (UNPAIRED_LOSSES, "unpaired"), (RANKING_LOSSES, "ranking")]
)
def test_a_row_without_a_claim_says_what_to_add(table: Any, make: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = next(iter(table))
    monkeypatch.setitem(table, name, table[name]._replace(claim=None))
    with pytest.raises(Unclaimed, match=r"has no claim: give it claim=policy\(f\)"):
        getattr(offline, f"{make}_method")(name, WORLD)


def test_a_divergence_without_an_inverse_says_what_to_add(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIVERGENCES, "forward_kl", DIVERGENCES["forward_kl"]._replace(log_ratio=None))
    with pytest.raises(Unclaimed, match="inverse of its score"):
        offline.divergence_method("forward_kl", WORLD)


def test_a_new_row_is_run_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PAIR_LOSSES, "my_loss", PAIR_LOSSES["ipo"])
    assert "my_loss" in [task.name for task in PARTS["pairs"].tasks([WORLD])]


def test_a_loss_that_falls_from_its_claim_is_no_rest() -> None:
    """discopop at a policy that is not at rest: one near is better."""
    method = pair_method("discopop", WORLD)
    ended = descend(method.loss, WORLD.reference)._replace(policy=WORLD.reference)
    assert offline.CHECKS["rests"](WORLD, method, ended).verdict == "not as claimed"


def test_judgements_in_whole_numbers_are_nearly_the_chances() -> None:
    of, near = counted(WORLD), exact(WORLD)
    assert (of.win - near.win).abs().max() <= 0.5 / 24 + 1e-12
    torch.testing.assert_close(of.win + of.win.mT, torch.ones_like(of.win))
    assert (of.desirable - near.desirable).abs().max() <= 0.005 + 1e-12


def test_the_trained_world_is_read_by_the_engine() -> None:
    world = trained_world()
    assert len(world.completions) == 1 + 3 + 9 + 27 and world.completions[0] == WORDS[0]
    read = read_by_engine(spoken_of(world))
    torch.testing.assert_close(read.exp().sum(-1), torch.ones(2).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(read, world.reference, rtol=0, atol=1e-5)
    uniform = torch.tensor(4.0).log()  # nats a token, of a network that knows nothing
    assert (world.reference / world.length).std() > 0.05 and -world.reference.max() < 3 * uniform
    for name in ("sigmoid", "cdpo", "hinge"):
        assert found(world, pair_method(name, world)).verdict == "as claimed"


def test_the_command_writes_its_table_and_picture(tmp_path: Path) -> None:
    table, page, picture = (tmp_path / name for name in ("t.json", "t.md", "t.png"))
    done = accord.theory(only=["rankings", "best"], json=str(table), markdown=str(page), plot=str(picture))
    written = json.loads(table.read_text())
    assert written["summary"] == done.summary() == f"{len(done.found)} of {len(done.found)} rows as claimed"
    assert {row["method"] for row in written["found"]} >= {"plackett_luce", "best of 16"}
    assert "| plackett_luce | table | 0 | 0 |" in page.read_text() and picture.stat().st_size > 10_000


def test_what_is_not_as_claimed_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    other = PAIR_LOSSES["exponential"].claim
    monkeypatch.setitem(RANKING_LOSSES, "plackett_luce", RANKING_LOSSES["plackett_luce"]._replace(claim=other))
    with pytest.raises(IntegrityError, match=r"2 of 2 are not as claimed: plackett_luce \(table\)"):
        accord.theory(only=["rankings"])


def test_an_unknown_part_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="'nothing' is no part of it"):
        chosen(["nothing"], [WORLD], full=False)
