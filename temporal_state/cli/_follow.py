"""``follow``: runs as they go on, as bars on a terminal, as lines elsewhere."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from typing import Annotated, Protocol, Self

import typer
from rich import progress as bars
from rich.console import Console, RenderableType
from rich.table import Column
from rich.text import Text

from temporal_state.cli._failures import CommandError
from temporal_state.cli._models import RunShape
from temporal_state.cli._output import STYLES, Output
from temporal_state.cli._run_tables import progress_text, steps_text
from temporal_state.cli._session import Session, perform
from temporal_state.cli._text import count_text, duration_text, harmless, short
from temporal_state.cli._watch import Seen, Wanted, Watch
from temporal_state.runs import Run

FINE = {"completed", "continued_as_new"}


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command("follow")(follow)


def follow(
    ctx: typer.Context,
    workflow_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[WORKFLOW_ID]...", help="Which workflows.")
    ] = None,
    *,
    status: Annotated[
        str | None, typer.Option(help="Instead of ids: all runs with this status now.")
    ] = None,
    workflow_type: Annotated[
        str | None, typer.Option("--type", "-t", help="... and of this workflow type.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for workflows that have no record yet.")
    ] = False,
    forever: Annotated[
        bool, typer.Option("--forever", help="Go on when all have ended, until Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.05, max=3600, help="Look every so many seconds.")
    ] = 1.0,
) -> None:
    """Follow runs until they end; exits with 1 if one of them did not complete."""
    ids = list(dict.fromkeys(workflow_ids or []))
    if ids and (status or workflow_type):
        raise typer.BadParameter("give workflow ids, or --status and --type, not both")
    if not ids and status is None:
        status = "running"

    async def work(session: Session) -> None:
        wanted = Wanted(ids, status, workflow_type, session.namespace)
        watch = Watch(session.backend.runs, wanted, wait or forever)
        with _screen(session.out) as screen:
            last = await _watch(watch, screen, timedelta(seconds=every), forever=forever)
        if not last:
            session.out.say(f"there is no run to follow with status {status}")
            await session.note_empty()
        _judge(last)

    perform(ctx, work)


async def _watch(
    watch: Watch, screen: "Screen", every: timedelta, *, forever: bool
) -> Sequence[Seen]:
    async for looked in watch.looks(every):
        screen.show(looked)
        if not forever and all(seen.over for seen in looked):
            return looked
    return []


def _judge(seen: Iterable[Seen]) -> None:
    bad = [f"{s.workflow_id} {s.run.status}" for s in seen if s.run and s.run.status not in FINE]
    if bad:
        raise CommandError(f"not all completed: {', '.join(bad)}; 'temporal-state show' tells why")


class Screen(AbstractContextManager["Screen"], Protocol):
    """Shows runs whenever something new is known of them."""

    def show(self, looked: Iterable[Seen]) -> None:
        """Show them."""
        ...


def _screen(out: Output) -> Screen:
    if not out.json and out.console.is_terminal:
        return Bars(out.console)
    return _Lines(out)


class _Lines(ExitStack, Screen):
    """One line for each change of a run: JSON for scripts, else text."""

    def __init__(self, out: Output) -> None:
        super().__init__()
        self._out = out
        self._shown: dict[str, RunShape | None] = {}

    def show(self, looked: Iterable[Seen]) -> None:
        for seen in looked:
            shape = None if seen.run is None else RunShape.of(seen.run)
            if seen.workflow_id in self._shown and self._shown[seen.workflow_id] == shape:
                continue
            self._shown[seen.workflow_id] = shape
            self._tell(seen, shape)

    def _tell(self, seen: Seen, shape: RunShape | None) -> None:
        if shape is None or seen.run is None:
            self._out.say(f"{seen.workflow_id} has no record yet")
        elif self._out.json:
            self._out.lines([shape])
        else:
            parts = (seen.workflow_id, seen.run.status, *_facts(seen.run))
            self._out.text("  ".join(part for part in parts if part))
            self._out.console.file.flush()


class Bars(ExitStack, Screen):
    """One bar for each run."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._bars = bars.Progress(
            bars.TextColumn("{task.fields[name]}"),
            bars.TextColumn("{task.fields[status]}"),
            bars.BarColumn(None, table_column=Column(min_width=10, ratio=2)),
            bars.TextColumn("{task.fields[count]}", justify="right"),
            _Rate(),
            _Time(compact=True),
            bars.TextColumn(
                "{task.fields[message]}",
                # What is left, so that no long message takes the bar's place, or the name's.
                table_column=Column(min_width=10, ratio=3, no_wrap=True),
            ),
            console=console,
            expand=True,
        )
        self._name_width = max(12, console.width // 4)
        self._tasks: dict[str, bars.TaskID] = {}

    def __enter__(self) -> Self:
        super().__enter__()
        self.enter_context(self._bars)
        return self

    def show(self, looked: Iterable[Seen]) -> None:
        for seen in looked:
            if seen.workflow_id not in self._tasks:
                self._tasks[seen.workflow_id] = self._add(seen.workflow_id)
            if seen.run is not None:
                self._update(self._tasks[seen.workflow_id], seen.run)

    def shown(self) -> RenderableType:
        """Return what is on the screen now."""
        return self._bars.get_renderable()

    def _add(self, workflow_id: str) -> bars.TaskID:
        name = Text(short(workflow_id, self._name_width))
        return self._bars.add_task(
            "", total=None, name=_escaped(name), status="waiting", count="", message="", took=""
        )

    def _update(self, task: bars.TaskID, run: Run) -> None:
        done, total = _measure(run)
        count, message = _facts(run)
        style = STYLES.get(run.status, "")
        self._bars.update(
            task,
            completed=done,
            total=total,
            status=f"[{style}]{run.status}[/]" if style else run.status,
            count=count.partition(",")[0],
            took=duration_text(None if run.ended is None else run.ended - run.started),
            message=_escaped(Text(short(message))),
        )
        if run.ended is not None:
            self._bars.stop_task(task)


class _Rate(bars.ProgressColumn):
    """How many a second."""

    def render(self, task: bars.Task) -> Text:
        """Show the rate, once there is one."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{count_text(round(speed, 1))}/s")


class _Time(bars.TimeRemainingColumn):
    """How long it will take; how long it took."""

    def render(self, task: bars.Task) -> Text:
        """Show what is left, by the rate so far, or the duration of a run that has ended."""
        took = str(task.fields["took"])
        return Text(took, style="progress.elapsed") if took else super().render(task)


def _escaped(text: Text) -> str:
    return text.markup


def _measure(run: Run) -> tuple[float, float | None]:
    """Return how far a bar goes: by the run's own progress, else by its steps."""
    if run.progress is not None:
        done, total = run.progress.done, run.progress.total
    else:
        done, total = run.counts.get("completed", 0), run.steps or None
    if run.status == "completed":
        return (total or done or 1), (total or done or 1)
    return done, total


def _facts(run: Run) -> tuple[str, str]:
    steps = f"{steps_text(run)} steps" if run.steps else ""
    count = ", ".join(filter(None, (progress_text(run.progress), steps)))
    message = (run.progress.message or "") if run.progress is not None else ""
    if run.error is not None:
        message = f"{run.error.type}: {run.error.message or ''}".rstrip(": ")
    return count, harmless(message)
