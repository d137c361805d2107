"""Asks a running app how it is: exit status 0 where the address answers with 200, 1 otherwise.

    python -m deploy.probe http://127.0.0.1:7860/healthz [SECONDS]

With SECONDS it asks again until then, for a start that is being waited for.
"""

import sys
import time
import urllib.error
import urllib.request

PATIENCE = 8.0  # seconds for one answer
PAUSE = 0.5  # seconds between two questions


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def main(arguments: list[str]) -> int:
    if not 1 <= len(arguments) <= 2:
        print("usage: python -m deploy.probe ADDRESS [SECONDS]", file=sys.stderr)
        return 2
    address, *rest = arguments
    until = time.monotonic() + (float(rest[0]) if rest else 0.0)
    while not answers(address):
        if time.monotonic() >= until:
            return 1
        time.sleep(PAUSE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
