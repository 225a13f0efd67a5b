"""What all shapes share."""

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """What all shapes share: no field beside those that are named."""

    model_config = ConfigDict(extra="forbid", frozen=True)
