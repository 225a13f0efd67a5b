"""Credentials: documents that say how to reach a system, and where its secrets lie.

The rule about what they may hold is kept by the engine for whoever writes one; see `_secrets`.
Here is what belongs to them besides: to put the secrets in, for the length of one use.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, KeysView, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from temporal_state.documents._engine import Caller
from temporal_state.documents._pages import Page
from temporal_state.documents._secrets import Words, put_in, references_in, words_of_field
from temporal_state.documents._types import StateType
from temporal_state.errors import ContextError, NotFoundError, SecretUnavailableError

if TYPE_CHECKING:
    from temporal_state.documents._documents import Documents

Secrets: TypeAlias = Callable[[str], Any | Awaitable[Any]]
"""From a reference to its secret: text, or any JSON value where the reference is all the text."""

_TYPE = StateType.CREDENTIALS


class ResolvedCredential:
    """A credentials document with its secrets in place of the references, for use at once.

    It shows itself without its values, and can be neither stored, sent through Temporal nor
    pickled. What is taken out of it is plain.
    """

    __slots__ = ("__value", "id")
    __iter__ = None  # else it could be listed, and so be converted to JSON, in silence

    def __init__(self, id: str, value: Mapping[str, Any]) -> None:
        self.id = id
        self.__value = dict(value)

    def __repr__(self) -> str:
        return f"<ResolvedCredential {self.id!r} with {len(self.__value)} fields, hidden>"

    def __getitem__(self, field: str) -> Any:
        return self.__value[field]

    def __contains__(self, field: object) -> bool:
        return field in self.__value

    def __len__(self) -> int:
        return len(self.__value)

    def __reduce__(self) -> Any:
        raise TypeError(
            "a ResolvedCredential holds secrets, so it cannot be pickled; resolve it where it is "
            "used"
        )

    def get(self, field: str, default: Any = None) -> Any:
        """Return a field's value, else ``default``."""
        return self.__value.get(field, default)

    def keys(self) -> KeysView[str]:
        """Return the names of the fields."""
        return self.__value.keys()

    def reveal(self) -> dict[str, Any]:
        """Return all fields and values as a plain dict, which hides nothing any more."""
        return deepcopy(self.__value)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials documents of one application (and tenant)."""

    documents: "Documents"

    def on_behalf_of(self, caller: Caller) -> "Credentials":
        """Return the same credentials for another caller."""
        return replace(self, documents=self.documents.on_behalf_of(caller))

    async def save(self, id: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Make ``config`` the whole document, and return it.

        Raises:
            SecretRefusedError: It holds a raw secret; names the field, not its value.
            InvalidValueError: It has no ``credential_type``, or something that JSON cannot hold.
        """
        return await self.documents.replace(id, config, _TYPE)

    async def get(self, id: str) -> dict[str, Any]:
        """Return the document, with references as they are; ``{}`` when there is none."""
        return await self.documents.get(id, _TYPE)

    async def delete(self, id: str) -> bool:
        """Delete the document; return whether there was one."""
        return await self.documents.delete(id, _TYPE)

    async def list(self, prefix: str = "", *, limit: int = 100, cursor: str | None = None) -> Page:
        """Return the ids that start with ``prefix``, a page at a time; see `Documents.list`."""
        return await self.documents.list(_TYPE, prefix, limit=limit, cursor=cursor)

    async def resolve(self, id: str, *, secrets: Secrets) -> ResolvedCredential:
        """Return the document with each reference replaced by its secret.

        Fields keep their names. What comes back is nowhere kept; resolve again for each use.

        Args:
            id: The document's id.
            secrets: Returns the secret of a reference; may be async. It is asked once for each
                reference. Inside of a longer text a secret replaces ``${NAME}`` as it is.

        Raises:
            NotFoundError: There is no such document.
            SecretUnavailableError: ``secrets`` raised or returned ``None``; names the field and
                the kind of error, without its text, which might tell the secret.
            ContextError: Called in workflow code, whose every value is kept in the history.
        """
        if type(asyncio.get_running_loop()).__module__.startswith("temporalio."):
            refuse_in_workflow()
        return await resolve_config(id, await self.get(id), secrets)


def refuse_in_workflow() -> NoReturn:
    """Raise the `ContextError` for workflow code that wants to resolve a credential."""
    raise ContextError(
        "workflow code must not see secrets, since what it holds can end up in its history; "
        "resolve the credential in the activity that uses it"
    )


async def resolve_config(
    id: str, config: Mapping[str, Any], secrets: Secrets
) -> ResolvedCredential:
    """Return the state of a credentials document with its secrets; see `Credentials.resolve`."""
    if not config:
        raise NotFoundError(
            f"there is no document {_TYPE.value}/{id}, so nothing to resolve; save it first"
        )
    return ResolvedCredential(id, await _Resolver(id, secrets, {}).resolved(config, "$", ()))


@dataclass(frozen=True, slots=True)
class _Resolver:
    id: str
    secrets: Secrets
    known: dict[str, Any]

    async def resolved(self, value: Any, path: str, words: Words) -> Any:
        if isinstance(value, dict):
            return {
                name: await self.resolved(item, f"{path}.{name}", words_of_field(words, name))
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [
                await self.resolved(item, f"{path}[{index}]", words)
                for index, item in enumerate(value)
            ]
        return await self._text(value, path, words) if isinstance(value, str) else value

    async def _text(self, text: str, path: str, words: Words) -> Any:
        found = references_in(text, words)
        secrets = {reference: await self._secret(reference, path) for reference in found}
        return secrets[text] if text in secrets else put_in(secrets, text)

    async def _secret(self, reference: str, path: str) -> Any:
        if reference not in self.known:
            self.known[reference] = await self._ask(reference, path)
        return self.known[reference]

    async def _ask(self, reference: str, path: str) -> Any:
        what = "returned None"
        try:
            secret = self.secrets(reference)
            if inspect.isawaitable(secret):
                secret = await secret
        except Exception as error:  # noqa: BLE001 its text, and what it holds, may be the secret
            secret, what = None, f"raised {type(error).__name__}"
        if secret is None:
            raise SecretUnavailableError(
                f"the secret of {path} of credentials/{self.id} is not available: the function "
                f"given as secrets= {what}; see to its access, then try again"
            )
        return secret
