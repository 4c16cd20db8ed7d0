"""How fast ONNX Runtime runs an exported model, against charnn's engine on the same weights.

    charnn export RUN --to onnx -o EXPORT
    python tests/benchmarks/onnx_speed.py RUN EXPORT [--length 2000] [--chunk 256] [--rounds 7] [--threads 1]

In each round, taking turns: single steps of charnn's stepper and of ONNX Runtime, and chunks of its engine and of ONNX Runtime.
Prints the medians in tokens per second, and the medians of the rounds' ratios; the size of the file, and the time to load it.
Needs the extra clients.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from charnn.inference.engine import Engine
from charnn.inference.stepper import stepper_for
from charnn.storage.model_directory import read_model

PAUSE_SECONDS = 0.2
"""For one library's threads to stop waiting for work before the other's begin."""


class Exported:
    """A model in ONNX Runtime, and the state of one stream."""

    def __init__(self, directory: Path, num_threads: int) -> None:
        import onnxruntime  # in the extra clients

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        begun = time.perf_counter()
        self.session = onnxruntime.InferenceSession(directory / "model.onnx", options)
        self.load_seconds = time.perf_counter() - begun
        description = json.loads((directory / "model.json").read_text(encoding="utf-8"))
        state = description["initial_state"] | {
            name: np.zeros(shape) for name, shape in description["zero_state"].items()
        }
        kinds = {
            each.name: np.int64 if each.type == "tensor(int64)" else np.float32 for each in self.session.get_inputs()
        }
        self.state: dict[str, Any] = {name: np.array([vector], kinds[name]) for name, vector in state.items()}

    def read(self, ids_TB: np.ndarray) -> None:
        """Read T tokens of one stream."""
        _, *new = self.session.run(None, {"ids": ids_TB, **self.state})
        self.state = dict(zip(self.state, new, strict=True))


def tokens_per_second(read: Callable[[np.ndarray], object], ids: np.ndarray, chunk: int) -> float:
    """Return the speed of reading some tokens, so many at once."""
    time.sleep(PAUSE_SECONDS)
    begun = time.perf_counter()
    for first in range(0, len(ids), chunk):
        read(ids[first : first + chunk, None])
    return len(ids) / (time.perf_counter() - begun)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("export", type=Path)
    for name, value in (("length", 2000), ("chunk", 256), ("rounds", 7), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    engine, exported = Engine.of(read_model(arguments.run)), Exported(arguments.export, arguments.threads)
    ids = np.arange(arguments.length) ** 2 % engine.architecture.vocab_size
    stepper, initial = stepper_for(engine, engine.initial_state()), engine.initial_state()
    works: dict[str, tuple[Callable[[np.ndarray], object], int]] = {
        "charnn, steps": (lambda ids_TB: stepper.step(ids_TB[0]), 1),
        "ONNX Runtime, steps": (exported.read, 1),
        "charnn, chunks": (lambda ids_TB: engine.logits(engine.forward(ids_TB, initial)[0]), arguments.chunk),
        "ONNX Runtime, chunks": (exported.read, arguments.chunk),
    }
    speeds: dict[str, list[float]] = {name: [] for name in works}
    with threadpool_limits(arguments.threads):
        for _ in range(arguments.rounds):
            for name, (read, chunk) in works.items():
                speeds[name].append(tokens_per_second(read, ids, chunk))
    for name, values in speeds.items():
        ratios = [
            value / other for value, other in zip(values, speeds[f"charnn,{name.partition(',')[2]}"], strict=True)
        ]
        print(
            f"{name:20} {statistics.median(values):8,.0f} tokens/s (best {max(values):,.0f}), {statistics.median(ratios):.2f} times charnn"
        )
    size = (arguments.export / "model.onnx").stat().st_size
    print(f"model.onnx: {size:,} bytes, loaded in {exported.load_seconds:.3f} s; {arguments.threads} threads")


if __name__ == "__main__":
    main()
