"""The cat on the grid, equation 18: its world by hand, and what the functions of the package learn there."""

import sys
import warnings
from collections import deque
from pathlib import Path

import pytest
import torch
from gymnasium.utils.env_checker import check_env

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

import cat_grid as example  # noqa: E402
from cat_grid import ALGORITHMS, GAMMA, GRID, UNIT, Cat, CatGrid, exact_values, play, train, way  # noqa: E402

UP, RIGHT, DOWN, LEFT = range(4)


def fewest_moves(grid: tuple[str, ...]) -> int:
    """Breadth first, around the bathtubs."""
    find = {what: (row, line.index(what)) for row, line in enumerate(grid) for what in "CM" if what in line}
    seen, queue = {find["C"]: 0}, deque([find["C"]])
    while queue:
        row, column = here = queue.popleft()
        for there in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            inside = 0 <= there[0] < len(grid) and 0 <= there[1] < len(grid[0])
            if inside and grid[there[0]][there[1]] != "T" and there not in seen:
                seen[there] = seen[here] + 1
                queue.append(there)
    return seen[find["M"]]


def test_it_is_an_environment_as_gymnasium_has_them() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*spec.*")  # it is not registered under a name
        check_env(CatGrid())


def test_the_rules() -> None:
    env = CatGrid(("CB", "TM"))
    assert env.reset() == (0, {})
    assert env.step(UP) == (0, 0.0, False, False, {})  # off the grid: it stays
    assert env.step(LEFT)[:3] == (0, 0.0, False)
    assert env.step(RIGHT)[:3] == (1, -1.0, False)
    assert env.step(RIGHT)[:3] == (1, -1.0, False)  # it stays, on the broom
    assert env.render() == "C @\nT M"
    assert env.step(DOWN)[:3] == (3, 100.0, True)
    env.reset()
    assert env.step(DOWN)[:3] == (0, -10.0, True)  # back at the start


def test_exact_values_by_hand() -> None:
    # Two moves over the broom: -1 + 0.95 * 100. The bathtub's and the meat's own cells are never stood on.
    assert exact_values(CatGrid(("CB", "TM")))[:2] == pytest.approx([94.0, 100.0])


def test_an_episode_that_is_cut_off_is_worth_what_the_critic_thinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "LONGEST", 3)
    torch.manual_seed(0)
    cat, generator = Cat(20), torch.Generator().manual_seed(2)
    with torch.no_grad():
        cat.policy[-1].weight.zero_()
        cat.policy[-1].bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]))  # often right, into the bathtub
        rollout = play([CatGrid() for _ in range(20)], cat, generator)
        value = cat(torch.arange(20))[1]
    lengths = rollout.mask.sum(1)
    assert rollout.mask.shape == (20, 3) and lengths.min() < 3
    for row, length in enumerate(lengths.tolist()):
        env = CatGrid()
        env.reset()
        for t in range(length):
            assert env.cell == rollout.cell[row, t]
            cell, reward, over, _, _ = env.step(int(rollout.action[row, t]))
            expected = reward / UNIT + (GAMMA * value[cell].item() if t == 2 and not over else 0.0)
            assert rollout.reward[row, t].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_cat_learns_the_shortest_way_and_what_it_is_worth(name: str) -> None:
    torch.manual_seed(0)
    cat, env = Cat(20), CatGrid()
    scores = list(train(cat, ALGORITHMS[name], seed=0))
    assert scores[0] < 10 and scores[-1] > 95
    visited, exact = way(cat), exact_values(env)
    assert len(visited) - 1 == fewest_moves(GRID) == 7
    assert visited[-1] == "".join(GRID).index("M")
    learnt = UNIT * cat(torch.tensor(visited[:-1]))[1]
    torch.testing.assert_close(learnt, torch.tensor([exact[cell] for cell in visited[:-1]]), rtol=0.05, atol=0)
    # Seven moves, the third one onto the broom.
    assert exact[visited[0]] == pytest.approx(100 * GAMMA**6 - GAMMA**2)


def test_the_same_seed_learns_the_same() -> None:
    short = ALGORITHMS["ppo"]._replace(rollouts=2)

    def scores(seed: int) -> list[float]:
        torch.manual_seed(seed)
        return list(train(Cat(20), short, seed))

    assert scores(1) == scores(1) != scores(2)


def test_it_runs_as_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ALGORITHMS, "ppo", ALGORITHMS["ppo"]._replace(rollouts=5))
    monkeypatch.setattr(sys, "argv", ["cat_grid.py", "--seed", "1", "--plot", str(tmp_path / "cat.png")])
    example.main()
    printed = capsys.readouterr().out
    assert "@ . T M ." in printed and "rollout   5: mean reward of an episode" in printed and "exact  72.61" in printed
    assert (tmp_path / "cat.png").stat().st_size > 10_000
