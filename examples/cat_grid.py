"""A cat on a grid learns the shortest way to the meat: equation 18, by the functions that train language models.

    pip install gymnasium
    python examples/cat_grid.py
    python examples/cat_grid.py --algorithm reinforce --seed 3 --plot cat.png

A state is the cell that the cat is in, an action one of four moves, the policy a small network. An episode is what a
completion is elsewhere: a row of at most T steps with a mask, whose advantages `gae` tells, and which `ppo_clip` or
`reinforce` and `value_loss` learn from. The bathtubs bar the straight way, and the broom lies on the shortest one: a
detour around it would save 1 and cost two moves, which a discount below 1 makes dearer.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium
import torch
from gymnasium.spaces import Discrete
from torch import Tensor, nn

from accord.maths.policy_gradient import gae, ppo_clip, reinforce, value_loss

GRID = (
    "C.TM.",
    "..T..",
    ".B...",
    "....T",
)
REWARDS = {"C": 0.0, ".": 0.0, "B": -1.0, "T": -10.0, "M": 100.0}  # cat's start, empty, broom, bathtub, meat
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
ARROWS = "^>v<"

GAMMA, LAM = 0.95, 0.95
UNIT = 100.0  # the meat: rewards are divided by it while learning, so that values are about 1
EPISODES, LONGEST, EPOCHS = 64, 50, 8  # episodes of a rollout, steps of an episode
LEARNING_RATE = 0.02
ENTROPY = 0.05  # the coefficient of the policy's entropy in the first rollout; it falls to 0 in the last one


class CatGrid(gymnasium.Env[Any, Any]):
    """A cat that moves to one of four neighbours; a move off the grid leaves it in place. Cells count row by row.

    An empty cell gives 0, the broom -1, the meat 100, the bathtub -10 and the cat is back at the start. Meat and
    bathtub end the episode.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"]}  # noqa: RUF012

    def __init__(self, grid: tuple[str, ...] = GRID, render_mode: str | None = None) -> None:
        self.grid, self.render_mode = grid, render_mode
        self.width, self.cells = len(grid[0]), len(grid) * len(grid[0])
        self.observation_space, self.action_space = Discrete(self.cells), Discrete(len(MOVES))
        self.start = self.cell = "".join(grid).index("C")

    def move(self, cell: int, action: int) -> tuple[int, float, bool]:
        """The cell that an action leads to, its reward, and whether the episode is over."""
        row, column = (now + by for now, by in zip(divmod(cell, self.width), MOVES[action], strict=True))
        if 0 <= row < len(self.grid) and 0 <= column < self.width:
            cell = row * self.width + column
        what = self.grid[cell // self.width][cell % self.width]
        return self.start if what == "T" else cell, REWARDS[what], what in "TM"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.cell = self.start
        return self.cell, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.cell, reward, over = self.move(self.cell, int(action))
        return self.cell, reward, over, False, {}

    def render(self) -> str:
        cells = list("".join(self.grid))
        cells[self.cell] = "@"
        return lines(cells, self.width)


def lines(cells: list[str], width: int) -> str:
    """A character a cell -> rows of them."""
    return "\n".join(" ".join(cells[i : i + width]) for i in range(0, len(cells), width))


class Cat(nn.Module):
    """(...) cells -> (..., 4) log pi(a | s) and (...) V(s) in units of the meat, each by a network of its own."""

    def __init__(self, cells: int, width: int = 32) -> None:
        super().__init__()
        self.policy = nn.Sequential(nn.Embedding(cells, width), nn.Tanh(), nn.Linear(width, len(MOVES)))
        self.critic = nn.Sequential(nn.Embedding(cells, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, cell: Tensor) -> tuple[Tensor, Tensor]:
        return self.policy(cell).log_softmax(-1), self.critic(cell).squeeze(-1)


class Rollout(NamedTuple):
    """Episodes side by side, (R, T) each; what stands behind the end of an episode does not matter."""

    cell: Tensor
    action: Tensor
    reward: Tensor  # in units of the meat
    mask: Tensor
    logp: Tensor
    value: Tensor
    score: float  # the mean reward of an episode, not discounted, as the environment gives it


@torch.no_grad()
def play(envs: list[CatGrid], cat: Cat, generator: torch.Generator) -> Rollout:
    """One episode in each environment, all of them a step at a time."""
    cell = torch.tensor([env.reset()[0] for env in envs])
    alive = torch.ones(len(envs), dtype=torch.bool)
    steps = []
    for _ in range(LONGEST):
        logp, value = cat(cell)
        action = torch.multinomial(logp.exp(), 1, generator=generator)
        reward, following, goes_on = torch.zeros(len(envs)), cell.clone(), alive.clone()
        for i in alive.nonzero().flatten().tolist():
            following[i], reward[i], over, _, _ = envs[i].step(int(action[i]))
            goes_on[i] = not over
        steps.append((cell, action.squeeze(1), reward / UNIT, alive, logp.gather(1, action).squeeze(1), value))
        cell, alive = following, goes_on
        if not alive.any():
            break
    columns = [torch.stack(column, dim=1) for column in zip(*steps, strict=True)]
    score = UNIT * columns[2].sum().item() / len(envs)
    # An episode that was cut off, and not ended, is worth what the critic thinks of the rest.
    columns[2][:, -1] += torch.where(alive, GAMMA * cat(cell)[1], 0.0)
    return Rollout(*columns, score=score)


class Algorithm(NamedTuple):
    """What a policy learns by; its critic goes over every rollout EPOCHS times."""

    loss: Callable[[Tensor, Tensor, Tensor], Tensor]  # log pi, log pi of the rollout, advantage of N steps -> (N,)
    epochs: int  # how often the policy goes over a rollout
    rollouts: int


ALGORITHMS = {
    "ppo": Algorithm(ppo_clip, epochs=EPOCHS, rollouts=30),
    "reinforce": Algorithm(lambda logp, old, advantage: reinforce(logp, advantage), epochs=1, rollouts=60),
}


def learn(cat: Cat, rollout: Rollout, algorithm: Algorithm, entropy: float, optimizer: torch.optim.Optimizer) -> None:
    """One rollout's epochs, each one step on all of it."""
    advantage = gae(rollout.reward, rollout.value, rollout.mask, gamma=GAMMA, lam=LAM)
    played = (rollout.cell, rollout.action, rollout.logp, rollout.value, advantage)
    cell, action, old, held, gain = (column[rollout.mask] for column in played)
    for epoch in range(EPOCHS):
        logp, value = cat(cell)
        loss = value_loss(value, held, gain + held).mean()
        if epoch < algorithm.epochs:
            taken = logp.gather(1, action.unsqueeze(1)).squeeze(1)
            loss = loss + (algorithm.loss(taken, old, gain) + entropy * (logp.exp() * logp).sum(-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def train(cat: Cat, algorithm: Algorithm, seed: int) -> Iterator[float]:
    """The mean reward of an episode in each rollout, while the cat learns from it."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(cat.parameters(), lr=LEARNING_RATE)
    envs = [CatGrid() for _ in range(EPISODES)]
    for i in range(algorithm.rollouts):
        rollout = play(envs, cat, generator)
        learn(cat, rollout, algorithm, ENTROPY * (1 - i / algorithm.rollouts), optimizer)
        yield rollout.score


def exact_values(env: CatGrid) -> list[float]:
    """V* of each cell by dynamic programming: V(s) = max_a r + gamma V(s'), again and again until it stays as it is."""
    value = [0.0] * env.cells
    while True:
        moves = [[env.move(cell, action) for action in range(len(MOVES))] for cell in range(len(value))]
        new = [max(reward + (0 if over else GAMMA * value[to]) for to, reward, over in ways) for ways in moves]
        if new == value:
            return value
        value = new


@torch.no_grad()
def way(cat: Cat) -> list[int]:
    """The cells that the cat is in when it always takes its likeliest move, until the episode ends (or never does)."""
    env, over = CatGrid(), False
    visited = [env.reset()[0]]
    while not over and len(visited) <= LONGEST:
        cell, _, over, _, _ = env.step(int(cat(torch.tensor(visited[-1]))[0].argmax()))
        visited.append(cell)
    return visited


def arrows(cat: Cat, env: CatGrid) -> list[str]:
    """The likeliest move of each cell; bathtubs and the meat as they are."""
    best = cat(torch.arange(env.cells))[0].argmax(-1).tolist()
    return [what if what in "TM" else ARROWS[move] for what, move in zip("".join(env.grid), best, strict=True)]


def draw(cat: Cat, scores: list[float], path: str) -> None:
    """The learnt values and moves beside the learning curve."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    grid, curve = figure.subplots(1, 2, width_ratios=[1.1, 1])
    draw_grid(cat, grid)
    curve.plot(range(1, len(scores) + 1), scores, color="#4c72b0")
    curve.set(xlabel=f"rollout of {EPISODES} episodes", ylabel="mean reward of an episode", title="learning")
    curve.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def draw_grid(cat: Cat, panel: Any) -> None:
    """A square a cell: what it is, V(s) and the likeliest move."""
    env, walked = CatGrid(), set(way(cat)[:-1])
    value = UNIT * cat(torch.arange(env.cells))[1].detach()
    names = {"C": "start", "B": "broom -1", "T": "bathtub -10", "M": "meat +100", ".": ""}
    kept = torch.tensor([what not in "TM" for what in "".join(env.grid)])
    panel.set_facecolor("#cfe2f3")
    shown = torch.where(kept, value, torch.nan).reshape(-1, env.width)
    panel.imshow(shown, cmap="Greens", vmin=0.5 * UNIT, vmax=2 * UNIT)
    for cell, (what, arrow) in enumerate(zip("".join(env.grid), arrows(cat, env), strict=True)):
        row, column = divmod(cell, env.width)
        panel.text(column, row - 0.33, names[what], ha="center", va="center", fontsize=8)
        if kept[cell]:
            down, right = MOVES[ARROWS.index(arrow)]
            ink = "black" if cell in walked else "0.5"
            ends = {"xy": (column + 0.2 * right, row + 0.2 * down), "xytext": (column - 0.2 * right, row - 0.2 * down)}
            panel.annotate("", **ends, arrowprops={"arrowstyle": "-|>", "color": ink, "linewidth": 1.5})
            panel.text(column, row + 0.37, f"{value[cell]:.1f}", ha="center", va="center", fontsize=8, color=ink)
    panel.set(xticks=[], yticks=[], title="learnt values and likeliest moves; black: its way")


def main() -> None:
    parser = argparse.ArgumentParser(description="A cat learns the shortest way to the meat.")
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="ppo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", metavar="FILE.png", help="draw the values, the moves and the learning curve")
    asked = parser.parse_args()
    env, scores = CatGrid(), []
    print(f"@ cat, B broom, T bathtub, M meat\n{env.render()}\n")
    torch.manual_seed(asked.seed)
    cat = Cat(env.cells)
    for score in train(cat, ALGORITHMS[asked.algorithm], asked.seed):
        scores.append(score)
        if len(scores) % 5 == 0:
            print(f"rollout {len(scores):3d}: mean reward of an episode {score:6.2f}")
    visited, exact = way(cat), exact_values(env)
    print(f"\nlikeliest moves\n{lines(arrows(cat, env), env.width)}\n\n{len(visited) - 1} moves; values on the way")
    for cell in visited[:-1]:
        learnt = UNIT * cat(torch.tensor(cell))[1].item()
        print(f"row {cell // env.width}, column {cell % env.width}: learnt {learnt:6.2f}, exact {exact[cell]:6.2f}")
    if asked.plot:
        draw(cat, scores, asked.plot)


if __name__ == "__main__":
    main()
