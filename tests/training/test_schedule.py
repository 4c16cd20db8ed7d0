import math

import pytest

from charnn.config import TrainingOptions
from charnn.training.optim.averaging import is_triggered
from charnn.training.optim.schedule import FINAL_RATE, Schedule, teacher_forcing_probability_at


def factors(*places, **options):
    schedule = Schedule.of(TrainingOptions(**options))
    return [schedule.rate_factor(tenth) for tenth in places]


def test_the_linear_schedule_rises_and_falls_linearly():
    assert factors(0.0, 0.05, 0.1, 0.55, 1.0, warmup=0.1) == pytest.approx(
        [FINAL_RATE, 0.5, 1.0, (1 + FINAL_RATE) / 2, FINAL_RATE]
    )
    assert factors(0.0, warmup=0.0) == [1.0]


def test_the_cosine_schedule_is_halfway_in_the_middle_and_flat_at_the_ends():
    high, middle, low = factors(0.1, 0.55, 1.0, schedule="cosine", warmup=0.1, final_rate=0.2)
    assert [high, middle, low] == pytest.approx([1.0, 0.6, 0.2])
    assert factors(0.11, schedule="cosine", warmup=0.1)[0] > factors(0.11, schedule="linear", warmup=0.1)[0]


def test_the_exponential_schedule_falls_by_a_constant_factor():
    # Zaremba's small model: 4 of 13 epochs at the full rate, then halved in each of the 9 others.
    epochs = [factors(epoch / 13, schedule="exponential", hold=4 / 13, final_rate=0.5**9)[0] for epoch in range(4, 14)]
    assert epochs == pytest.approx([0.5**number for number in range(10)])


def test_the_fall_starts_after_hold():
    assert factors(0.3, 0.6, 0.8, 1.0, hold=0.6, final_rate=0.5) == pytest.approx([1.0, 1.0, 0.75, 0.5])


def test_one_cycle_rises_from_a_twenty_fifth_and_falls_to_its_final_rate():
    assert factors(0.0, 0.15, 0.3, 0.65, 1.0, schedule="one-cycle") == pytest.approx(
        [1 / 25, (1 + 1 / 25) / 2, 1.0, (1 + 1e-4) / 2, 1e-4]
    )
    momenta = [Schedule.of(TrainingOptions(schedule="one-cycle")).momentum(tenth) for tenth in (0.0, 0.3, 1.0)]
    assert momenta == pytest.approx([0.95, 0.85, 0.95])
    assert Schedule().momentum(0.3) is None


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_the_constant_and_plateau_schedules_do_not_fall(name):
    assert factors(0.02, 0.5, 1.0, schedule=name) == [1.0, 1.0, 1.0]


def test_the_default_schedule_of_nt_asgd_is_constant():
    assert Schedule.of(TrainingOptions(optimizer="nt-asgd")).name == "constant"
    assert Schedule.of(TrainingOptions(optimizer="nt-asgd", schedule="cosine")).name == "cosine"


def test_averaging_is_triggered_by_a_loss_above_the_best_of_all_but_the_last_five():
    # The best, 3.0, is at index 3; from index 9 on it is more than five evaluations back.
    losses = [5.0, 4.0, 3.5, 3.0, 3.4, 3.3, 3.2, 3.1, 3.05, 3.02, 3.01]
    assert [is_triggered(losses[: number + 1]) for number in range(len(losses))] == [False] * 9 + [True, True]
    assert not is_triggered([*losses[:9], 2.9])
    assert not is_triggered([3.0, 4.0, 4.0, 4.0, 4.0, 4.0])
    assert is_triggered([3.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0])
    assert not is_triggered([])


@pytest.mark.parametrize("descent", ["linear", "exponential", "inverse-sigmoid"])
def test_the_teacher_forcing_probability_falls_from_one_to_its_final_value(descent):
    probabilities = [teacher_forcing_probability_at(tenth / 10, final=0.25, descent=descent) for tenth in range(11)]
    assert probabilities[0] == pytest.approx(1.0)
    assert probabilities[-1] == pytest.approx(0.25)
    assert probabilities == sorted(probabilities, reverse=True)
    assert teacher_forcing_probability_at(0.7, final=1.0, descent=descent) == 1.0


def test_each_descent_has_its_shape():
    assert teacher_forcing_probability_at(0.5, final=0.5, descent="linear") == 0.75
    assert teacher_forcing_probability_at(0.5, final=0.25, descent="exponential") == 0.5
    assert teacher_forcing_probability_at(0.5, final=0.0, descent="inverse-sigmoid") == pytest.approx(0.5)
    slow = teacher_forcing_probability_at(0.1, final=0.0, descent="inverse-sigmoid")
    assert slow == pytest.approx((1 / (1 + math.exp(-4)) - 1 / (1 + math.exp(5))) / math.tanh(2.5))
