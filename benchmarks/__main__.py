"""All figures, family by family.

    python -m benchmarks [--short] [family ...]

Prints a table for each family; when all were measured at full length, writes them to RESULTS.md.
The short form only shows that none of them rots: its figures say nothing.
"""

import argparse
import asyncio
import importlib
import logging
import sys
import time
from pathlib import Path

from benchmarks import _machine
from benchmarks._table import Missing, Row, table

FAMILIES = (
    *("workflows", "records", "storage", "peers", "catalog", "memory", "imports", "s3"),
    *("growth", "transactions", "resume"),
)
RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = """# Figures

Written by `make bench`; not edited by hand. Ratios are of two things measured in turns in one run.

{machine}
"""


async def measure(family: str, *, short: bool) -> str:
    """Return the section of one family, and print it."""
    module = importlib.import_module(f"benchmarks.{family}")
    begun = time.perf_counter()
    rows: list[Row | Missing] = [row async for row in module.rows(short=short)]
    words = " ".join((module.__doc__ or "").split("\n\n")[0].split())
    section = f"## {family.capitalize()}\n\n{words}\n\n{table(rows)}"
    print(section, f"({time.perf_counter() - begun:.0f} s)\n", sep="\n", flush=True)
    return section


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", choices=[[], *FAMILIES], metavar="family")
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    logging.getLogger("temporal_state").setLevel(logging.ERROR)  # a broken store says that it is
    families = options.families or FAMILIES
    machine = _machine.describe()
    print(machine, flush=True)
    # Each family in a loop of its own, so that none leaves a task to the next.
    sections = [asyncio.run(measure(family, short=options.short)) for family in families]
    if not options.short and families == FAMILIES:
        RESULTS.write_text("\n".join([HEAD.format(machine=machine), *sections]))
        print(f"wrote {RESULTS}", file=sys.stderr)


if __name__ == "__main__":
    main()
