"""The catalog: all runs of an application by what is asked of them, derived and thrown away."""

from typing import TYPE_CHECKING

from temporal_state._lazy import lazily

if TYPE_CHECKING:
    from temporal_state.runs.catalog._answers import RunPage, Stats, StepStats
    from temporal_state.runs.catalog._catalog import Catalog
    from temporal_state.runs.catalog._feed import Change, Feed
    from temporal_state.runs.catalog._homes import home_of
    from temporal_state.runs.catalog._questions import RunQuestions
    from temporal_state.runs.catalog._seal import Seal
else:
    __getattr__ = lazily(
        __name__,
        {
            "_answers": "RunPage Stats StepStats",
            "_catalog": "Catalog",
            "_feed": "Change Feed",
            "_homes": "home_of",
            "_questions": "RunQuestions",
            "_seal": "Seal",
        },
    )

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
