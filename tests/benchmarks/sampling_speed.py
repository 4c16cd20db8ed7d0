"""One stream of sampling: charnn's NumPy engine against stepping torch.nn.LSTM in a loop, as many tools do.

    python tests/benchmarks/sampling_speed.py [--hidden-size 512] [--num-layers 2] [--length 2000] [--rounds 5]

Both draw from the same weights, taking turns; prints the median of the ratios of their times.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from charnn.config import Architecture, SampleOptions
from charnn.runtime.engine import Engine
from charnn.runtime.sampler import generate
from charnn.text.tokenizers import CharTokenizer
from charnn.text.vocabulary import Vocabulary
from charnn.training.network import Network

VOCAB_SIZE = 65


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


def main() -> None:
    """Time both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("hidden-size", 512), ("num-layers", 2), ("length", 2000), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.manual_seed(1)
    architecture = Architecture("lstm", VOCAB_SIZE, 128, options.hidden_size, options.num_layers)
    network = Network(architecture).eval()
    engine, plain = Engine(architecture, network.arrays()), Plain(network)
    tokens = ("<unk>", "\n", *(chr(0x100 + number) for number in range(VOCAB_SIZE - 2)))
    tokenizer = CharTokenizer(Vocabulary(tokens, (1,) * VOCAB_SIZE, boundary_id=1, unknown_id=0), "stream")
    ratios = []
    for _ in range(options.rounds):
        begun = time.perf_counter()
        sample_options = SampleOptions(length=options.length)
        for _ in generate(engine, tokenizer, np.zeros(0, dtype=np.int64), sample_options, seed=1):
            pass
        ours = time.perf_counter() - begun
        begun = time.perf_counter()
        plain.sample(options.length)
        theirs = time.perf_counter() - begun
        ratios.append(theirs / ours)
        print(f"charnn {options.length / ours:8,.0f} tokens/s   torch.nn.LSTM {options.length / theirs:8,.0f} tokens/s")
    print(f"median ratio {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
