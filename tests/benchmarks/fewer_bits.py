"""What weights of fewer bits cost in bits a token, and what they gain in tokens a second.

python tests/benchmarks/fewer_bits.py RUN [--tokens 400] [--lanes 64]      on a model's held-out text
python tests/benchmarks/fewer_bits.py --shape 3x1024 [--vocab-size 205]    speed alone, random weights
"""

import argparse
import itertools
import statistics
import time
from pathlib import Path

import numpy as np

from charnn.cells.parameters import expected_shapes
from charnn.config import Architecture
from charnn.inference.engine import Engine, log_softmax
from charnn.inference.numpy_steppers import in_single_precision
from charnn.inference.quantization import in_bf16, in_int8
from charnn.inference.stepper import Stepper, stepper_for
from charnn.storage.model_directory import read_model
from charnn.text.corpus import open_ids

WAYS = {"fp32": in_single_precision, "bf16": in_bf16, "int8": in_int8}
STREAMS = (1, 8, 64)
PAUSE_SECONDS = 0.5
"""For the threads of the other library to stop waiting for work, which they do by spinning."""


def loss_bits(stepper: Stepper, engine: Engine, ids_TB: np.ndarray) -> float:
    """Return the mean loss of lanes, each from an empty memory, in bits a token."""
    reader, total = stepper.fork(engine.initial_state(), ids_TB.shape[1]), 0.0
    for before, after in itertools.pairwise(ids_TB):
        log_probs = log_softmax(reader.step(before))
        total -= float(np.take_along_axis(log_probs, after[:, None], axis=1).sum())
    return total / ids_TB[1:].size / np.log(2)


def tokens_a_second(stepper: Stepper, engine: Engine, num_streams: int) -> float:
    """Return the speed of stepping that many streams."""
    reader = stepper.fork(engine.initial_state(), num_streams)
    ids, length = np.arange(num_streams) % engine.architecture.vocab_size, max(30, 400 // num_streams)
    time.sleep(PAUSE_SECONDS)
    for _ in range(3):
        reader.step(ids)
    begun = time.perf_counter()
    for _ in range(length):
        reader.step(ids)
    return num_streams * length / (time.perf_counter() - begun)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--shape")
    for name, default in (("vocab-size", 65), ("tokens", 400), ("lanes", 64), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if options.run is not None:
        model = read_model(options.run)
        engine = Engine.of(model)
        ids = np.asarray(open_ids(options.run / "valid.bin", model.tokenizer)).astype(np.int64)
        length = min(options.tokens, len(ids) // options.lanes)
        ids_TB = ids[: length * options.lanes].reshape(options.lanes, length).T
    else:
        num_layers, hidden_size = map(int, options.shape.split("x"))
        shape = Architecture("lstm", options.vocab_size, 128, hidden_size, num_layers)
        random = np.random.default_rng(1)
        sizes = expected_shapes(shape).items()
        engine = Engine(shape, {name: random.normal(0, 0.05, size).astype(np.float32) for name, size in sizes})
    steppers = {name: stepper_for(engine, engine.initial_state(), keep_matrix=keep) for name, keep in WAYS.items()}
    if options.run is not None:
        bits = {name: loss_bits(stepper, engine, ids_TB) for name, stepper in steppers.items()}
        for name, value in bits.items():
            print(f"{name}: {value:.5f} bits a token, {value - bits['fp32']:+.5f}")
    for num_streams in STREAMS:
        speeds: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(options.rounds):
            for name, stepper in steppers.items():
                speeds[name].append(tokens_a_second(stepper, engine, num_streams))
        medians = {name: statistics.median(found) for name, found in speeds.items()}
        shown = "  ".join(f"{name} {value:,.0f} ({value / medians['fp32']:.2f})" for name, value in medians.items())
        print(f"{num_streams} streams, tokens/s: {shown}")


if __name__ == "__main__":
    main()
