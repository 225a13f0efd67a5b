"""A bucket or container as `obstore` sees it, with our errors and nothing of its retries.

Its blocking calls only: the asynchronous ones can abort the interpreter at exit. Its own retries
are off, because they send a stale condition again and double every time limit; who calls decides
what is worth another try. Messages of the client are shortened and lose whatever may be a
signature, and are not chained, since the original would bring the secret back.

The only module that imports `obstore`; import it only where a store is opened.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore import exceptions as client_errors
from obstore.store import AzureStore, GCSStore, S3Store

from temporal_state.errors import ConfigurationError, StoreError, StorePermissionError
from temporal_state.storage._location import Location
from temporal_state.storage._protocol import Object, ObjectInfo
from temporal_state.storage._writers import ATTRIBUTE, Writers

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode, PutResult
    from obstore.store import ClientConfig, RetryConfig
    from obstore.store import ObjectStore as Client

T = TypeVar("T")

_STORES: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
_ENDPOINTS = (
    *("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    *("AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT"),
)
_PAGE = 1000  # what servers list in one answer

# Missing objects and missing buckets are one kind of error to the client.
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|specified (bucket|container) does not")
_NO_PERMISSION = re.compile(r"status code: 40[13]\b|AccessDenied|AuthorizationFailure")
# 408, 409 and 429 ask for another try; the others of 4xx stay what they are.
_HOPELESS = re.compile(r"status code: (?:4(?!08|09|29)\d\d|501)\b|builder error")
_DETAILS = re.compile(r"\s*Debug source:.*", re.DOTALL)
_ANSWER = re.compile(r"<\?xml.*?<Code>(.*?)</Code>\s*<Message>(.*?)</Message>.*", re.DOTALL)
_QUERY = re.compile(r"\?[^\s\"'<>)]+")


class RefusedError(StoreError):
    """The server says that a condition does not hold; perhaps because of our own lost write."""


class RejectedError(StoreError):
    """The server will say the same to the same request again."""

    retryable = False


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a server calls one content of an object: Google goes by the version, others by ETag."""

    etag: str
    version: str | None

    @property
    def condition(self) -> "PutMode":
        """What to write with, if the object must still be that one."""
        if self.version is None:
            return {"e_tag": self.etag}
        return {"e_tag": self.etag, "version": self.version}


@dataclass(frozen=True, slots=True)
class Stored(Object):
    """An object as the server keeps it."""

    stamp: Stamp
    writers: Writers


def connect(location: Location, request_timeout: timedelta) -> "Client":
    """Return the client for a location, configured by the environment otherwise.

    Raises:
        ConfigurationError: The client has no use for the configuration.
    """
    endpoints = (location.options.get("endpoint", ""), *map(os.environ.get, _ENDPOINTS))
    options: ClientConfig = {
        "timeout": request_timeout,
        "connect_timeout": request_timeout,
        "allow_http": any((endpoint or "").startswith("http://") for endpoint in endpoints),
    }
    retry: RetryConfig = {"max_retries": 0, "retry_timeout": request_timeout}
    try:
        client: Client = _STORES[location.scheme](
            location.bucket,
            prefix=location.prefix or None,
            config=location.options,
            client_options=options,
            retry_config=retry,
        )
    except (client_errors.BaseError, ValueError) as error:
        raise ConfigurationError(f"cannot set up {location}: {_reason(error)}") from None
    return client


class Bucket:
    """Objects of one bucket below one prefix.

    Args:
        client: The client, which knows bucket and prefix.
        url: How messages call it.
    """

    def __init__(self, client: "Client", url: str) -> None:
        self._client = client
        self._url = url

    def get(self, key: str) -> Stored | None:
        """Return the object with its table of writers, or ``None``."""
        with self._reporting("read", key):
            found = _or_none(lambda: obstore.get(self._client, key))
            if found is None:
                return None
            stamp = _stamp(found.meta)
            writers = Writers.parse(found.attributes.get(ATTRIBUTE, ""))
            return Stored(bytes(found.bytes()), stamp.etag, stamp, writers)

    def head(self, key: str) -> ObjectInfo | None:
        """Return what is known of the object, or ``None``."""
        with self._reporting("look up", key):
            meta = _or_none(lambda: obstore.head(self._client, key))
            if meta is None:  # the answer to HEAD does not say whether there is a bucket
                found = _or_none(lambda: obstore.get(self._client, key))
                meta = None if found is None else found.meta
            if meta is None:
                return None
            return ObjectInfo(key, meta["size"], meta["last_modified"])

    def put(
        self, key: str, data: bytes, mode: "PutMode" = "overwrite", writers: Writers | None = None
    ) -> Stamp:
        """Write the object and return what it is called now.

        Raises:
            RefusedError: The condition does not hold.
        """
        attributes = {ATTRIBUTE: str(writers)} if writers is not None else {}
        with self._reporting("write", key):
            result = obstore.put(
                self._client, key, data, mode=mode, attributes=attributes, use_multipart=False
            )
            return _stamp(result)

    def delete(self, key: str) -> None:
        """Remove the object, if there is one."""
        with self._reporting("delete", key):
            _or_none(lambda: obstore.delete(self._client, key))

    def list(self, folder: str, offset: str) -> "Iterator[str]":
        """Return the keys in a folder after ``offset``, in the order of the server."""
        pages: Iterator[Sequence[ObjectMeta]] = iter(
            obstore.list(self._client, folder or None, offset=offset or None, chunk_size=_PAGE)
        )
        while True:
            with self._reporting("list", folder):
                page = next(pages, None)
            if page is None:
                return
            yield from (found["path"] for found in page)

    @contextmanager
    def _reporting(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except (client_errors.BaseError, FileNotFoundError, ValueError) as error:
            raise self._translated(error, f"cannot {verb} {key!r} in {self._url}") from None

    def _translated(self, error: Exception, what: str) -> StoreError | ConfigurationError:
        text, reason = str(error), _reason(error)
        if _NO_BUCKET.search(text):
            return ConfigurationError(
                f"{what}: there is no such bucket or container ({reason}); make it first, or "
                "correct the URL, the region or the endpoint"
            )
        if isinstance(error, _DENIED) or _NO_PERMISSION.search(text):
            return StorePermissionError(
                f"{what}: {reason}; the credentials must allow to read, write, delete and list"
            )
        if isinstance(error, _REFUSED):
            return RefusedError(f"{what}: {reason}")
        kind = RejectedError if _HOPELESS.search(text) else StoreError
        return kind(f"{what}: {reason}")


_DENIED = (client_errors.PermissionDeniedError, client_errors.UnauthenticatedError)
_REFUSED = (  # a missing object when it was to be replaced is the third way to say so
    client_errors.AlreadyExistsError,
    client_errors.PreconditionError,
    FileNotFoundError,
)


def _stamp(found: "ObjectMeta | PutResult") -> Stamp:
    return Stamp(found["e_tag"] or "", found["version"])


def _or_none(call: Callable[[], T]) -> T | None:
    try:
        return call()
    except FileNotFoundError as error:
        if _NO_BUCKET.search(str(error)):
            raise
        return None


def _reason(error: Exception) -> str:
    text = _ANSWER.sub(r"\1: \2", _DETAILS.sub("", str(error)))
    text = _QUERY.sub("?***", text)
    return " ".join(text.split())[:400]
