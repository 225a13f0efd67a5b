"""Where documents lie: the one place that knows the layout of the store.

persistent-artifacts/apps/{app}/{type}/{id}/config.json
persistent-artifacts/apps/{app}/keys/{name}/config.json
persistent-artifacts/apps/{app}/runs/{namespace}/...
persistent-artifacts/apps/{app}/tx/{transaction}.json
persistent-artifacts/apps/{app}/tenants/{tenant}/...       the same again for each tenant
"""

from dataclasses import dataclass
from functools import lru_cache

from temporal_state.documents._ids import check_id
from temporal_state.documents._types import StateType, check_type
from temporal_state.storage import KEPT_OF_LONG, decode_name, encode_name, encode_prefix

APPS = "persistent-artifacts/apps"
FILE = "config.json"


@dataclass(frozen=True, slots=True)
class Address:
    """One document: what it is called, and the key of its object."""

    type: str
    id: str
    key: str

    def __str__(self) -> str:
        return f"{self.type}/{self.id}"


@dataclass(frozen=True, slots=True)
class Folder:
    """Documents that lie side by side, found by their ids.

    Attributes:
        base: What all keys of the application (or tenant) start with.
        type: The folder's name, and the type of what is in it.
    """

    base: str
    type: str

    def address(self, id: str) -> Address:
        """Return the address of a document; refuse ids as the API promises."""
        return Address(self.type, id, self.key_of(encode_name(check_id(id))))

    def prefix(self, id_prefix: str = "") -> str:
        """Return a prefix of the keys of all documents whose id starts so.

        Ids that are too long to be kept in their key may be found besides; see `id_of`.
        """
        return f"{self.base}/{self.type}/{encode_prefix(id_prefix)[:KEPT_OF_LONG]}"

    def segment_of(self, key: str) -> str | None:
        """Return the encoded id in a document's key; ``None`` for another object's key."""
        segment, _, file = key.removeprefix(f"{self.base}/{self.type}/").partition("/")
        return segment if file == FILE else None

    def id_of(self, segment: str) -> str | None:
        """Return the id of an encoded id; ``None`` if only the object itself has it."""
        return decode_name(segment)

    def key_of(self, segment: str) -> str:
        """Return the key of the document with an encoded id."""
        return f"{self.base}/{self.type}/{segment}/{FILE}"


@dataclass(frozen=True, slots=True)
class Layout:
    """The part of a store that belongs to one application, or to one tenant of it."""

    app: str
    tenant: str | None = None

    def __post_init__(self) -> None:
        check_id(self.app, "app")
        if self.tenant is not None:
            check_id(self.tenant, "tenant")

    @property
    def base(self) -> str:
        """The prefix of all keys, without a ``/`` at its end."""
        base = f"{APPS}/{encode_name(self.app)}"
        return base if self.tenant is None else f"{base}/tenants/{encode_name(self.tenant)}"

    def document(self, id: str, type: str) -> Address:
        """Return the address of a document; refuse ids and types as the API promises."""
        # A text of another class may say that it equals what it does not.
        plain = id.__class__ is str and type.__class__ in {str, StateType}
        return _document(self, id, type) if plain else self.folder(type).address(id)

    def folder(self, type: str) -> "Folder":
        """Return the folder of the documents of a type; refuse types as the API promises."""
        return Folder(self.base, check_type(type))

    @property
    def keys(self) -> "Folder":
        """The folder of the keys, which no type of documents can name."""
        return Folder(self.base, "keys")

    def own_document(self, namespace: str, workflow_id: str, chain: str) -> Address:
        """Return the address of the own document of a chain of runs.

        Never refuses: Temporal decides what may be a workflow id.
        """
        id = f"{namespace}/{workflow_id}/{chain}"
        key = f"{self._own(namespace, workflow_id)}/{encode_name(chain)}/{FILE}"
        return Address("runs", id, key)

    def chains(self, namespace: str, workflow_id: str) -> Address:
        """Return the address of the list of a workflow id's chains that have a document."""
        key = f"{self._own(namespace, workflow_id)}/chains.json"
        return Address("runs", f"{namespace}/{workflow_id}", key)

    def loop(self, namespace: str, workflow_id: str, chain: str, call: str, name: str) -> Address:
        """Return the address of the position of a loop, beside its chain's own document."""
        id = f"{namespace}/{workflow_id}/{chain}/{call}/{name}"
        folder = self.loops(namespace, workflow_id, chain)
        return Address("runs", id, f"{folder}{encode_name(call)}/{encode_name(name)}.json")

    def loops(self, namespace: str, workflow_id: str, chain: str) -> str:
        """Return the prefix of the positions of all loops beside a chain's own document."""
        return f"{self._own(namespace, workflow_id)}/{encode_name(chain)}/loops/"

    def users(self, namespace: str, workflow_id: str, chain: str) -> str:
        """Return the prefix of what names the runs that go on with a chain's own document."""
        return f"{self._own(namespace, workflow_id)}/{encode_name(chain)}/users/"

    def _own(self, namespace: str, workflow_id: str) -> str:
        return f"{self.base}/runs/{encode_name(namespace)}/own/{encode_name(workflow_id)}"

    def transaction(self, name: str) -> str:
        """Return the key of the record of a transaction; with no name, their prefix."""
        return f"{self.base}/tx/{encode_name(name)}.json" if name else f"{self.base}/tx/"


@lru_cache(maxsize=1024, typed=True)
def _document(layout: Layout, id: str, type: str) -> Address:
    # To check and encode names takes as long as to parse a small document.
    return layout.folder(type).address(id)


def record_beside(key: str, name: str) -> str:
    """Return the key of the record of a transaction that holds the document at ``key``.

    A transaction never leaves its application and tenant, so a mark cannot point elsewhere.
    """
    parts = key.split("/")
    base = parts[: 5 if parts[3] == "tenants" else 3]
    return f"{'/'.join(base)}/tx/{encode_name(name)}.json"
