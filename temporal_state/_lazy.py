"""Names of a package that are imported when they are asked for, so that each use pays for itself.

A package that exports much lists in one table which module has which names, beside the imports
that type checkers see. Modules inside the package import each other as ever. It is the ``import``
statement's own function that imports, since the workflow sandbox decides there what passes.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any


def lazily(
    package: str,
    names_of: Mapping[str, str],
    within: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package.

    Args:
        package: Its name.
        names_of: Names, separated by spaces, by the module in the package that has them; a module
            may have its own name.
        within: Holds while a module is imported.
    """
    homes = {name: module for module, names in names_of.items() for name in names.split()}

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with within():
            module = __import__(f"{package}.{homes[name]}", fromlist=[name])
        return module if name == homes[name] else getattr(module, name)

    return find
