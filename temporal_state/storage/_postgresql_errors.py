"""What the server or the driver reports, as an error of ours that names the remedy.

Never the driver's whole text: its details can hold values. The reasons for which a connection is
refused come without a code, so they are told apart by the server's words; one in a language not
known here stays a `StoreError`.
"""

import re

import psycopg

from temporal_state.errors import (
    ConfigurationError,
    StateError,
    StoreError,
    StoreFullError,
    StorePermissionError,
    StoreTimeoutError,
)

# Connection lost, server going down or coming up, too many connections, serialization, deadlock,
# a lock not got in time, a row made by another since we looked, a session that idled too long.
_TRANSIENT = re.compile(r"08...|57P0[1235]|53300|40001|40P01|55P03|23505|25P03")

_REFUSED = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|permission denied|"
    r'role ".*" does not exist|is not permitted to log in',
    re.IGNORECASE,
)
_MISSING = re.compile(r'database ".*" does not exist', re.IGNORECASE)


def is_transient(error: psycopg.Error) -> bool:
    """Tell whether another try can help."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return _TRANSIENT.fullmatch(error.sqlstate) is not None


def on_connecting(error: psycopg.Error, url: str) -> StateError | None:
    """Return the error for a connection that no other try will get; ``None`` if one may."""
    reason = _reason(error)
    if _REFUSED.search(reason):
        return StorePermissionError(
            f"cannot connect to {url}: {reason}; check user, password (in the URL, PGPASSWORD or "
            "~/.pgpass) and the server's pg_hba.conf"
        )
    if _MISSING.search(reason):
        return ConfigurationError(
            f"cannot connect to {url}: {reason}; name another after the host, or CREATE DATABASE"
        )
    return None


def on_statement(error: psycopg.Error, what: str, url: str) -> StateError:
    """Return the error for an action that failed."""
    about = f"cannot {what} in {url}: {_reason(error)}"
    match error.sqlstate:
        case "42501" | "25006":
            return StorePermissionError(f"{about}; GRANT the user what it needs, or use another")
        case "53100":
            return StoreFullError(f"{about}; make room on the server's disk")
        case "57014" | "55P03":
            return StoreTimeoutError(f"{about}; whether a change was made is unknown: read again")
        case "42P01" | "3F000":
            return StoreError(f"{about}; was the table dropped? Open the store again")
        case None:
            return StoreError(f"{about}; see that the server runs and can be reached from here")
    return StoreError(f"{about} (SQLSTATE {error.sqlstate})")


def _reason(error: psycopg.Error) -> str:
    return error.diag.message_primary or "; ".join(str(error).split("\n"))
