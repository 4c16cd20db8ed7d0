"""The training objective."""

import math

import numpy as np
import pytest
import torch

from charnn.config import Architecture, TrainingOptions
from charnn.training.loss import (
    IGNORED,
    summed_activation_penalty,
    summed_cross_entropy,
    summed_temporal_penalty,
    summed_uniform_cross_entropy,
)
from charnn.training.network.network import Network
from charnn.training.objective import Counts, TokenNoise, objective, sampled_inputs
from tests.conftest import ramp_weights, seeded

SHAPE = Architecture("lstm", 11, 6, 8, 1)


def network(scale=0.4):
    made = Network(SHAPE)
    made.load_arrays(ramp_weights(SHAPE, scale))
    return made


def test_the_activation_penalty_is_the_mean_square_without_padding():
    # Means of squares (1 + 4) / 2, (9 + 16) / 2, (25 + 36) / 2; the second stream's second position is padding.
    outputs = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [100.0, 100.0]]])
    targets = torch.tensor([[0, 1], [2, IGNORED]])
    assert float(summed_activation_penalty(outputs, targets)) == pytest.approx(91 / 2)
    assert Counts.of(targets.numpy()) == Counts(targets=3, changes=1)


def test_the_temporal_penalty_is_the_mean_square_of_changes_without_padding():
    # One stream 1 -> 3 -> 2: 4 + 1; the other's only change leads to padding.
    outputs = torch.tensor([[[1.0], [7.0]], [[3.0], [9.0]], [[2.0], [50.0]]])
    targets = torch.tensor([[0, 1], [2, IGNORED], [3, IGNORED]])
    assert float(summed_temporal_penalty(outputs, targets)) == pytest.approx(5)
    assert Counts.of(targets.numpy()) == Counts(targets=4, changes=2)
    assert float(summed_temporal_penalty(outputs[:1], targets[:1])) == 0.0


def test_label_smoothing_spreads_over_the_whole_vocabulary():
    # P = 1/2, 1/4, 1/4: -log P of the target is log 2; its mean over the vocabulary is (log 2 + 2 log 4) / 3.
    logits = torch.tensor([[[0.5, 0.25, 0.25]], [[0.1, 0.1, 0.8]]]).log()
    targets = torch.tensor([[0], [IGNORED]])
    assert float(summed_cross_entropy(logits, targets)) == pytest.approx(math.log(2))
    assert float(summed_uniform_cross_entropy(logits, targets)) == pytest.approx(5 * math.log(2) / 3)
    reference = torch.nn.functional.cross_entropy(logits[:1, 0], targets[0], label_smoothing=0.3)
    smoothed = 0.7 * summed_cross_entropy(logits, targets) + 0.3 * summed_uniform_cross_entropy(logits, targets)
    assert float(smoothed) == pytest.approx(float(reference))


@torch.no_grad()
def read(**options):
    made = network()
    ids = torch.arange(24).reshape(8, 3) % 11
    targets = (ids + 1) % 11
    return objective(
        made,
        ids,
        targets,
        made.initial_state(3),
        counts=Counts(24, 21),
        options=TrainingOptions(**options),
        generator=seeded(),
    )


@torch.no_grad()
def test_penalties_are_part_of_the_objective_and_not_of_the_reported_loss():
    plain = read()
    assert float(plain.objective_nats) == pytest.approx(float(plain.loss) / 24)
    made = network()
    ids = torch.arange(24).reshape(8, 3) % 11
    outputs = made.outputs(ids, made.initial_state(3))
    penalised = read(activation_penalty=2.0, temporal_penalty=3.0)
    assert float(penalised.loss) == pytest.approx(float(plain.loss))
    assert float(penalised.objective_nats) == pytest.approx(
        float(plain.objective_nats)
        + 2 * float(outputs.dropped_TBH.square().mean())
        + 3 * float((outputs.raw_TBH[1:] - outputs.raw_TBH[:-1]).square().mean())
    )
    assert float(read(label_smoothing=0.5).loss) == pytest.approx(float(plain.loss))
    assert float(read(label_smoothing=0.5).objective_nats) != pytest.approx(float(plain.objective_nats))


@torch.no_grad()
def test_the_activation_penalty_is_after_dropout_and_the_temporal_one_before():
    made = network()
    made.output_dropout.probability = 0.9
    outputs = made.outputs(torch.zeros(4, 50, dtype=torch.long), made.initial_state(50), seeded(1))
    assert float((outputs.dropped_TBH == 0).float().mean()) == pytest.approx(0.9, abs=0.05)
    assert not (outputs.raw_TBH == 0).any()


def sampled_sequentially(made, inputs, teacher_forcing_probability):
    """Scheduled sampling as Bengio et al. describe it: each input is the reference token or a sample given the inputs so far."""
    generator = seeded(4)
    is_drawn = torch.rand(inputs.shape, generator=generator) >= teacher_forcing_probability
    is_drawn[0] = False
    fractions = torch.zeros(inputs.shape)
    fractions[is_drawn] = torch.rand(inputs.shape, generator=generator)[is_drawn]
    read_tokens, state, logits = [], made.initial_state(inputs.shape[1]), None
    for time, token in enumerate(inputs):
        if logits is not None:
            cumulative = torch.softmax(logits[0], dim=-1).cumsum(dim=-1)
            drawn = (cumulative <= fractions[time][:, None] * cumulative[:, -1:]).sum(dim=-1)
            token = torch.where(is_drawn[time], drawn, token)
        read_tokens.append(token)
        logits, state = made(token[None], state)
    return torch.stack(read_tokens)


@torch.no_grad()
def test_with_one_pass_per_token_parallel_sampling_is_sequential_sampling():
    made = network(scale=1.0)
    inputs = torch.arange(36).reshape(12, 3) % 11
    expected = sampled_sequentially(made, inputs, 0.4)
    found = [
        sampled_inputs(
            made,
            inputs,
            made.initial_state(3),
            teacher_forcing_probability=0.4,
            num_passes=num_passes,
            generator=seeded(4),
        )
        for num_passes in (1, 12)
    ]
    assert torch.equal(found[1], expected)
    assert not torch.equal(found[0], expected)
    assert not torch.equal(expected, inputs)


def test_sampled_inputs_follow_the_predicted_distribution():
    # The second token of 20,000 streams with the same first token: frequencies match the predicted probabilities.
    made = network(scale=1.0)
    inputs = torch.full((2, 20_000), 3)
    drawn = sampled_inputs(
        made, inputs, made.initial_state(20_000), teacher_forcing_probability=0.0, num_passes=1, generator=seeded()
    )
    assert torch.equal(drawn[0], inputs[0])
    counts = torch.bincount(drawn[1], minlength=11).double()
    logits, _ = made(inputs[:1, :1], made.initial_state(1))
    expected = torch.softmax(logits[0, 0].detach().double(), dim=-1) * 20_000
    assert float(((counts - expected) ** 2 / expected).sum()) < 29.6  # chi-square, 10 degrees of freedom, 0.1 %


def test_with_teacher_forcing_alone_no_input_is_sampled():
    made = network()
    inputs = torch.arange(12).reshape(4, 3) % 11
    generator = seeded()
    before = generator.get_state()
    objective(
        made,
        inputs,
        inputs,
        made.initial_state(3),
        counts=Counts(12, 9),
        options=TrainingOptions(),
        generator=generator,
    )
    assert torch.equal(generator.get_state(), before)


def test_token_noise_follows_the_unigram_distribution():
    random = np.random.default_rng(0)
    text = np.array([1, 1, 1, 2] * 10, dtype=np.uint8)
    inputs = np.zeros((100, 400), dtype=np.int64)
    noisy = TokenNoise(text, 0.25).apply(inputs, random)
    assert not inputs.any()
    assert np.mean(noisy != 0) == pytest.approx(0.25, abs=0.01)
    assert np.mean(noisy[noisy != 0] == 1) == pytest.approx(0.75, abs=0.02)
    assert TokenNoise(text, 0.0).apply(inputs, random) is inputs
