"""The Temporal Schedule on which maintenance runs: installed once or a hundred times, it is one."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from temporal_state.errors import InvalidValueError
from temporal_state.runs import Retention
from temporal_state.temporal._maintenance import DEFAULT_RECONCILE, NAME, Reconcile, plan_of
from temporal_state.temporal._wire import to_raw

SCHEDULE_ID = "temporal-state-maintenance"
_KEEP_ALL = Retention()


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """What Temporal says of a schedule.

    Attributes:
        paused: Whether it starts nothing at present.
        note: Why, if someone said so.
        runs: How many times it has started maintenance.
        last: When it did so last.
        next: When it will do so next.
    """

    id: str
    every: timedelta
    paused: bool
    note: str | None
    runs: int
    last: datetime | None
    next: datetime | None


@dataclass(frozen=True, slots=True)
class MaintenanceSchedule:
    """The schedule that starts the maintenance of a store."""

    client: Client
    id: str = SCHEDULE_ID

    async def install(
        self,
        *,
        task_queue: str,
        every: timedelta = timedelta(hours=1),
        retention: Retention = _KEEP_ALL,
        reconcile: Reconcile = DEFAULT_RECONCILE,
    ) -> None:
        """Create the schedule, or change the one that is there; whether it is paused stays.

        Args:
            task_queue: Of workers with ``StatePlugin(..., maintenance=True)``.
            every: How often; one that is not done by then is waited for.
            retention: What is kept of runs; by default all is.
            reconcile: How records are reconciled with Temporal.

        Raises:
            InvalidValueError: ``every`` is not positive.
        """
        if every <= timedelta(0):
            raise InvalidValueError(f"every={every} is not positive; give how often it is to run")
        action = ScheduleActionStartWorkflow(
            NAME,
            args=[to_raw(plan_of(retention, reconcile))],
            id=self.id,
            task_queue=task_queue,
        )
        schedule = Schedule(
            action=action,
            spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
            policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
        )
        try:
            await self.client.create_schedule(self.id, schedule)
        except ScheduleAlreadyRunningError:
            await self._update(schedule)

    async def _update(self, schedule: Schedule) -> None:
        def change(input: ScheduleUpdateInput) -> ScheduleUpdate:
            schedule.state = input.description.schedule.state
            return ScheduleUpdate(schedule)

        await self.client.get_schedule_handle(self.id).update(change)

    async def pause(self, note: str | None = None) -> None:
        """Start nothing until `unpause`."""
        await self.client.get_schedule_handle(self.id).pause(note=note)

    async def unpause(self, note: str | None = None) -> None:
        """Start maintenance again when it is due."""
        await self.client.get_schedule_handle(self.id).unpause(note=note)

    async def trigger(self) -> None:
        """Start maintenance now, unless it runs."""
        await self.client.get_schedule_handle(self.id).trigger()

    async def delete(self) -> bool:
        """Delete the schedule; return whether there was one."""
        try:
            await self.client.get_schedule_handle(self.id).delete()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return False
            raise
        return True

    async def describe(self) -> ScheduleState | None:
        """Return what Temporal says of the schedule; ``None`` if there is none."""
        try:
            found = await self.client.get_schedule_handle(self.id).describe()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return None
            raise
        info, state = found.info, found.schedule.state
        return ScheduleState(
            self.id,
            found.schedule.spec.intervals[0].every,
            state.paused,
            state.note,
            info.num_actions,
            max((action.started_at for action in info.recent_actions), default=None),
            min(info.next_action_times, default=None),
        )


async def install_schedule(
    client: Client,
    *,
    task_queue: str,
    every: timedelta = timedelta(hours=1),
    id: str = SCHEDULE_ID,
    retention: Retention = _KEEP_ALL,
    reconcile: Reconcile = DEFAULT_RECONCILE,
) -> MaintenanceSchedule:
    """Have a store maintained by Temporal, regularly; see `MaintenanceSchedule.install`.

    Example:
        schedule = await install_schedule(client, task_queue="imports",
                                          retention=Retention(runs=timedelta(days=90)))
        await schedule.pause("while we migrate")
    """
    schedule = MaintenanceSchedule(client, id)
    await schedule.install(
        task_queue=task_queue, every=every, retention=retention, reconcile=reconcile
    )
    return schedule
