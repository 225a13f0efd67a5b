"""What holds for every command: which store, which Temporal, and how to answer."""

from dataclasses import dataclass

DEFAULT_ADDRESS = "localhost:7233"
DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options that every command has.

    Attributes:
        store: The store's URL or path; ``None``: where the package looks by itself.
        app: The application; ``None``: the package's default.
        tenant: One tenant of it.
        namespace: Temporal's namespace; ``None``: the profile's or the default.
        address: Temporal's address; ``None``: the environment, the profile or the default.
        transform: Where to find the transforms of the store, as ``module:name``.
        catalog: Where the index of runs lies; ``None``: the default.
        json: Whether to answer scripts.
        yes: Whether all questions are answered.
        color: Whether colours may be used.
        debug: Whether errors come with their traceback.
    """

    store: str | None
    app: str | None
    tenant: str | None
    namespace: str | None
    address: str | None
    transform: str | None
    catalog: str | None
    json: bool
    yes: bool
    color: bool
    debug: bool
