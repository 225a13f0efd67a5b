"""``stats`` and ``reindex``: what the catalog of runs sums up, and how it is made anew."""

import typer

from temporal_state.cli._models import ReindexShape, StatsShape
from temporal_state.cli._options import Since, Until, moment
from temporal_state.cli._output import Output, status_text
from temporal_state.cli._session import Session, perform
from temporal_state.cli._text import count_text, duration_text
from temporal_state.runs.catalog import Stats


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("stats")(stats)
    app.command("reindex")(reindex)


def stats(ctx: typer.Context, *, since: Since = None, until: Until = None) -> None:
    """Sum up the runs: how many have which status, and how long they took."""

    async def work(session: Session) -> None:
        now = session.backend.clock()
        found = await session.backend.runs.stats(
            since=moment(since, now), until=moment(until, now), namespace=session.namespace
        )
        if session.out.json:
            session.out.document(StatsShape.of(found))
        else:
            _print(session.out, found)
        if not found.total:
            await session.note_empty()

    perform(ctx, work)


def reindex(ctx: typer.Context) -> None:
    """Make the catalog of runs anew from their records."""

    async def work(session: Session) -> None:
        with session.out.progress("runs") as bar:
            task = bar.add_task("reading", total=None)
            await session.backend.runs.reindex(lambda count: bar.update(task, completed=count))
        found = await session.backend.runs.stats(namespace=session.namespace)
        if session.out.json:
            shape = ReindexShape(total=found.total, unreadable=found.unreadable)
            session.out.document(shape)
        else:
            session.out.say(
                f"the catalog has {count_text(found.total)} runs of namespace "
                f"{session.namespace}; {found.unreadable} records cannot be read"
            )

    perform(ctx, work)


def _print(out: Output, found: Stats) -> None:
    out.table(
        ("status", "#runs", "#last 24 h", "#started by runs"),
        (
            (
                status_text(status),
                count_text(count),
                count_text(found.last_24_hours.get(status, 0)),
                count_text(found.background_by_status.get(status, 0)),
            )
            for status, count in sorted(found.by_status.items())
        ),
    )
    out.text("")
    out.table(
        ("type", "#runs", "#average"),
        (
            (name, count_text(count), duration_text(found.average_duration_by_type.get(name)))
            for name, count in sorted(found.by_type.items())
        ),
    )
    out.text("")
    out.text(
        f"{count_text(found.total)} runs, {count_text(found.checkpoints)} checkpoints, "
        f"{count_text(found.bytes)} bytes, average {duration_text(found.average_duration) or '-'}, "
        f"of writing a checkpoint {duration_text(found.average_checkpoint_time) or '-'}"
    )
    if found.unreadable:
        out.say(f"{found.unreadable} records cannot be read; 'temporal-state reindex' names them")
