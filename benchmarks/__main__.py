"""All figures, family by family.

    python -m benchmarks [--short] [family ...]

Prints a table for each family and, when it was measured at full length, puts it into RESULTS.md in
place of the one before. The short form only shows that none of them rots: its figures say nothing.
"""

import argparse
import asyncio
import importlib
import logging
import os
import sys
import time
from datetime import UTC, datetime
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
Each family says when it was measured, and how busy the machine was before.

{machine}
"""
SECTION = "\n## "


async def measure(family: str, *, short: bool) -> str:
    """Return the section of one family, and print it."""
    module = importlib.import_module(f"benchmarks.{family}")
    begun = time.perf_counter()
    rows: list[Row | Missing] = [row async for row in module.rows(short=short)]
    words = " ".join((module.__doc__ or "").split("\n\n")[0].split())
    section = f"{family.capitalize()}\n\n{words}\n\n{table(rows)}"
    print(section, f"({time.perf_counter() - begun:.0f} s)\n", sep="\n", flush=True)
    return section


def keep(family: str, section: str, when: str, machine: str) -> None:
    """Put the section of a family into RESULTS.md."""
    _, *others = RESULTS.read_text().split(SECTION) if RESULTS.exists() else [""]
    kept = {other.split("\n")[0].lower(): other for other in others}
    title, rest = section.split("\n", 1)
    kept[family] = f"{title}\n\nMeasured {when}.\n{rest}"
    ordered = [kept[family] for family in FAMILIES if family in kept]
    RESULTS.write_text(SECTION.join([HEAD.format(machine=machine), *ordered]))
    print(f"wrote {RESULTS}", file=sys.stderr)


def now() -> str:
    """Return when this is, and how busy the machine is."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load {os.getloadavg()[0]:.1f}"


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
    for family in families:
        when = now()
        # In a loop of its own, so that no family leaves a task to the next.
        section = asyncio.run(measure(family, short=options.short))
        if not options.short:
            keep(family, section, when, machine)


if __name__ == "__main__":
    main()
