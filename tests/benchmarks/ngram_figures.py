"""The n-gram model: its loss and speed, against KenLM's where that is at hand, and what mixing costs the sampler.

    python tests/benchmarks/ngram_figures.py TEXT [--order 5] [--kenlm DIRECTORY] [--million-times 1]

TEXT's last tenth of lines is held out here, each line on its own and its end scored, as KenLM takes them. DIRECTORY holds lmplz
and query, which read the same characters as words. Then TEXT is counted as a stream, repeated up to so many million
characters, for the time and the peak of memory; and a 2 x 512 network with random weights samples with and without the
n-gram model, taking turns.
"""

import argparse
import math
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from charnn.cells.parameters import expected_shapes
from charnn.config import Architecture, SampleOptions
from charnn.inference.engine import Engine
from charnn.ngrams.counting import count_ngrams
from charnn.ngrams.kneser_ney import NgramModel, estimate
from charnn.ngrams.mixture import Mixture, linear_weights
from charnn.sampling.sampler import generate_sample
from charnn.text.tokenizers import CharTokenizer
from charnn.text.vocabulary import UNKNOWN, Vocabulary


def encoded(text: str) -> tuple[np.ndarray, Vocabulary]:
    """Return a text's ids, and its characters as a vocabulary."""
    chars = sorted(set(text))
    table = np.zeros(max(map(ord, chars)) + 1, dtype=np.uint8)
    table[[ord(char) for char in chars]] = np.arange(len(chars))
    ids = table[np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)]
    tokens = (*chars, UNKNOWN)
    return ids, Vocabulary(tokens, (1,) * len(tokens), boundary_id=chars.index("\n"), unknown_id=len(chars))


def count(ids: np.ndarray, vocabulary: Vocabulary, order: int, *, cut: bool) -> NgramModel:
    ngrams = count_ngrams(
        ids, order=order, vocab_size=len(vocabulary), boundary_id=vocabulary.boundary_id, cut_at_boundary=cut
    )
    return estimate(ngrams, len(vocabulary))


def kenlm_loss(programs: Path, train: str, valid: str, order: int) -> float:
    """Return KenLM's mean loss in nats a character, line ends included."""

    def as_words(text: str) -> str:
        return "".join(" ".join("_" if char == " " else char for char in line) + "\n" for line in text.splitlines())

    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory) / "model.arpa"
        with model.open("wb") as file:
            subprocess.run(
                [programs / "lmplz", "-o", str(order), "--discount_fallback"],
                input=as_words(train).encode(), stdout=file, stderr=subprocess.DEVNULL, check=True,
            )  # fmt: skip
        found = subprocess.run(
            [programs / "query", "-v", "word", model], input=as_words(valid).encode(), capture_output=True, check=True
        )
    log10 = [
        float(part.rsplit(" ", 1)[1])
        for line in found.stdout.decode().splitlines()
        for part in line.split("\t")
        if "=" in part
    ]
    return -sum(log10) * math.log(10) / len(log10)


def sampler_ratio(ngrams: NgramModel, vocabulary: Vocabulary, rounds: int = 5, length: int = 1000) -> float:
    """Return the speed of sampling with the n-gram model over that without."""
    shape = Architecture("lstm", len(vocabulary), 128, 512, 2, embedding_order=3)
    random = np.random.default_rng(1)
    weights = {name: random.normal(0, 0.05, size).astype(np.float32) for name, size in expected_shapes(shape).items()}
    engine, tokenizer = Engine(shape, weights), CharTokenizer(vocabulary, "stream")
    mixture = Mixture(
        ngrams, np.array(linear_weights([0.01] * ngrams.order))
    )  # so that contexts are those of text, long ones among them
    ratios = []
    for _ in range(rounds):
        seconds = []
        for mixed in (None, mixture):
            begun = time.perf_counter()
            generate_sample(engine, tokenizer, SampleOptions(length=length), seed=1, mixture=mixed)
            seconds.append(time.perf_counter() - begun)
        ratios.append(seconds[0] / seconds[1])
        print(f"  alone {length / seconds[0]:,.0f} tokens/s, mixed {length / seconds[1]:,.0f}")
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--kenlm", type=Path)
    parser.add_argument("--million-times", type=float, nargs="*", default=[1.0])
    arguments = parser.parse_args()
    text = arguments.text.read_text(encoding="utf-8")
    ids, vocabulary = encoded(text)
    num_train = text.rindex("\n", 0, int(len(text) * 0.9)) + 1
    model = count(ids[:num_train], vocabulary, arguments.order, cut=True)
    reading = model.read_text(ids[num_train:], boundary_id=vocabulary.boundary_id, cut_at_boundary=True)
    loss = -float(np.log(reading.probs).mean())
    print(f"order {arguments.order}, lines: {loss:.5f} nats a character")
    if arguments.kenlm:
        theirs = kenlm_loss(arguments.kenlm, text[:num_train], text[num_train:], arguments.order)
        print(f"KenLM: {theirs:.5f}, ratio {loss / theirs:.5f}")
    for millions in arguments.million_times:
        number = int(millions * 1e6)
        long = np.tile(ids, -(-number // len(ids)))[:number]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.perf_counter()
        whole = count(long, vocabulary, 7, cut=False)
        print(
            f"{number:,} characters as a stream: {time.perf_counter() - begun:.2f} s, order {whole.order}, "
            f"{whole.num_ngrams:,} n-grams, peak memory {before // 1024:,} MB before, "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:,} MB after"
        )
    whole = count(ids[:num_train], vocabulary, 7, cut=False)
    print(f"mixed sampler, 2 x 512: {sampler_ratio(whole, vocabulary):.0%} of the network's own speed")


if __name__ == "__main__":
    main()
