import math

import pytest

from charnn.config import TrainingOptions
from charnn.training.optim.averaging import is_triggered
from charnn.training.optim.schedule import FINAL_RATE, Schedule, teacher_forcing_probability_at


def factors(*places, **options):
    schedule = Schedule.of(TrainingOptions(**options))
    return [schedule.rate_factor(place) for place in places]


def test_the_rate_rises_and_falls_in_straight_lines():
    assert factors(0.0, 0.05, 0.1, 0.55, 1.0, warmup=0.1) == pytest.approx(
        [FINAL_RATE, 0.5, 1.0, (1 + FINAL_RATE) / 2, FINAL_RATE]
    )
    assert factors(0.0, warmup=0.0) == [1.0]


def test_a_cosine_is_halfway_down_in_the_middle_and_flat_at_its_ends():
    high, middle, low = factors(0.1, 0.55, 1.0, schedule="cosine", warmup=0.1, final_rate=0.2)
    assert [high, middle, low] == pytest.approx([1.0, 0.6, 0.2])
    assert factors(0.11, schedule="cosine", warmup=0.1)[0] > factors(0.11, schedule="linear", warmup=0.1)[0]


def test_an_exponential_fall_loses_the_same_factor_each_time():
    # Zaremba's small model: 4 of 13 epochs at the full rate, then halved in each of the 9 others.
    epochs = [factors(epoch / 13, schedule="exponential", hold=4 / 13, final_rate=0.5**9)[0] for epoch in range(4, 14)]
    assert epochs == pytest.approx([0.5**number for number in range(10)])


def test_a_fall_waits_until_it_is_told():
    assert factors(0.3, 0.6, 0.8, 1.0, hold=0.6, final_rate=0.5) == pytest.approx([1.0, 1.0, 0.75, 0.5])


def test_one_cycle_rises_from_a_twenty_fifth_and_falls_to_almost_nothing():
    assert factors(0.0, 0.15, 0.3, 0.65, 1.0, schedule="one-cycle") == pytest.approx(
        [1 / 25, (1 + 1 / 25) / 2, 1.0, (1 + 1e-4) / 2, 1e-4]
    )
    momenta = [Schedule.of(TrainingOptions(schedule="one-cycle")).momentum(place) for place in (0.0, 0.3, 1.0)]
    assert momenta == pytest.approx([0.95, 0.85, 0.95])
    assert Schedule().momentum(0.3) is None


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_a_rate_that_does_not_fall_of_itself_stays(name):
    assert factors(0.02, 0.5, 1.0, schedule=name) == [1.0, 1.0, 1.0]


def test_nt_asgd_keeps_its_rate_unless_it_is_told_otherwise():
    assert Schedule.of(TrainingOptions(optimizer="nt-asgd")).name == "constant"
    assert Schedule.of(TrainingOptions(optimizer="nt-asgd", schedule="cosine")).name == "cosine"


def test_averaging_begins_when_a_loss_is_above_the_best_of_all_but_the_last_five():
    # The best, 3.0, stands at place 3; from place 9 on it is more than five evaluations back.
    losses = [5.0, 4.0, 3.5, 3.0, 3.4, 3.3, 3.2, 3.1, 3.05, 3.02, 3.01]
    assert [is_triggered(losses[: number + 1]) for number in range(len(losses))] == [False] * 9 + [True, True]
    assert not is_triggered([*losses[:9], 2.9])
    assert not is_triggered([3.0, 4.0, 4.0, 4.0, 4.0, 4.0])
    assert is_triggered([3.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0])
    assert not is_triggered([])


@pytest.mark.parametrize("descent", ["linear", "exponential", "inverse-sigmoid"])
def test_the_share_of_true_inputs_falls_from_one_to_the_last(descent):
    shares = [teacher_forcing_probability_at(place / 10, last=0.25, descent=descent) for place in range(11)]
    assert shares[0] == pytest.approx(1.0)
    assert shares[-1] == pytest.approx(0.25)
    assert shares == sorted(shares, reverse=True)
    assert teacher_forcing_probability_at(0.7, last=1.0, descent=descent) == 1.0


def test_the_descents_have_the_shapes_that_they_are_named_after():
    assert teacher_forcing_probability_at(0.5, last=0.5, descent="linear") == 0.75
    assert teacher_forcing_probability_at(0.5, last=0.25, descent="exponential") == 0.5
    assert teacher_forcing_probability_at(0.5, last=0.0, descent="inverse-sigmoid") == pytest.approx(0.5)
    slow = teacher_forcing_probability_at(0.1, last=0.0, descent="inverse-sigmoid")
    assert slow == pytest.approx((1 / (1 + math.exp(-4)) - 1 / (1 + math.exp(5))) / math.tanh(2.5))
