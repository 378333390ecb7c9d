"""What a run is to be."""

from dataclasses import dataclass
from typing import Final

LEGS: Final = ("cut", "restarted", "promoted", "fenced", "asynchronous")


@dataclass(frozen=True)
class Plan:
    """``seconds`` are those of calm before and after what befalls, in each leg."""

    seed: int
    seconds: float = 10
    callers: int = 8
    legs: tuple[str, ...] = LEGS
