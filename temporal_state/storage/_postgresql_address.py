"""From a ``postgresql://`` URL to what the driver needs and to what may be shown.

The URL is libpq's own, with one parameter more, ``schema``. What libpq itself marks as secret, in
the authority or after the ``?``, never leaves this module but towards the driver. An ``@`` or ``/``
that was not percent-encoded would make a password look like a host or a database, so it is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from temporal_state.errors import ConfigurationError

_MAX_NAME = 63  # longer ones are cut off by the server, and two could become one
_DEFAULTS = {
    "application_name": "temporal_state",
    "client_encoding": "utf8",
    "connect_timeout": "5",
    "keepalives_idle": "20",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "target_session_attrs": "primary",  # a standby answers with the past
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where the tables are.

    Attributes:
        conninfo: What the driver connects with, secrets included.
        url: The same as a URL without secrets.
        schema: The schema that holds the tables; ``None`` goes by the server's search path.
    """

    conninfo: str = field(repr=False)
    url: str
    schema: str | None


def parse(url: str) -> Address:
    """Return the address that a URL names.

    Raises:
        ConfigurationError: It names none. The message holds nothing of the URL but its form.
    """
    head, _, query = url.partition("?")
    authority, _, database = head.partition("://")[2].partition("/")
    pairs = [pair for pair in query.split("&") if pair]
    if authority.count("@") > 1 or "@" in database + query or "#" in url:
        raise _refusal("in a user name or password write %40 for '@', %2F for '/', %23 for '#'")
    others = [pair for pair in pairs if _name(pair) != "schema"]
    return Address(
        _conninfo(_join(authority, database, others)),
        _shown(authority, database, pairs),
        _schema([unquote(pair.partition("=")[2]) for pair in pairs if _name(pair) == "schema"]),
    )


def _conninfo(uri: str) -> str:
    try:
        found = conninfo_to_dict(uri)
    except psycopg.ProgrammingError:  # its message may quote what is secret
        raise _refusal(
            "libpq cannot read it; check the percent-encoding, and the names of the parameters "
            "after '?': they are those of libpq, and schema"
        ) from None
    given = {name: str(value) for name, value in found.items() if value is not None}
    return make_conninfo("", **(_DEFAULTS | given))


def _shown(authority: str, database: str, pairs: Sequence[str]) -> str:
    userinfo, at, hosts = authority.rpartition("@")
    secret = {option.keyword.decode() for option in _options() if option.dispchar == b"*"}
    user = userinfo.partition(":")[0]
    return _join(
        f"{user}{at}{hosts}" if user else hosts,
        database,
        [pair for pair in pairs if _name(pair) not in secret],
    )


def _options() -> Sequence[pq.misc.ConninfoOption]:
    return pq.Conninfo.get_defaults()


def _schema(found: Sequence[str]) -> str | None:
    if not found:
        return None
    name = found[-1]
    if not 0 < len(name.encode()) <= _MAX_NAME or "\0" in name:
        raise _refusal(f"a schema's name has 1 to {_MAX_NAME} bytes")
    return name


def _join(authority: str, database: str, pairs: Sequence[str]) -> str:
    return f"postgresql://{authority}/{database}" + ("?" + "&".join(pairs) if pairs else "")


def _name(pair: str) -> str:
    return unquote(pair.partition("=")[0])


def _refusal(reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"cannot make a store of this postgresql URL: {reason}; "
        "use postgresql://user@host:port/database?schema=name"
    )
