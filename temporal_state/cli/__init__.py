"""The command line ``temporal-state``: what the package can do, for people and for scripts.

People get tables and bars; with ``--json``, scripts get one JSON document, or one a line, in the
shapes of `_models`. Results go to standard output, all else to standard error.
"""

import sys

from temporal_state.errors import ConfigurationError

__all__ = ["main"]


def main() -> None:
    """Run the command line; exits with the code that the outcome has.

    0: done; 1: failed; 2: called wrongly; 3: not found; 4: in conflict with what is there; 5: the
    store or Temporal cannot be reached; 130: interrupted.
    """
    try:
        from temporal_state.cli._app import run  # noqa: PLC0415 typer and rich are an extra
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"typer", "rich"}:
            raise
        missing = ConfigurationError(
            f"the command line needs {error.name}; install it with: "
            "pip install 'temporal-state[cli]'"
        )
        sys.exit(f"temporal-state: {missing}")
    run()
