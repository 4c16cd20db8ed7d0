"""The mean validation loss of several runs, with its confidence interval."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from charnn.files import JsonObject

T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""97.5 % quantiles of Student's t distribution with 1, 2, ... degrees of freedom."""
Z_975 = 1.959964


@dataclass(frozen=True)
class SweepResult:
    """The runs of one setting.

    Args:
        setting: the values of the options that vary, by name.
        losses_nats: best validation loss of each seed's run, in nats per token.
        num_parameters: parameters of the network.
        seconds: mean duration of a run.
        cpus: cores that each run had.

    Example:
        >>> result = charnn.api.SweepResult({"hidden_size": 8}, (2.0, 2.2), 1000, 3.0, 1)
        >>> round(result.mean_nats, 6), tuple(round(bound, 3) for bound in result.interval_nats)
        (2.1, (0.829, 3.371))
    """

    setting: Mapping[str, object]
    losses_nats: tuple[float, ...]
    num_parameters: int
    seconds: float
    cpus: int

    @property
    def mean_nats(self) -> float:
        """The mean of the losses."""
        return statistics.fmean(self.losses_nats)

    @property
    def interval_nats(self) -> tuple[float, float] | None:
        """The 95 % confidence interval of the mean over seeds, by Student's t distribution; None for a single seed."""
        number = len(self.losses_nats)
        if number < 2:
            return None
        quantile = T_975[number - 2] if number - 1 <= len(T_975) else _t_975(number - 1)
        margin = quantile * statistics.stdev(self.losses_nats) / math.sqrt(number)
        return self.mean_nats - margin, self.mean_nats + margin

    def to_dict(self) -> JsonObject:
        """Return the setting and the figures as JSON values."""
        low, high = self.interval_nats or (None, None)
        return {
            **self.setting,
            "seeds": len(self.losses_nats),
            "valid_loss_nats": self.mean_nats,
            "low": low,
            "high": high,
            "num_parameters": self.num_parameters,
            "seconds": self.seconds,
            "cpus": self.cpus,
        }


def _t_975(degrees: int) -> float:
    """Return the quantile for many degrees of freedom (Abramowitz and Stegun 1964, 26.7.5)."""
    z = Z_975
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
