import itertools
import math

import pytest

from charnn.cli.output.plots import curve
from charnn.errors import TrainingError
from charnn.training.planning.lr_range_test import ADAPTIVE_MARGIN, Trial, proposal, range_test
from tests.training.test_training import trainer


def test_learning_rates_increase_by_a_factor_until_the_loss_diverges():
    trials = list(range_test(trainer(dropout=0.0)))
    factors = [later.rate / earlier.rate for earlier, later in itertools.pairwise(trials)]
    assert factors == pytest.approx([factors[0]] * len(factors))
    assert factors[0] > 1
    assert min(trial.smoothed_nats for trial in trials) < trials[0].smoothed_nats - 0.3
    assert 1e-4 < proposal(trials, "adamw") < 1


def test_the_proposal_is_below_the_learning_rate_of_the_lowest_loss():
    losses = [3.0] * 10 + [2.0, 1.0, 2.0]
    trials = [Trial(10.0**number, loss, loss) for number, loss in enumerate(losses)]
    assert proposal(trials, "muon") == pytest.approx(10.0**11 / ADAPTIVE_MARGIN)
    assert proposal(trials, "sgd") == pytest.approx(10.0**11)
    with pytest.raises(TrainingError, match="the loss is not finite or rises from the first steps on"):
        proposal(trials[:9], "sgd")


def test_a_loss_that_is_not_finite_ends_the_test():
    made = trainer(dropout=0.0)
    with pytest.MonkeyPatch.context() as patch:
        real = made.learn
        patch.setattr(made, "learn", lambda rate: real(rate)._replace(loss=math.nan) if rate > 1e-3 else real(rate))
        trials = list(range_test(made))
    assert trials[-1].rate <= 1e-3


def test_find_lr_shows_a_curve_and_keeps_nothing(charnn, tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 100, encoding="utf-8")
    found = charnn("train", "text.txt", "--find-lr", "--hidden-size", 8, "--precision", "fp32", "--optimizer", "adamw")
    assert found.status == 0, found.err
    assert "adamw: the loss is lowest" in found.out
    assert "try --learning-rate" in found.out
    assert sum("┤" in line for line in found.out.splitlines()) == 14
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
    refused = charnn("train", "text.txt", "--find-lr", "-o", "m")
    assert "--find-lr: cannot be combined with --resume, --overwrite or -o" in refused.err
    refused = charnn("train", "text.txt", "--find-lr", "--learning-rate", 0.1)
    assert "--find-lr: cannot be combined with --learning-rate (it tries many)" in refused.err


def test_a_curve_joins_its_points_in_braille():
    assert curve([0, 1], [0, 1], width=1, height=1) == [chr(0x2800 | 0x40 | 0x04 | 0x10 | 0x08)]
    assert curve([1.0], [5.0], width=2, height=1) == [chr(0x2801) + chr(0x2800)]
    flat = curve([0, 1, 2], [1, 1, 1], width=3, height=2)
    assert flat == [chr(0x2809) * 3, chr(0x2800) * 3]
