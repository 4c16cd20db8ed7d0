"""Write `temperatures.csv`: the daily mean temperature of an invented harbour, 1 January 1981 to 31 December 2022.

Run it as `python corpora/make_temperatures.py`; its output is the same each time. A temperature, in degrees Celsius, is the sum
of

- the season: a yearly wave of 8.5 degrees around a mean of 9.2, coldest on 20 January, with a second, half-yearly wave of 0.8;
- the weather: a first-order autoregressive process that switches between three regimes: `settled` (it stays for 12 days on
  average and forgets slowly), `changeable` (8 days), and `stormy` (4 days, in winter more often, and it forgets fast);
- noise of the thermometer, with a standard deviation of 0.3;

rounded to one decimal. Six anomalies are planted; three are in the last tenth, which `charnn train` holds out:

| dates | what |
| --- | --- |
| 2005-07-11 to 2005-07-15 | a heat wave, 8 degrees above the weather |
| 2009-10-03 | the sensor reads 0.0 |
| 2014-02-18 to 2014-02-21 | the sensor is stuck at 12.7 |
| 2021-03-09 | the sensor reads 24.6, in a cold week |
| 2021-12-14 to 2021-12-18 | a warm spell, 9 degrees above the weather |
| 2022-07-26 | the sensor reads -3.1, in summer |

Nine days of 2011 have no value: the station was moved.
"""

import datetime
import math
import random
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
FIRST, LAST = datetime.date(1981, 1, 1), datetime.date(2022, 12, 31)
DAYS_A_YEAR = 365.2425
COLDEST_DAY = 20
MEAN, YEARLY, HALF_YEARLY = 9.2, 8.5, 0.8
NOISE = 0.3
MISSING = (datetime.date(2011, 5, 2), 9)


class Regime(NamedTuple):
    """A kind of weather: its mean length in days, how much of yesterday's weather stays, and the size of a day's change."""

    days: float
    memory: float
    change: float
    mean: float


REGIMES = {
    "settled": Regime(12, 0.9, 0.9, 0.7),
    "changeable": Regime(8, 0.75, 1.7, 0.0),
    "stormy": Regime(4, 0.5, 2.6, -1.2),
}


class Anomaly(NamedTuple):
    """Days on which a value is set, or moved."""

    first: datetime.date
    days: int
    value: float | None = None
    shift: float = 0.0


ANOMALIES = (
    Anomaly(datetime.date(2005, 7, 11), 5, shift=8.0),
    Anomaly(datetime.date(2009, 10, 3), 1, value=0.0),
    Anomaly(datetime.date(2014, 2, 18), 4, value=12.7),
    Anomaly(datetime.date(2021, 3, 9), 1, value=24.6),
    Anomaly(datetime.date(2021, 12, 14), 5, shift=9.0),
    Anomaly(datetime.date(2022, 7, 26), 1, value=-3.1),
)


def season(day: datetime.date) -> float:
    """Return the mean temperature of a day of the year."""
    angle = 2 * math.pi * (day.timetuple().tm_yday - COLDEST_DAY) / DAYS_A_YEAR
    return MEAN - YEARLY * math.cos(angle) + HALF_YEARLY * math.cos(2 * angle)


def next_regime(random_: random.Random, current: str, day: datetime.date) -> str:
    """Return the regime of the next day."""
    if random_.random() > 1 / REGIMES[current].days:
        return current
    winter = (1 + math.cos(2 * math.pi * (day.timetuple().tm_yday - COLDEST_DAY) / DAYS_A_YEAR)) / 2
    weights = {"settled": 1.2 - 0.6 * winter, "changeable": 1.0, "stormy": 0.2 + 0.8 * winter}
    others = [name for name in REGIMES if name != current]
    return random_.choices(others, [weights[name] for name in others])[0]


def observed(day: datetime.date, value: float) -> float:
    """Return what the thermometer shows, which is an anomaly on some days."""
    for anomaly in ANOMALIES:
        if anomaly.first <= day < anomaly.first + datetime.timedelta(anomaly.days):
            return value + anomaly.shift if anomaly.value is None else anomaly.value
    return value


def rows(seed: int = 1981) -> list[tuple[str, str]]:
    """Return the date and the temperature of each day, empty where it is missing."""
    random_ = random.Random(seed)
    regime, weather = "changeable", 0.0
    found = []
    for number in range((LAST - FIRST).days + 1):
        day = FIRST + datetime.timedelta(number)
        regime = next_regime(random_, regime, day)
        kind = REGIMES[regime]
        weather = kind.mean + kind.memory * (weather - kind.mean) + random_.gauss(0, kind.change)
        value = round(observed(day, season(day) + weather + random_.gauss(0, NOISE)), 1) + 0.0
        is_missing = MISSING[0] <= day < MISSING[0] + datetime.timedelta(MISSING[1])
        found.append((day.isoformat(), "" if is_missing else f"{value:.1f}"))
    return found


def main() -> None:
    """Write the table."""
    lines = ["date,temperature", *(f"{date},{temperature}" for date, temperature in rows())]
    (HERE / "temperatures.csv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
