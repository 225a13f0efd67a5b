"""A codec that hides payloads, for tests that look for plaintext."""

import hashlib
import secrets

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec


class Cipher(PayloadCodec):
    """A stream cipher with a random nonce: enough to tell ciphertext from plaintext."""

    async def encode(self, payloads):
        return [self._encrypt(payload) for payload in payloads]

    async def decode(self, payloads):
        return [self._decrypt(payload) for payload in payloads]

    def _encrypt(self, payload):
        nonce = secrets.token_bytes(16)
        data = nonce + self._mix(nonce, payload.SerializeToString())
        return Payload(metadata={"encoding": b"binary/mixed"}, data=data)

    def _decrypt(self, payload):
        if payload.metadata.get("encoding") != b"binary/mixed":
            return payload
        return Payload.FromString(self._mix(payload.data[:16], payload.data[16:]))

    def _mix(self, nonce, data):
        stream = b""
        while len(stream) < len(data):
            stream += hashlib.sha256(nonce + len(stream).to_bytes(8, "big")).digest()
        return bytes(a ^ b for a, b in zip(data, stream, strict=False))
