"""The objects in which the own spans of runs lie."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from temporal_state.runs._merge import Json
from temporal_state.runs._objects import Objects
from temporal_state.runs._refs import RunLayout, RunRef
from temporal_state.runs._spans import (
    Span,
    bucket_of,
    merge_span,
    merge_spans,
    to_json,
    to_span,
    with_depths,
)


@dataclass(frozen=True, slots=True)
class SpanStore:
    """Reads and writes own spans."""

    objects: Objects
    places: RunLayout

    async def add(self, ref: RunRef, spans: Iterable[Span]) -> None:
        """Add spans, after all of them were checked against those that are there."""
        new: dict[str, Json] = {}
        for span in spans:
            new[span.span_id] = merge_span(span.span_id, new.get(span.span_id), to_json(span))
        parents = {span["parent"] for span in new.values()} - {None}
        known = await self._of_buckets(ref, {bucket_of(one) for one in {*new, *parents}})
        placed = with_depths(new, known)
        by_bucket: dict[int, dict[str, Json]] = {}
        for span_id, value in placed.items():
            by_bucket.setdefault(bucket_of(span_id), {})[span_id] = value
        for bucket, part in by_bucket.items():
            there = {id: span for id, span in known.items() if bucket_of(id) == bucket}
            merge_spans(there, part)  # refuses what cannot be, before any is written
        await asyncio.gather(*(self._add(ref, b, part) for b, part in by_bucket.items()))

    async def read(self, folder: str) -> list[Span]:
        """Return all own spans of a run."""
        keys = await self.objects.keys(f"{folder}spans/")
        parts = await asyncio.gather(*map(self.objects.read, keys))
        return [to_span(id, span) for part in parts for id, span in part["spans"].items()]

    async def _of_buckets(self, ref: RunRef, buckets: set[int]) -> dict[str, Json]:
        keys = [self.places.spans(ref, bucket) for bucket in buckets]
        parts = await asyncio.gather(*map(self.objects.read, keys))
        return {id: span for part in parts for id, span in part.get("spans", {}).items()}

    async def _add(self, ref: RunRef, bucket: int, spans: dict[str, Json]) -> None:
        def merge(stored: Json) -> Json:
            return {**stored, "spans": merge_spans(stored.get("spans", {}), spans)}

        await self.objects.update(self.places.spans(ref, bucket), merge)
