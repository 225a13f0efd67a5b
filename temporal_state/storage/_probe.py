"""Tries out a bucket before it is trusted: servers that ignore conditions say so to nobody.

A server that takes a conditional write for a plain one loses updates in silence. It is cheap to
ask: what must be refused is sent, and if it is not refused, the store is.
"""

import secrets
from collections.abc import Callable

from temporal_state.errors import ConfigurationError
from temporal_state.storage._bucket import Bucket, RefusedError, RejectedError


def probe(bucket: Bucket, url: str) -> bool:
    """Return whether listings are in the order of characters and can start anywhere.

    Some servers keep real folders and list one after the other, which is another order.

    Raises:
        ConfigurationError: Conditional writes are not refused when they must be, or not known.
    """
    folder = f".temporal-state-probe-{secrets.token_hex(8)}"  # no key starts with a dot
    first, second = f"{folder}/a-x", f"{folder}/a/x"
    try:
        stamp = bucket.put(second, b"1", "create")
        _must_be_refused(lambda: bucket.put(second, b"2", "create"), "creates what exists", url)
        bucket.put(second, b"3", stamp.condition)
        _must_be_refused(
            lambda: bucket.put(second, b"4", stamp.condition), "replaces what has changed", url
        )
        bucket.put(first, b"")
        return [*bucket.list(folder, f"{folder}/a!")] == [first, second]
    except RejectedError as error:
        raise ConfigurationError(
            f"cannot use {url}, its server rejects what must work: {error}"
        ) from error
    finally:
        bucket.delete(first)
        bucket.delete(second)


def _must_be_refused(write: Callable[[], object], what: str, url: str) -> None:
    try:
        write()
    except RefusedError:
        return
    raise ConfigurationError(
        f"{url} ignores the condition of a conditional write: it {what}, so that updates would be "
        "lost in silence. Use a server that honours If-Match and If-None-Match, as AWS S3, Google "
        "Cloud Storage and Azure do, and no proxy that strips them"
    )
