"""How fast charnn writes: against what memory allows, against stepping torch.nn.LSTM in a loop, and many streams at once.

    python tests/benchmarks/sampling_speed.py [--hidden-size 512] [--num-layers 2] [--vocab-size 65] [--length 2000] [--rounds 7]
        [--streams 64]

In each round, taking turns: the bandwidth of matrix-vector products over matrices of the model's size (the best of rows and
columns, one thread and all), one stream, one stream with --top-p 0.9, the loop of PyTorch's examples, and many streams, in single precision and in bf16. Prints medians, and medians of
the rounds' ratios.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from charnn.config import Architecture, SampleOptions
from charnn.inference.engine import Engine
from charnn.inference.prompt import prefill
from charnn.inference.quantization import in_bf16
from charnn.inference.stepper import Stepper, stepper_for
from charnn.sampling.sampler import Sampler
from charnn.sampling.stream_sampler import StreamSampler
from charnn.sampling.streams import SampleRequest
from charnn.text.tokenizers import CharTokenizer
from charnn.text.vocabulary import Vocabulary
from charnn.training.network.network import Network

PAUSE_SECONDS = 0.3
"""For one library's threads to stop waiting for work, which they do by spinning, before the other's begin."""


class Plain(torch.nn.Module):
    """The usual model: one torch.nn.LSTM of several layers, stepped by its caller."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        shape = network.architecture
        self.embedding, self.output = network.embedding, network.output
        self.lstm = torch.nn.LSTM(shape.embedding_size, shape.hidden_size, shape.num_layers)
        with torch.no_grad():
            for number, layer in enumerate(network.layers):
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    getattr(self.lstm, f"{name}_l{number}").copy_(layer.named_weights()[name])

    @torch.no_grad()
    def sample(self, length: int) -> list[int]:
        """Draw token by token."""
        ids, state = torch.zeros(1, 1, dtype=torch.long), None
        drawn = []
        for _ in range(length):
            outputs, state = self.lstm(self.embedding(ids), state)
            ids = torch.multinomial(self.output(outputs[0]).softmax(-1), 1)
            drawn.append(int(ids))
        return drawn


def seconds(work: Callable[[], object]) -> float:
    """Return how long some work takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def weights_read(architecture: Architecture) -> list[tuple[int, int]]:
    """Return the shapes of the matrices that one token multiplies: the first layer's input is a table."""
    hidden = architecture.hidden_size
    layers = [(4 * hidden, hidden), *[(4 * hidden, 2 * hidden)] * (architecture.num_layers - 1)]
    return [*layers, (architecture.vocab_size, hidden)]


class Bandwidth:
    """Matrix-vector products and nothing else."""

    def __init__(self, shapes: list[tuple[int, int]]) -> None:
        generator = np.random.default_rng(1)
        self.by_rows = [generator.standard_normal(shape, dtype=np.float32) for shape in shapes]
        self.by_columns = [np.ascontiguousarray(matrix.T) for matrix in self.by_rows]
        self.vectors = [generator.standard_normal(shape[1], dtype=np.float32) for shape in shapes]
        self.results = [np.empty(shape[0], dtype=np.float32) for shape in shapes]
        self.num_bytes = sum(matrix.nbytes for matrix in self.by_rows)

    def measure(self, repeats: int) -> float:
        """Return bytes a second, of the quicker layout."""

        def rows() -> None:
            for _ in range(repeats):
                for matrix, vector, result in zip(self.by_rows, self.vectors, self.results, strict=True):
                    np.dot(matrix, vector, out=result)

        def columns() -> None:
            for _ in range(repeats):
                for matrix, vector, result in zip(self.by_columns, self.vectors, self.results, strict=True):
                    np.dot(vector, matrix, out=result)

        found = []
        for num_threads in (1, None):
            with threadpool_limits(limits=num_threads, user_api="blas"):
                rows()
                found += [seconds(rows), seconds(columns)]
        return repeats * self.num_bytes / min(found)


def main() -> None:
    """Time everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    defaults = {"hidden-size": 512, "num-layers": 2, "vocab-size": 65, "length": 2000, "rounds": 7, "streams": 64}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.manual_seed(1)
    size = options.vocab_size
    architecture = Architecture("lstm", size, 128, options.hidden_size, options.num_layers)
    network = Network(architecture).eval()
    engine, plain = Engine(architecture, network.arrays()), Plain(network)
    tokens = ("<unk>", "\n", *(chr(0x100 + number) for number in range(size - 2)))
    tokenizer = CharTokenizer(Vocabulary(tokens, (1,) * size, boundary_id=1, unknown_id=0), "stream")
    stepper = stepper_for(engine, engine.initial_state())
    start = prefill(stepper, tokenizer, np.zeros(0, dtype=np.int64))
    bandwidth = Bandwidth(weights_read(architecture))

    rough = stepper_for(engine, engine.initial_state(), keep_matrix=in_bf16)

    def speed(num_streams: int, length: int, reader: Stepper = stepper, **chosen: float) -> float:
        sampler = Sampler(StreamSampler(reader, tokenizer, SampleOptions(length=length, **chosen)))
        plans = [SampleRequest(start, seed) for seed in range(num_streams)]
        return num_streams * length / seconds(lambda: list(sampler.generate(plans)))

    speed(1, size)
    loop_length = max(20, options.length // 10)
    found: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        limit = bandwidth.measure(max(3, options.length // 4)) / bandwidth.num_bytes
        one, top_p = speed(1, options.length), speed(1, options.length, top_p=0.9)
        time.sleep(PAUSE_SECONDS)
        loop = loop_length / seconds(lambda: plain.sample(loop_length))
        time.sleep(PAUSE_SECONDS)
        many = speed(options.streams, max(20, options.length // 8))
        time.sleep(PAUSE_SECONDS)
        many_bf16 = speed(options.streams, max(20, options.length // 8), rough)
        figures = {
            "limit, tokens/s": limit,
            "one stream, tokens/s": one,
            "torch loop, tokens/s": loop,
            f"{options.streams} streams, tokens/s": many,
            f"{options.streams} streams in bf16, tokens/s": many_bf16,
            "one stream / limit": one / limit,
            "one stream with top-p / limit": top_p / limit,
            "one stream with top-p / without": top_p / one,
            "one stream / torch loop": one / loop,
            f"{options.streams} streams / one": many / one,
            f"{options.streams} streams in bf16 / one": many_bf16 / one,
        }
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
    print(
        f"{options.num_layers} x {options.hidden_size}, vocabulary {size}, {bandwidth.num_bytes / 1e6:.1f} MB a token"
    )
    for name, values in found.items():
        shown = "{:,.0f}" if name.endswith("tokens/s") else "{:.2f}"
        print(
            f"{name:36}"
            + "  ".join(shown.format(value) for value in (statistics.median(values), min(values), max(values)))
        )


if __name__ == "__main__":
    main()
