"""The parts of the demo in a newcomer's words, and the commands that they stand for."""

HAPPENS = {
    "world": "The grammar writes reviews, and questions with good answers.",
    "init": "A new model: random weights, and a tokenizer that cuts text into pieces.",
    "pretrain": "It reads the reviews and learns to guess each next word. Then it can write, and answers nothing.",
    "sft": "It learns from the good answers to answer. That is the SFT model: it likes and dislikes at random.",
    "compare": "It answers new questions four times each, and annotators rank the answers.",
    "reward": "A reward model learns from the rankings to score an answer.",
    "dpo": "First way: make the answers that were ranked higher more probable than the others.",
    "ppo": "Second way: write, be scored by the reward model, and do more of what scores better than expected.",
    "best_of_n": "Third way: change nothing, write many answers, and keep the one that the reward model likes best.",
    "measure": "All of them answer questions that nothing was trained on, and the truth is looked up.",
}
COMMANDS = {
    "world": "",
    "init": "accord init",
    "pretrain": "accord pretrain",
    "sft": "accord sft",
    "compare": "accord sample, accord agreement",
    "reward": "accord reward, accord score",
    "dpo": "accord dpo",
    "ppo": "accord ppo",
    "best_of_n": "accord sample --score reward",
    "measure": "accord compare",
}
