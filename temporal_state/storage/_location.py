"""Where in which object storage, read from a URL that never holds a secret.

Credentials come from the environment, where the client of each service looks for them anyway. So
whatever in a URL could be one is refused, and the URL can be logged as it is.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

from temporal_state.errors import ConfigurationError

_OPTIONS = {
    "s3": {"endpoint", "region", "virtual_hosted_style_request", "skip_signature"},
    "gs": set[str](),
    "az": {"endpoint", "account_name"},
}
SCHEMES = frozenset(_OPTIONS)

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SEGMENT = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9_.!=~-]+"
_PREFIX = re.compile(rf"(?:{_SEGMENT}(?:/{_SEGMENT})*)?")


@dataclass(frozen=True)
class Location:
    """A folder of a bucket or container.

    Attributes:
        scheme: ``s3``, ``gs`` or ``az``.
        bucket: The bucket or container.
        prefix: What every key starts with, without slashes around it; may be empty.
        options: Settings of the client that are no secrets.
    """

    scheme: str
    bucket: str
    prefix: str = ""
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str) -> "Location":
        """Return the location that a URL names.

        Raises:
            ConfigurationError: It names none. The message has nothing that could be a secret.
        """
        try:
            parts = urlsplit(url)
            options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
        except ValueError:
            options = {"": ""}
            parts = urlsplit("")
        scheme, prefix = parts.scheme.lower(), parts.path.strip("/")
        if (
            not options.keys() <= _OPTIONS.get(scheme, set())
            or any(re.search(r"[@?#\s]", value) for value in options.values())
            or parts.fragment
            or not _BUCKET.fullmatch(parts.netloc)
            or not _PREFIX.fullmatch(prefix)
        ):
            raise _refusal(url)
        return cls(scheme, parts.netloc, prefix, options)

    def __str__(self) -> str:
        query = f"?{urlencode(self.options, safe=':/')}" if self.options else ""
        return f"{self.scheme}://{self.bucket}{'/' * bool(self.prefix)}{self.prefix}{query}"


def _refusal(url: str) -> ConfigurationError:
    scheme = url.partition(":")[0].lower()
    options = ", ".join(sorted(_OPTIONS.get(scheme, ()))) or "nothing"
    return ConfigurationError(
        f"cannot open this {scheme}:// URL: it must be {scheme}://bucket/prefix of letters, digits "
        f"and . _ - ! = ~ (no '.' or '..' as a segment); after '?' it may set {options}. "
        "Credentials belong in the environment"
    )
