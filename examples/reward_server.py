"""A reward service to try and to change: `python examples/reward_server.py`, then `--reward http://127.0.0.1:8000/score`.

Standard library only. Replace `reward` by what you want; docs/reward_sources.md has the protocol.
"""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LONG = 1 << 26  # bytes of a request


def reward(prompt: str, completion: str) -> float:
    """Near 50 characters, and with a full stop at the end."""
    return -abs(len(completion) - 50) - (0.0 if completion.rstrip().endswith(".") else 100.0)


def text_of(content: Any) -> str:
    """A text, or the words of a list of turns."""
    return content if isinstance(content, str) else "\n".join(turn["content"] for turn in content)


def rewards(groups: list[Any]) -> list[list[float]]:
    """One list a group, one number a completion."""
    return [
        [reward(text_of(group["prompt"]), text_of(completion)) for completion in group["completions"]]
        for group in groups
    ]


class Rewards(BaseHTTPRequestHandler):
    """POST {"groups": [{"id", "prompt", "completions"}, ...]} -> {"rewards": [[...], ...]}."""

    def do_POST(self) -> None:
        try:
            body = self.rfile.read(min(LONG, int(self.headers["Content-Length"])))
            self.answer(200, {"rewards": rewards(json.loads(body)["groups"])})
        except (KeyError, TypeError, ValueError) as error:
            self.answer(400, {"error": f"{type(error).__name__}: {error}"})

    def answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=8000)
    with ThreadingHTTPServer(("127.0.0.1", options.parse_args().port), Rewards) as server:
        print(f"rewards at http://127.0.0.1:{server.server_port}/score", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
