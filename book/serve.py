"""Serve the built book on this machine: ``python book/serve.py PORT``."""

import argparse
import functools
import http.server
from pathlib import Path

from lib.runs.options import fails, program

HTML = Path(__file__).parents[1] / "_build" / "html"


def port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"must be a number from 1 to 65535, got {text}")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=port)
    number = parser.parse_args(arguments).port
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=HTML)

    def work() -> int:
        with http.server.ThreadingHTTPServer(("127.0.0.1", number), handler) as server:
            print(f"http://localhost:{number}, until Ctrl-C")
            server.serve_forever()
        return 0

    return fails(f"serve: port {number}", work)


if __name__ == "__main__":
    program(main)
