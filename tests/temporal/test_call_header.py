"""What an activity is told of its call arrives whole, and takes little room on the way."""

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from ciphers import Cipher
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter

from temporal_state import StateBackend
from temporal_state.documents import dumps, loads
from temporal_state.runs import Source, digest, step_key
from temporal_state.temporal._call_header import CallHeader, CallHeaders, moment_of
from temporal_state.temporal._call_header import micros_since_1970 as micros
from temporal_state.temporal._lineage import Lineage
from temporal_state.temporal._recording import RecordingLane
from temporal_state.temporal._wire import is_plain

STARTED = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
NOW = STARTED + timedelta(days=400, microseconds=1)
CONTENT = digest("a call")
ORIGINAL, CHAIN = "01a1ffc2-1ff1-7b31-8b31-2ae1b2427007", "01a1ffb1-c243-7ee3-b9af-1483fb8bdbea"


@dataclasses.dataclass
class Info:
    """What is used of the SDK's own, which has many fields more."""

    first_execution_run_id: str = ORIGINAL
    original_execution_run_id: str = ORIGINAL
    workflow_start_time: datetime = STARTED


def written(info=None, lineage=None, *, recorded=True, part=0, since=None):
    """Return the header of a call."""
    payload = Payload()
    headers = CallHeaders(info or Info(), lineage or Lineage(), recorded=recorded)
    headers.write(payload, CONTENT, part, micros(NOW), 0 if since is None else micros(since))
    return payload


@pytest.mark.parametrize("chain", [ORIGINAL, CHAIN])
@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("part", [0, 7])
@pytest.mark.parametrize("since", [None, STARTED])
@pytest.mark.parametrize("lineage", [Lineage(), Lineage(Source("default", "order-7", CHAIN))])
def test_an_activity_reads_what_its_workflow_wrote(chain, recorded, part, since, lineage):
    info = Info(first_execution_run_id=chain)
    header = written(info, lineage, recorded=recorded, part=part, since=since)
    key = step_key(ORIGINAL, CONTENT)
    told = CallHeader.from_payload(header)
    assert (told.chain, told.content, told.step, told.now) == (chain, CONTENT, key, NOW)
    assert moment_of(told.started) == STARTED
    assert (told.lineage, told.recorded, told.part) == (lineage, recorded, part)
    assert told.since == since


@pytest.mark.parametrize(
    "change", [{"content": None}, {"original": 7}, {"now": "noon"}, {"started": "noon"}], ids=str
)
async def test_an_activity_does_without_a_header_that_makes_no_sense(change):
    wrong = Payload(data=dumps({**loads(written().data), **change}))
    async with StateBackend.open("memory://", app="tests") as backend:
        assert await RecordingLane(backend.runs, None).header_in(wrong) is None


def test_what_each_call_is_told_is_short_and_bare():
    header = written()
    assert not header.metadata
    assert len(header.data) < 160


def test_a_header_that_no_codec_has_touched_is_told_from_one_that_it_has():
    (encoded,) = asyncio.run(Cipher().encode([written()]))
    silent = Payload(data=encoded.data)
    assert [is_plain(header) for header in (written(), encoded, silent)] == [True, False, False]


class Silent(Cipher):
    """Says nothing of how it encodes."""

    async def encode(self, payloads):
        return [Payload(data=payload.data) for payload in await super().encode(payloads)]

    async def decode(self, payloads):
        mixed = {"encoding": b"binary/mixed"}
        return await super().decode([Payload(metadata=mixed, data=p.data) for p in payloads])


@pytest.mark.parametrize("codec", [Cipher(), Silent()], ids=["cipher", "silent"])
async def test_a_header_arrives_whether_the_codec_encodes_headers_or_not(codec):
    async with StateBackend.open("memory://", app="tests") as backend:
        lane = RecordingLane(backend.runs, None)
        lane._converter = DataConverter(payload_codec=codec)
        (encoded,) = await codec.encode([written()])
        for payload in (written(), encoded):
            assert await lane.header_in(payload) == CallHeader.from_payload(written())
