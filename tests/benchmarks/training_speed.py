"""Training throughput as a share of the machine's matrix-product peak.

    python tests/benchmarks/training_speed.py [--steps 30] [--rounds 5]

The work of a step is taken as 6 multiply-adds' worth of flops for each weight of a matrix product (recurrent and output layers;
embeddings are looked up, not multiplied). The peak is that of a bf16 product measured in the same round. The whole step
counts: batch, forward and backward pass, clipping, optimizer, averaging. Prints the median over rounds for each shape.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from charnn.config import Architecture, TrainingOptions
from charnn.text.vocabulary import Vocabulary
from charnn.training.batches import LaneBatches
from charnn.training.devices import has_bf16_units
from charnn.training.memory import keep_freed_memory
from charnn.training.network import Network
from charnn.training.optimizers import make_optimizers
from charnn.training.schedule import Budget
from charnn.training.trainer import Position, Trainer

VOCAB_SIZE = 65
SHAPES = (
    # layers, hidden, lanes, bptt, embedding order
    (1, 256, 32, 128, 3),
    (1, 256, 64, 128, 3),
    (1, 256, 64, 128, 1),
    (2, 512, 64, 64, 3),
    (2, 512, 64, 128, 3),
)


def peak_flops() -> float:
    """Return the best rate of a bf16 matrix product, flops a second."""
    left, right = torch.randn(2048, 1024).bfloat16(), torch.randn(1024, 1024).bfloat16()
    best = min(timed(lambda: left @ right) for _ in range(20))
    return 2 * 2048 * 1024 * 1024 / best


def timed(work) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def make_trainer(num_layers: int, hidden_size: int, lanes: int, bptt: int, order: int, steps: int) -> Trainer:
    architecture = Architecture("lstm", VOCAB_SIZE, 128, hidden_size, num_layers, embedding_order=order)
    options = TrainingOptions(batch_size=lanes, bptt_length=bptt, dropout=0.1, save_every=1e9)
    network = Network(architecture, dropout=0.1)
    vocabulary = Vocabulary(tuple(map(str, range(VOCAB_SIZE))), (9,) * VOCAB_SIZE, boundary_id=0, unknown_id=None)
    ids = np.random.default_rng(1).integers(VOCAB_SIZE, size=1_000_000).astype(np.uint8)
    return Trainer(
        network=network,
        optimizers=make_optimizers(network, options),
        batches=LaneBatches(ids, vocabulary, num_lanes=lanes, bptt_length=bptt, carry_length=0, seed=1),
        validate=None,
        options=options,
        precision="bf16",
        budget=Budget(steps=steps, seconds=None),
        evaluation_interval=1.0,
        position=Position(),
        started=time.monotonic(),
    )


def tokens_a_second(trainer: Trainer, lanes: int, bptt: int, steps: int) -> float:
    """Return the rate over the second half of some steps."""
    times = [time.perf_counter()]
    while len(times) <= steps:
        trainer._step(0.5)
        assert trainer._read_losses(at_once=True)
        times.append(time.perf_counter())
    half = steps // 2
    return lanes * bptt * (steps - half) / (times[-1] - times[half])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not has_bf16_units("cpu"):
        raise SystemExit("this processor has no bf16 units: the ratio would say nothing")
    keep_freed_memory()
    for shape in SHAPES:
        num_layers, hidden_size, lanes, bptt, order = shape
        shares, rates = [], []
        for _ in range(arguments.rounds):
            trainer = make_trainer(*shape, steps=arguments.steps)
            weights = sum(
                weight.numel()
                for name, weight in trainer.network.named_weights().items()
                if weight.dim() == 2 and not name.startswith("embedding")
            )
            before = peak_flops()
            rate = tokens_a_second(trainer, lanes, bptt, arguments.steps)
            peak = max(before, peak_flops())
            shares.append(6 * weights * rate / peak)
            rates.append(rate)
        print(
            f"{num_layers} x {hidden_size}, {lanes} lanes of {bptt} tokens, n-grams up to {order} embedded: "
            f"{statistics.median(rates):,.0f} tokens/s, {statistics.median(shares):.1%} of the peak "
            f"({min(shares):.1%} to {max(shares):.1%})",
            flush=True,
        )


if __name__ == "__main__":
    main()
