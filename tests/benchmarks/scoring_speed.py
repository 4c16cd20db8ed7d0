"""Scoring: its share of the processor's peak, torch's forward pass on the same batches, memory, order and the cold start.

    python tests/benchmarks/scoring_speed.py [--sentences 200000] [--rounds 5] [--lines 10000 2000000] [--skip WHAT ...]

Speed: a 2 x 512 LSTM with random weights scores sentences of 60 characters. Before and after each part of them the peak is
measured, a product of two 2048 x 2048 matrices in fp32 by NumPy's BLAS and by torch's; what is printed is relative to the best.
Then torch (fused layers, fp32, no gradients) and charnn read the same batches, taking turns. Medians, with their ranges.

Memory: `charnn score` of files with so many lines, by a model of 16 units, blank lines and lines of 100,000 characters among them;
the most resident memory of each process, and whether each line has its one record, in order.

Cold: five times `charnn score --text` in a process of its own, and whether torch is among what it imports.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from charnn.cells.parameters import expected_shapes
from charnn.config import Architecture, ScoreOptions
from charnn.inference.engine import Engine
from charnn.scoring.scorer import MAX_BATCH_SIZE, estimator_of, score_units
from charnn.text.tokenizers import CharTokenizer
from charnn.text.vocabulary import UNKNOWN, Vocabulary
from charnn.training.network.network import Network

CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,;:!?'-\"()"
SENTENCE_CHARS, HIDDEN, LAYERS, PEAK_SIZE = 60, 512, 2, 2048
SENTENCES_A_PART = 4096
LONG_LINE = 100_000
SECONDS_OF_REST = 0.5
"""Threads go on spinning for a while after their work; nobody is to be measured beside them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5, help="of torch's forward pass beside ours")
    parser.add_argument("--lines", type=int, nargs="*", default=[10_000, 2_000_000])
    parser.add_argument("--skip", nargs="*", default=[], choices=["speed", "torch", "memory", "cold"])
    arguments = parser.parse_args()
    if "speed" not in arguments.skip:
        measure_speed(arguments.sentences)
    if "torch" not in arguments.skip:
        compare_with_torch(arguments.rounds)
    with tempfile.TemporaryDirectory() as directory:
        run = train_small(Path(directory)) if {"memory", "cold"} - set(arguments.skip) else None
        if run and "memory" not in arguments.skip:
            measure_memory(run, arguments.lines)
        if run and "cold" not in arguments.skip:
            measure_cold(run)


def network() -> tuple[Engine, CharTokenizer]:
    """Return a 2 x 512 LSTM with random weights, and its characters."""
    vocabulary = Vocabulary((UNKNOWN, "\n", *CHARACTERS), (1,) * (2 + len(CHARACTERS)), boundary_id=1, unknown_id=0)
    shape = Architecture("lstm", len(vocabulary), 128, HIDDEN, LAYERS)
    generator = np.random.default_rng(1)
    weights = {
        name: (0.05 * generator.standard_normal(size)).astype(np.float32)
        for name, size in expected_shapes(shape).items()
    }
    return Engine(shape, weights), CharTokenizer(vocabulary, "line")


def sentences(number: int, seed: int) -> list[str]:
    letters = np.array(list(CHARACTERS))
    drawn = np.random.default_rng(seed).choice(letters, (number, SENTENCE_CHARS))
    return ["".join(row) for row in drawn]


def peak_flops() -> float:
    """Return the operations a second of a product in fp32, two a multiply-add: of NumPy's BLAS or torch's, the better one."""
    matrix = np.random.default_rng(0).standard_normal((PEAK_SIZE, PEAK_SIZE)).astype(np.float32)
    least = math.inf
    for factor in (matrix, torch.from_numpy(matrix)):
        time.sleep(SECONDS_OF_REST)
        for _ in range(3):
            began = time.perf_counter()
            factor @ factor
            least = min(least, time.perf_counter() - began)
    time.sleep(SECONDS_OF_REST)
    return 2 * PEAK_SIZE**3 / least


def flops_a_token(vocab_size: int) -> int:
    """Return what the products of a token cost; the first layer's input is looked up."""
    return 2 * (4 * HIDDEN * HIDDEN * (2 * LAYERS - 1) + HIDDEN * vocab_size)


def measure_speed(num_sentences: int) -> None:
    engine, tokenizer = network()
    estimator, options = estimator_of(engine, tokenizer), ScoreOptions()
    cost = flops_a_token(len(tokenizer.vocabulary))
    shares, rates, peaks = [], [], []
    for part in range(0, num_sentences, SENTENCES_A_PART):
        texts = sentences(min(SENTENCES_A_PART, num_sentences - part), part)
        before = peak_flops()
        began = time.perf_counter()
        num_tokens = sum(score.num_tokens for score in score_units(estimator, tokenizer, texts, options))
        rates.append(num_tokens / (time.perf_counter() - began))
        peaks.append(max(before, peak_flops()))
        shares.append(rates[-1] * cost / peaks[-1])
    print(f"{num_sentences:,} sentences, medians of {len(shares)} parts:")
    show("tokens/s", rates, ",.0f")
    show("fp32 peak, the better BLAS, GFLOP/s", [peak / 1e9 for peak in peaks], ".1f")
    show("of that peak", shares, ".3f")


def show(name: str, values: Sequence[float], form: str) -> None:
    """Print a median and its range."""
    print(f"  {name:36}{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})", flush=True)


def compare_with_torch(num_rounds: int) -> None:
    torch.set_float32_matmul_precision("highest")
    engine, tokenizer = network()
    estimator, options = estimator_of(engine, tokenizer), ScoreOptions()
    torch_network = Network(engine.architecture)
    torch_network.load_arrays(engine.weights)
    torch_network.eval()
    ours, theirs = [], []
    for number in range(num_rounds):
        texts = sentences(8 * MAX_BATCH_SIZE, number)
        encoded = [np.concatenate((tokenizer.encode(text), [1])) for text in texts]
        time.sleep(SECONDS_OF_REST)
        began = time.perf_counter()
        num_tokens = sum(score.num_tokens for score in score_units(estimator, tokenizer, texts, options))
        ours.append(num_tokens / (time.perf_counter() - began))
        time.sleep(SECONDS_OF_REST)
        began = time.perf_counter()
        read_by_torch(torch_network, encoded)
        theirs.append(num_tokens / (time.perf_counter() - began))
    print(f"torch's forward pass in fp32 on the same batches, medians of {num_rounds} rounds:")
    show("torch, tokens/s", theirs, ",.0f")
    show("ours, tokens/s", ours, ",.0f")
    show("ours / torch", [one / other for one, other in zip(ours, theirs, strict=True)], ".2f")


@torch.no_grad()
def read_by_torch(network: Network, encoded: Sequence[np.ndarray]) -> None:
    """Find the log probabilities of texts of one length."""
    for first in range(0, len(encoded), MAX_BATCH_SIZE):
        targets = torch.tensor(np.stack(encoded[first : first + MAX_BATCH_SIZE], axis=1))
        contexts = torch.cat((torch.ones_like(targets[:1]), targets[:-1]))
        logits, _ = network(contexts, network.initial_state(targets.shape[1]))
        assert logits.dtype == torch.float32
        logits.log_softmax(-1).gather(-1, targets[..., None]).sum()


def train_small(directory: Path) -> Path:
    text = directory / "text.txt"
    text.write_text("\n".join(sentences(400, 1)) + "\n", encoding="utf-8")
    options = ["--unit", "line", "--steps", "3", "--hidden-size", "16", "--embedding-size", "8", "--ngram-order", "0"]
    charnn = [sys.executable, "-m", "charnn"]
    subprocess.run(
        [*charnn, "train", str(text), "-o", str(directory / "run"), *options], check=True, capture_output=True
    )
    return directory / "run"


def line_of(number: int) -> str:
    """Return a line that names its number: some are blank, some very long."""
    if number % 1000 == 7:
        return ""
    if number % 100_000 == 9:
        return "x" * LONG_LINE
    return f"line {number}"


def measure_memory(run: Path, nums_lines: list[int]) -> None:
    for num_lines in nums_lines:
        with tempfile.TemporaryDirectory() as directory:
            text, out = Path(directory) / "text.txt", Path(directory) / "out.jsonl"
            with text.open("w", encoding="utf-8") as file:
                file.writelines(line_of(number) + "\n" for number in range(1, num_lines + 1))
            command = [
                sys.executable,
                "-m",
                "charnn",
                "score",
                "-m",
                str(run),
                str(text),
                "--format",
                "jsonl",
                "-o",
                str(out),
            ]
            began = time.perf_counter()
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
            assert status == 0, status
            num_found = 0
            with out.open(encoding="utf-8") as file:
                for number, line in enumerate(file, start=1):
                    record = json.loads(line)
                    assert record["line"] == number
                    assert record["num_chars"] == len(line_of(number)) + 1
                    num_found = number
            assert num_found == num_lines
            print(
                f"{num_lines:,} lines: {usage.ru_maxrss / 1024:,.0f} MiB resident at most, {seconds:,.1f} s, "
                "one record a line, in order",
                flush=True,
            )


def measure_cold(run: Path) -> None:
    command = [sys.executable, "-m", "charnn", "score", "-m", str(run), "--text", "line one"]
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    listed = subprocess.run([command[0], "-X", "importtime", *command[1:]], check=True, capture_output=True, text=True)
    modules = {line.split("|")[-1].strip().split(".")[0] for line in listed.stderr.splitlines() if "|" in line}
    print(
        f"cold start: {statistics.median(times):.2f} s, median of 5 ({min(times):.2f} to {max(times):.2f}); "
        f"torch {'is' if 'torch' in modules else 'is not'} imported",
        flush=True,
    )


if __name__ == "__main__":
    main()
