import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.optimize import fit_mixture_weights, fit_temperature, golden_section_minimize


@given(st.floats(-3, 5), st.sampled_from([abs, lambda x: x * x, math.cosh]))
def test_the_minimum_is_found_within_the_tolerance(minimum, function):
    found = golden_section_minimize(lambda x: function(x - minimum), -3.0, 5.0, tolerance=1e-4)
    assert found == pytest.approx(minimum, abs=1e-4)


def test_each_iteration_evaluates_the_function_once():
    points = []

    def function(x):
        points.append(x)
        return (x - 1) ** 2

    golden_section_minimize(function, 0.0, 4.0, tolerance=0.1)
    num_iterations = math.ceil(math.log(4 / 0.1) / math.log((1 + math.sqrt(5)) / 2))
    assert len(points) == 2 + num_iterations


@pytest.mark.parametrize(("best", "expected"), [(1.3, 1.3), (0.2, 0.5), (9.0, 2.0)])
def test_a_temperature_lies_between_a_half_and_two(best, expected):
    assert fit_temperature(lambda temperature: abs(temperature - best)) == pytest.approx(expected, abs=1e-3)


def test_mixture_weights_are_those_of_em_written_out():
    probs = [[0.7, 0.1, 0.4, 0.2], [0.1, 0.3, 0.5, 0.6], [0.2, 0.6, 0.1, 0.2]]
    expected = [0.5, 0.25, 0.25]
    for _ in range(7):
        sums = [0.0, 0.0, 0.0]
        for token in range(4):
            joint = [expected[model] * probs[model][token] for model in range(3)]
            for model in range(3):
                sums[model] += joint[model] / sum(joint)
        expected = [each / 4 for each in sums]
    found = fit_mixture_weights(
        [0.5, 0.25, 0.25],
        [Column(row) for row in probs],
        expand=lambda weights: [Column([weight] * 4) for weight in weights],
        maximize=lambda _, posteriors: [sum(posterior.values) / 4 for posterior in posteriors],
        max_iterations=7,
    )
    assert found == pytest.approx(expected, abs=1e-15)


def test_em_ends_where_the_weights_have_converged():
    weights = []

    def maximize(before, posteriors):
        weights.append(before)
        return next(posteriors)

    fit_mixture_weights(
        0.5,
        [0.2, 0.2],
        expand=lambda weight: (weight, 1 - weight),
        maximize=maximize,
        max_iterations=100,
        has_converged=lambda before, after: abs(before - after) < 1e-9,
    )
    assert weights == [0.5]  # models that agree leave the weights as they are


class Column:
    """An array of which nothing but arithmetic is known."""

    def __init__(self, values):
        self.values = values

    def __mul__(self, other):
        return Column([a * b for a, b in zip(self.values, other.values, strict=True)])

    def __add__(self, other):
        return Column([a + b for a, b in zip(self.values, other.values, strict=True)])

    def __truediv__(self, other):
        return Column([a / b for a, b in zip(self.values, other.values, strict=True)])
