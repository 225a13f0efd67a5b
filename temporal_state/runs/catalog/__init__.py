"""The catalog: all runs of an application by what is asked of them, derived and thrown away."""

from temporal_state.runs.catalog._answers import RunPage, Stats, StepStats
from temporal_state.runs.catalog._catalog import Catalog
from temporal_state.runs.catalog._feed import Change, Feed
from temporal_state.runs.catalog._homes import home_of
from temporal_state.runs.catalog._questions import RunQuestions
from temporal_state.runs.catalog._seal import Seal

__all__ = [
    "Catalog",
    "Change",
    "Feed",
    "RunPage",
    "RunQuestions",
    "Seal",
    "Stats",
    "StepStats",
    "home_of",
]
