"""Takes values out of a history as they were before the codec made them for Temporal."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter, PayloadConverter, SerializationContext

from temporal_state.temporal._wire import is_plain

log = logging.getLogger("temporal_state")


class UndecodableError(Exception):
    """The codec of the client cannot decode what is in a history."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """Decodes payloads, each in the context that it was encoded in.

    Attributes:
        converter: That of the workers; ``None`` leaves all values as they are.
    """

    converter: DataConverter | None

    @property
    def decodes(self) -> bool:
        """Whether what it returns is what was encoded."""
        return self.converter is not None

    async def payloads(
        self, payloads: Sequence[Payload], context: SerializationContext
    ) -> list[Payload]:
        """Return payloads without their codec.

        Raises:
            UndecodableError: The codec failed.
        """
        if self.converter is None or not payloads:
            return [*payloads]
        codec = self.converter.with_context(context).payload_codec
        if codec is None:
            return [*payloads]
        try:
            return await codec.decode(payloads)
        except Exception as error:
            raise UndecodableError(str(error)) from error

    async def one(self, payload: Payload, context: SerializationContext) -> Payload:
        """Return one payload without its codec."""
        return (await self.payloads([payload], context))[0]

    async def header(self, payload: Payload, context: SerializationContext) -> Payload:
        """Return the value of a header: a client may be set up so that they are encoded, or not."""
        if is_plain(payload):
            return payload
        return await self.one(payload, context)

    async def failure(self, failure: Failure, context: SerializationContext) -> Failure:
        """Return a copy of a failure with its payloads decoded."""
        copy = Failure()
        copy.CopyFrom(failure)
        if self.converter is None:
            return copy
        codec = self.converter.with_context(context).payload_codec
        if codec is not None:
            try:
                await codec.decode_failure(copy)
            except Exception as error:
                raise UndecodableError(str(error)) from error
        return copy

    async def text(self, payload: Payload, context: SerializationContext) -> str | None:
        """Return the text that a payload is, if it can be read."""
        decoded = await self.one(payload, context)
        try:
            return str(PayloadConverter.default.from_payload(decoded, str))
        except (KeyError, RuntimeError, ValueError):
            log.warning("the summary of a timer in a history cannot be read")
            return None
