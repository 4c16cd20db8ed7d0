"""The kenlm package's 5-gram beside ours: tokens a second and perplexity on the same held-out lines, token by token.

    python tests/benchmarks/kenlm_beside.py RUN --lmplz PROGRAM [--order 5] [--rounds 3]

RUN is a model's directory with its encoded text. KenLM's lmplz, which is built from its sources, estimates an n-gram model of the
training text, each line on its own, a token being the word `t` and its id; the kenlm package, which pip installs, scores the held-out
lines with it. Beside it stand charnn's own n-gram model of that order, estimated from the same lines, the network of RUN, which reads
each line from an empty memory, and the two mixed half and half. All count a line's end.
"""

import argparse
import math
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import kenlm
import numpy as np

from charnn.inference.engine import Engine
from charnn.ngrams.counting import count_ngrams
from charnn.ngrams.kneser_ney import estimate
from charnn.scoring.estimators import NetworkEstimator
from charnn.storage.model_directory import read_model
from charnn.text.corpus import open_ids

LINES_PER_WINDOW = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--lmplz", type=Path, required=True)
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    model = read_model(arguments.run)
    boundary_id = model.tokenizer.vocabulary.boundary_id
    train, held_out = (lines_of(arguments.run / f"{split}.bin", model) for split in ("train", "valid"))
    theirs = kenlm_model(arguments.lmplz, train, arguments.order)
    words = [" ".join(f"t{id}" for id in line) for line in held_out]
    ids = np.concatenate([[*line, boundary_id] for line in train]).astype(np.int64)
    counts = count_ngrams(
        ids,
        order=arguments.order,
        vocab_size=len(model.tokenizer.vocabulary),
        boundary_id=boundary_id,
        cut_at_boundary=True,
    )
    ours = estimate(counts, len(model.tokenizer.vocabulary))
    text = np.concatenate([[*line, boundary_id] for line in held_out]).astype(np.int64)
    network = NetworkEstimator(Engine.of(model))

    def read_kenlm() -> np.ndarray:
        return np.array([theirs.score(line, bos=True, eos=True) for line in words]) * math.log(10)

    def read_ngrams() -> np.ndarray:
        return np.log(ours.read_text(text, boundary_id=boundary_id, cut_at_boundary=True).probs)

    def read_network() -> np.ndarray:
        return np.concatenate([*batches(network, held_out, boundary_id)])

    found: dict[str, np.ndarray] = {}
    rates: dict[str, list[float]] = {}
    readers: dict[str, Callable[[], np.ndarray]] = {
        f"kenlm package, order {arguments.order}": read_kenlm,
        f"charnn's n-gram, order {arguments.order}": read_ngrams,
        "charnn's network": read_network,
    }
    for _ in range(arguments.rounds):
        for name, read in readers.items():
            began = time.perf_counter()
            found[name] = read()
            rates.setdefault(name, []).append(len(text) / (time.perf_counter() - began))
    print(f"{len(held_out):,} held-out lines, {len(text):,} tokens, line ends counted")
    for name, log_probs in found.items():
        perplexity = math.exp(-float(log_probs.sum()) / len(text))
        print(f"{name}: perplexity {perplexity:.4f}, {statistics.median(rates[name]):,.0f} tokens/s")
    mean = np.logaddexp(found["charnn's network"], found[f"charnn's n-gram, order {arguments.order}"]) - math.log(2)
    print(f"network and n-gram, half and half: perplexity {math.exp(-float(mean.sum()) / len(text)):.4f}")


def lines_of(file: Path, model) -> list[list[int]]:
    ids = np.asarray(open_ids(file, model.tokenizer)).astype(np.int64)
    lines = np.split(ids, np.flatnonzero(ids == model.tokenizer.vocabulary.boundary_id) + 1)
    return [line[:-1].tolist() for line in lines if len(line) > 1]


def kenlm_model(lmplz: Path, lines: list[list[int]], order: int) -> kenlm.Model:
    with tempfile.TemporaryDirectory() as directory:
        arpa = Path(directory) / "model.arpa"
        text = "".join(" ".join(f"t{id}" for id in line) + "\n" for line in lines)
        with arpa.open("wb") as file:
            command = [lmplz, "-o", str(order), "--discount_fallback"]
            subprocess.run(command, input=text.encode(), stdout=file, stderr=subprocess.DEVNULL, check=True)
        return kenlm.Model(str(arpa))


def batches(network: NetworkEstimator, lines: list[list[int]], boundary_id: int):
    """Yield each line's log probabilities, in order, reading lines of about one length side by side."""
    by_length = sorted(range(len(lines)), key=lambda index: len(lines[index]))
    found: list[np.ndarray] = [np.zeros(0)] * len(lines)
    for first in range(0, len(lines), LINES_PER_WINDOW):
        batch = by_length[first : first + LINES_PER_WINDOW]
        longest = len(lines[batch[-1]]) + 1
        targets = np.full((longest, len(batch)), boundary_id, dtype=np.int64)
        for column, index in enumerate(batch):
            targets[: len(lines[index]), column] = lines[index]
        contexts = np.concatenate((np.full((1, len(batch)), boundary_id), targets[:-1]))
        log_probs = network.new_reader(len(batch)).read(contexts, targets, whole=False).log_probs_TB
        for column, index in enumerate(batch):
            found[index] = log_probs[: len(lines[index]) + 1, column]
    yield from found


if __name__ == "__main__":
    main()
