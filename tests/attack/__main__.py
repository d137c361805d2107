"""`python -m tests.attack http://host:port [--login NAME:PASSWORD]`: tries every attack, prints what each met.

Exit status 1 if one got through. Point it only at a server of your own.
"""

from __future__ import annotations

import argparse
import sys

from tests.attack import files, web
from tests.attack.registry import ATTACKS, Breach, NotHere
from tests.attack.target import Target

__all__ = ["files", "web"]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--login", metavar="NAME:PASSWORD")
    given = parser.parse_args(arguments)
    name, _, password = (given.login or "").partition(":")
    target = Target(given.url.rstrip("/"), login=(name, password) if password else None)
    breaches = 0
    for one in ATTACKS.values():
        try:
            told = f"held     {one.name:<22} {one.run(target)}"
        except NotHere as missing:
            told = f"not here {one.name:<22} needs {missing}"
        except Breach as breach:
            breaches += 1
            told = f"BREACH   {one.name:<22} {breach}"
        except Exception as error:  # what cannot be tried has not been held off
            breaches += 1
            told = f"FAILED   {one.name:<22} {type(error).__name__}: {error}"
        print(told, flush=True)
    print(f"{len(ATTACKS)} attacks, {breaches} got through or failed")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
