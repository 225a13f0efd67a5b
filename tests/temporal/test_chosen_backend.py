"""A backend that is open is used as it is: what asks for another is refused, never passed over."""

from datetime import UTC, datetime, timedelta

import pytest

import temporal_state._default
from temporal_state import ConfigurationError, Limits, StateBackend, StatePlugin, configure
from temporal_state.storage import Compressed

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LIMITS = Limits(operation_timeout=timedelta(seconds=60))


@pytest.fixture
def backend(monkeypatch):
    monkeypatch.setattr(temporal_state._default, "_default", None)
    return StateBackend.open("memory://", app="tests", tenant="blue", limits=LIMITS)


@pytest.mark.parametrize("use", [configure, StatePlugin])
@pytest.mark.parametrize(
    "other",
    [
        {"app": "billing"},
        {"tenant": "red"},
        {"limits": Limits(document_bytes=10)},
        {"clock": lambda: NOON},
        {"transform": Compressed()},
        {"catalog": "memory://"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_setting_that_an_open_backend_does_not_have_is_refused(backend, use, other):
    with pytest.raises(ConfigurationError, match=f"{next(iter(other))}= cannot change"):
        use(backend, **other)
    assert temporal_state._default._default is None


def test_another_namespace_is_refused(backend):
    with pytest.raises(ConfigurationError, match="namespace= cannot change"):
        configure(backend, namespace="prod")


def test_a_setting_that_it_has_is_none_to_refuse(backend):
    same = {"app": "tests", "tenant": "blue", "limits": LIMITS}
    assert StatePlugin(backend, **same).backend is backend
    configure(backend, **same)
    assert temporal_state._default._default is backend


@pytest.mark.parametrize("url", ["s3://bucket/prefix", "postgresql://user@host/database"])
def test_a_store_takes_as_long_as_an_operation_may(url):
    store = StateBackend.open(url, limits=LIMITS).store
    assert store._timeout in {LIMITS.operation_timeout, 60.0}
