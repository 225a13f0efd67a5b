"""Runs: what is kept of each workflow run, with or without Temporal at hand."""

from temporal_state.runs._own import ChainRef, OwnDocument, OwnDocuments

__all__ = ["ChainRef", "OwnDocument", "OwnDocuments"]
