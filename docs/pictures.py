"""Makes the pictures in ``docs/pictures``: what a terminal shows of real runs.

    make pictures

It starts a Temporal server and a worker, and lets three workflows of ``samples.inventory`` run: one
that completes, one that fails, and one that is drawn while it is running.
"""

import asyncio
import re
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from io import StringIO
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text
from temporalio.client import Client
from temporalio.worker import Worker

from samples.inventory import Inventory, Request, hash_batch, list_tree, write_report
from temporal_state import Recording, StateBackend, StatePlugin
from temporal_state.cli._follow import Bars
from temporal_state.cli._timeline import draw
from temporal_state.cli._watch import Wanted, Watch
from temporal_state.testing import dev_server

ROOT = Path(__file__).parents[1]
PICTURES = Path(__file__).parent / "pictures"
PACKAGE = ROOT / "temporal_state"
QUEUE = "pictures"
WIDTH = 100
LOOK = timedelta(milliseconds=20)

SHORT, FAILING, LONG = "inventory-testing", "inventory-nowhere", "inventory-package"

# A picture must look the same without asking a server of somebody else's for a font.
FORMAT = re.sub(r" *@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


async def pictures(client: Client, folder: Path, tree: Path = PACKAGE) -> Mapping[str, str]:
    """Let the workflows run, and return the pictures by name.

    Args:
        client: Of a server.
        folder: For the store and the reports.
        tree: What the workflow that is drawn while it runs takes the inventory of.
    """
    async with StateBackend.open(folder, app="demo") as backend:
        plugin = StatePlugin(backend, recording=Recording(flush_interval=LOOK))
        worker = Worker(
            client,
            task_queue=QUEUE,
            workflows=[Inventory],
            activities=[list_tree, hash_batch, write_report],
            plugins=[plugin],
        )
        async with worker:
            for name, of in ((SHORT, PACKAGE / "testing"), (FAILING, ROOT / "nowhere")):
                await asyncio.wait([start(client, name, of, folder)])
            running = start(client, LONG, tree, folder)
            follow = await picture_of_follow(backend, [SHORT, FAILING, LONG])
            await running
        return {"follow": follow, "timeline": await picture_of_steps(backend, SHORT)}


def start(client: Client, id: str, tree: Path, folder: Path) -> asyncio.Task[object]:
    """Start the inventory of a tree; return its result to come."""
    request = Request(str(tree), str(folder / f"{id}.json"))
    return asyncio.create_task(
        client.execute_workflow(Inventory.run, request, id=id, task_queue=QUEUE)
    )


async def picture_of_follow(backend: StateBackend, ids: list[str]) -> str:
    """Return what ``follow`` shows when the last of some workflows is half way."""
    command = f"temporal-state follow {' '.join(ids)}"
    watch = Watch(backend.runs, Wanted(ids, None, None, "default"), wait=True)
    with Bars(Console(file=StringIO(), force_terminal=True, width=WIDTH)) as bars:
        async for seen in watch.looks(LOOK):
            bars.show(seen)
            run = seen[-1].run
            if run is None or run.progress is None or run.progress.total is None:
                continue
            if run.ended is not None:
                raise RuntimeError(f"{ids[-1]} was over before it could be drawn; try it again")
            if 2 * run.progress.done >= run.progress.total:
                break
        return drawn(command, bars.shown())


async def picture_of_steps(backend: StateBackend, id: str) -> str:
    """Return what ``steps --timeline`` shows of a run."""
    run = await backend.runs.get(id)
    assert run is not None
    steps = await backend.runs.steps(id)
    lines = draw(run, steps, width=WIDTH, now=backend.clock())
    return drawn(f"temporal-state steps {id} --timeline", *lines)


def drawn(command: str, *shown: object) -> str:
    """Return a picture of a terminal with a command and what it has shown."""
    console = Console(file=StringIO(), record=True, force_terminal=True, width=WIDTH)
    console.print(Text(f"$ {command}"), *shown, sep="\n")
    return console.export_svg(title="", code_format=FORMAT, unique_id="terminal")


async def main() -> None:
    """Make the pictures, and write them."""
    with tempfile.TemporaryDirectory() as folder:
        async with await dev_server() as server:
            made = await pictures(server.client, Path(folder))
    PICTURES.mkdir(exist_ok=True)
    for name, svg in made.items():
        (PICTURES / f"{name}.svg").write_text(svg)
        print(PICTURES / f"{name}.svg")


if __name__ == "__main__":
    asyncio.run(main())
