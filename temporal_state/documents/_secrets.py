"""What a credentials document may hold: metadata and references to secrets, never the secrets.

A secret is known by the name of its field, or by its form. Names are split into words (at anything
that is no letter or digit, and before capitals), and folded, so ``apiKey``, ``API-KEY`` and
``api_key`` are one. A name is a secret's if it holds a word for one, unless its last word says that
it only describes it (``token_url``, ``password_policy``): the list of what is harmless is closed,
since a list of what is not can never be complete. What lies below a secret's field carries its
words on, so ``{"password": {"value": ...}}`` is no way around.

A reference is text that tells where a secret lies:

- in a field whose name ends in ``ref``, ``reference``, or ``secret`` and one of ``path``, ``name``,
  ``arn`` and ``uri``: ``password_ref``, ``secret-path``, ``secret_name``;
- anywhere, in one of the forms ``vault://...``, ``secret://...``, ``op://...``,
  ``arn:aws:secretsmanager:...``, ``arn:aws:ssm:...``, ``projects/.../secrets/...``, ``env:NAME``
  and ``${NAME}``. The last may also stand inside a text, as in ``db://app:${PASSWORD}@host``.

Text of any field is refused if it holds a password: in a URL (``scheme://user:password@host``), as
``Password=...;`` of a connection string, in JSON within the text, or as a private key.

Messages name the path of the field, never what is in it.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from temporal_state.documents._json import loads
from temporal_state.documents._types import StateType
from temporal_state.errors import InvalidValueError, SecretRefusedError

REQUIRED = "credential_type"
Words: TypeAlias = tuple[str, ...]

_WITHIN = re.compile(r"password|passwd|passphrase|passcode|secret|apikey|accesskey|privatekey")
_ENDING = re.compile(r".*(?:token|pwd|secret|password|signature|apikey)s?\d*")
_WORDS = {"pass", "pw", "pin", "otp", "totp", "authorization", "cookie", "bearer", "sig", "jwt"}
_KEYS = {
    *("account", "auth", "encryption", "hmac", "master", "oauth", "service", "session", "shared"),
    *("signing", "ssh", "storage", "subscription", "decryption"),
}
_DESCRIBING = {
    *("type", "kind", "format", "url", "endpoint", "host", "audience", "issuer", "scope", "scopes"),
    *("policy", "rotation", "ttl", "expiry", "expires", "expiration", "at", "in", "length", "age"),
    *("file", "path", "header", "manager", "store", "provider", "engine", "version", "field"),
    *("required", "enabled", "auth", "method", "algorithm", "prefix", "source", "mount", "name"),
    *("backend", "region", "namespace", "days", "seconds"),
}
_REFERRING = {"ref", "reference", "refs", "references"}
_PLACE_OF_SECRET = {"path", "name", "arn", "uri"}

_VARIABLE = r"\$\{[A-Za-z_][A-Za-z0-9_.-]*\}"
_VARIABLES = re.compile(_VARIABLE)
_REFERENCE = re.compile(
    r"(?:vault|secret|secrets|op)://[^\s@]+"
    r"|arn:aws[a-z-]*:(?:secretsmanager|ssm):\S+"
    r"|projects/[^/\s]+/secrets/[^/\s]+(?:/versions/[^/\s]+)?"
    r"|env:[A-Za-z_][A-Za-z0-9_]*"
    rf"|{_VARIABLE}"
)
# Each is bounded, so that no text takes more than its length to look through.
_BEFORE_PASSWORD = re.compile(r"://[^/?#:]{0,256}:(?!\d{1,5}[/?#])|:thin:[^/]{1,256}/")
_NAME_OF_PAIR = re.compile(r"[A-Za-z][\w .-]*\s*\Z")
_VALUE_OF_PAIR = re.compile(r"\s*(\"[^\"]+\"|'[^']+'|[^\s;&,\"']+)")
_LONGEST_NAME = 80
_EQUALS = re.compile("=+")
_HINT = re.compile(
    r"pas|pw|secret|token|key|sig|pin|otp|jwt|bearer|cookie|authorization", re.IGNORECASE
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")
_WORDS_OF_PAIR = 3
_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\W_]+")


def check_type_of_state(type: str, state: Mapping[str, Any]) -> None:
    """Refuse the whole state of a document if its type does not allow it.

    Raises:
        SecretRefusedError: It is a credentials document with a raw secret.
        InvalidValueError: It is a credentials document without its type.
    """
    if type != StateType.CREDENTIALS:
        return
    check_no_secrets(state)
    found = state.get(REQUIRED)
    if not isinstance(found, str) or not found.strip():
        raise InvalidValueError(
            f"$.{REQUIRED} of a credentials document is missing or no text; say what kind of "
            "credential it is, such as 'database'"
        )


def check_no_secrets(value: Any) -> None:
    """Refuse a part of a credentials document that holds a raw secret.

    Raises:
        SecretRefusedError: With the field's path and the remedy, never with its value.
    """
    try:
        found = next(_secrets_in(value, "$", ()), None)
    except RecursionError:
        raise InvalidValueError(
            "the document holds JSON within JSON, nested too deep to look for secrets; flatten it"
        ) from None
    if found is not None:
        path, what = found
        raise SecretRefusedError(
            f"{path} {what}; a credentials document holds references only: keep the secret in a "
            "secret manager and store where it lies, as in 'password_ref': 'name-of-the-secret', "
            "'secret-path', 'vault://...' or '${NAME}'"
        )


def words_of_field(above: Words, name: str) -> Words:
    """Return the words that decide about a field, which lies in a field with the words above."""
    carried = above if _is_secret(above) else ()
    return (*carried, *_words(name))


def references_in(text: str, words: Words) -> Sequence[str]:
    """Return the references in a field's text: the text itself, or the variables inside it."""
    if _refers(words) or _REFERENCE.fullmatch(text):
        return [text] if text else []
    return _VARIABLES.findall(text)


def put_in(secrets: Mapping[str, Any], text: str) -> str:
    """Return ``text`` with each variable in it replaced by its secret, as it is."""
    return _VARIABLES.sub(lambda match: str(secrets[match[0]]), text)


def _secrets_in(value: Any, path: str, words: Words) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        yield from _secrets_in_object(value, path, words)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _secrets_in(item, f"{path}[{index}]", words)
    elif isinstance(value, str) and not _is_secret(words):
        yield from ((path, what) for what in _secrets_in_text(value))
    elif isinstance(value, str) and _REFERENCE.fullmatch(value):
        return
    elif value is not None and not isinstance(value, bool) and _is_secret(words):
        yield path, "holds a raw secret"


def _secrets_in_object(
    value: Mapping[str, Any], path: str, words: Words
) -> Iterator[tuple[str, str]]:
    for number, (name, item) in enumerate(value.items(), 1):
        in_name = next(_secrets_in_text(name), None)
        if in_name is not None:  # so the name must not be repeated
            yield f"the name of field {number} of {path}", in_name
        else:
            yield from _secrets_in(item, f"{path}.{name}", words_of_field(words, name))


def _secrets_in_text(text: str) -> Iterator[str]:
    if "@" in text and any(map(_has_password, text.split())):
        yield "holds a URL with a password"
    if _HINT.search(text) and _has_pair(text):
        yield "holds a connection string with a password or key"
    if _PRIVATE_KEY.search(text):
        yield "holds a private key"
    if text.lstrip()[:1] in {"{", "["}:
        yield from (f"holds JSON in which {what}" for what in _secrets_in_json(text))


def _has_password(text: str) -> bool:
    for part in text.split("@")[:-1]:
        for match in _BEFORE_PASSWORD.finditer(part):
            password = part[match.end() :]
            if password and not _VARIABLES.fullmatch(password):
                return True
    return False


def _has_pair(text: str) -> bool:
    known: dict[str, bool] = {}  # a long text repeats itself
    for match in _EQUALS.finditer(text):
        before = text[max(0, match.start() - _LONGEST_NAME) : match.start()]
        name = _NAME_OF_PAIR.search(before)
        if name is None:
            continue
        if name[0] not in known:  # of prose only the last words are a name
            known[name[0]] = _is_secret(_words(name[0])[-_WORDS_OF_PAIR:])
        value = _VALUE_OF_PAIR.match(text, match.start() + 1) if known[name[0]] else None
        if value is not None and not _VARIABLES.fullmatch(value[1].strip("\"'")):
            return True
    return False


def _secrets_in_json(text: str) -> Iterator[str]:
    try:
        value = loads(text.encode())
    except ValueError:
        return
    yield from (f"a field {what}" for _, what in _secrets_in(value, "$", ()))


def _refers(words: Words) -> bool:
    if not words:
        return False
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    return last in _REFERRING or (last in _PLACE_OF_SECRET and before in {"secret", "secrets"})


def _is_secret(words: Words) -> bool:
    if not words or _refers(words) or not _speaks_of_secret(words):
        return False
    if words[-1] == "id":  # an access key's id is public; a secret's id opens a vault
        return words[-2:] == ("secret", "id")
    return words[-1] not in _DESCRIBING


def _speaks_of_secret(words: Words) -> bool:
    return (
        _WITHIN.search("".join(words)) is not None
        or any(word in _WORDS or _ENDING.fullmatch(word) for word in words)
        or any(key in {"key", "keys"} and word in _KEYS for word, key in pairwise(words))
    )


def _words(name: str) -> Words:
    folded = unicodedata.normalize("NFKC", name)
    return tuple(word.casefold() for word in _BOUNDARY.split(folded) if word)
