"""The pictures of docs/collect.md: the pages of `accord collect demo`, as Chromium shows them.

python docs/collect_pictures.py [FOLDER]   (needs playwright and Debian's chromium)
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

PORT = 8179
SITE = f"http://127.0.0.1:{PORT}"
ANSWERS = Path(__file__).parents[1] / "accord" / "collect" / "example" / "answers.jsonl"
RATINGS = {"careful": "7", "brief": "6", "rambling": "4", "careless": "2"}
RANKS = {"careful": "1", "brief": "2", "rambling": "2"}


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "images")
    program = [sys.executable, "-m", "accord", "collect", "demo", "--port", str(PORT), "--open", "false"]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL) as server:
        try:
            wait()
            with sync_playwright() as playwright:
                path = shutil.which("chromium")
                browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
                label(enter(browser, "annotator", 800), folder)
                live(enter(browser, "owner", 1480), folder)
                browser.close()
        finally:
            server.terminate()


def wait() -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{SITE}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    sys.exit("the demo does not answer")


def enter(browser: Browser, who: str, height: int) -> Page:
    page = browser.new_context(viewport={"width": 1200, "height": height}).new_page()
    page.goto(f"{SITE}/demo")
    page.click(f"form[action='/demo/{who}'] button")
    page.wait_for_load_state("networkidle")
    return page


def writers() -> dict[str, str]:
    """Who wrote which answer: the first words of each."""
    rows = map(json.loads, ANSWERS.read_text(encoding="utf-8").splitlines())
    pairs = (pair for row in rows for pair in zip(row["completions"], row["models"], strict=True))
    return {answer[0]["content"].split("\n")[0][:25]: model for answer, model in pairs}


def label(page: Page, folder: Path) -> None:
    """The best and the worst said to be so."""
    page.goto(f"{SITE}/label/1")
    page.wait_for_load_state("networkidle")
    known, letters = writers(), {}
    for letter in "ABCD":
        shown = page.locator("main").inner_text()
        letters[letter] = next(model for words, model in known.items() if words in shown)
        page.keyboard.press(RATINGS[letters[letter]])
        if letters[letter] == "careless":
            page.keyboard.press("f")
        page.wait_for_selector('#saved[data-state="saved"]')
        if letter == "B":
            picture(page, folder / "collect_rate.png")
        page.keyboard.press("j")
    page.get_by_text("of 4 ranked").click()
    page.wait_for_selector("text=To be ranked")
    for letter, model in letters.items():
        if model in RANKS:
            page.locator(f'.rank-card[data-letter="{letter}"]').focus()
            page.keyboard.press(RANKS[model])
    page.wait_for_selector('#saved[data-state="saved"]')
    picture(page, folder / "collect_rank.png")


def live(page: Page, folder: Path) -> None:
    page.goto(f"{SITE}/projects/1")
    page.wait_for_load_state("networkidle")
    picture(page, folder / "collect_live.png")


def picture(page: Any, path: Path) -> None:
    page.wait_for_timeout(300)
    page.screenshot(path=path)
    print(path)


if __name__ == "__main__":
    main()
