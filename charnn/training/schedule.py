"""Budget and learning rate, both functions of progress from 0 to 1."""

from dataclasses import dataclass

FINAL_RATE = 0.01


@dataclass(frozen=True)
class Budget:
    """What training may spend: steps, seconds, or whichever is used up first."""

    steps: int | None
    seconds: float | None

    def progress(self, steps: int, seconds: float) -> float:
        """Return the larger of the two shares that are spent, at most 1."""
        shares = [0.0]
        if self.steps is not None:
            shares.append(steps / self.steps)
        if self.seconds is not None:
            shares.append(seconds / self.seconds if self.seconds > 0 else 1.0)
        return min(1.0, max(shares))


def rate_factor(progress: float, *, warmup: float) -> float:
    """Return the share of the peak learning rate: a straight rise over `warmup`, then a straight fall to `FINAL_RATE`.

    Source: Defazio et al. (2023) for the fall, which beats a cosine here too.
    """
    if progress < warmup:
        return max(progress / warmup, FINAL_RATE)
    return FINAL_RATE + (1 - FINAL_RATE) * (1 - progress) / (1 - warmup)
