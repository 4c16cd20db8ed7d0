"""Who says it? The speakers of a play told apart by Bayes' rule from one model with labels, beside naive Bayes on n-grams.

    python tests/benchmarks/voices.py tinyshakespeare.txt [--minutes 2.5] [--train-options "--hidden-size 256"]

Cuts the speeches of the ten most frequent speakers out of the text, one in five of each held out, trains one model on the others
(`--unit document --label-from speaker`), and prints accuracy and log loss on the held-out speeches. The order and the smoothing of
naive Bayes, and the temperature of both, are chosen on a fifth of the training speeches. Then samples of the two most frequent
speakers are told apart by that naive Bayes, for several values of `--label-strength`.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import charnn
from charnn.config import SampleOptions
from charnn.inference.engine import Engine, log_softmax
from charnn.optimize import golden_section_minimize
from charnn.scoring.classification import classify
from charnn.storage.labels import with_label
from charnn.storage.mixture import read_sampling_mixture

NUM_SPEAKERS, FRACTION = 10, 0.2
ORDERS, SMOOTHINGS = (1, 2, 3, 4, 5, 6), (1.0, 0.3, 0.1, 0.03, 0.01)
STRENGTHS, LOSS_STEP = (0.0, 0.05, 0.2, 0.35, 0.5, 1.0), 6
"""Strengths of labels that are tried, and the loss is measured on one held-out speech in six."""
START, END = "\x02", "\x03"


class Speech(NamedTuple):
    """What somebody says."""

    speaker: str
    text: str


def speeches_of(text: str) -> list[Speech]:
    """Return the speeches of a play whose blocks begin with a line `Name:`, those of the most frequent speakers."""
    blocks = [block.split("\n", 1) for block in re.split(r"\n\n+", text.strip())]
    found = [Speech(block[0][:-1], block[1].strip()) for block in blocks if len(block) == 2 and block[0].endswith(":")]
    frequent = {name for name, _ in Counter(speech.speaker for speech in found).most_common(NUM_SPEAKERS)}
    return [speech for speech in found if speech.speaker in frequent]


def divided(speeches: Sequence[Speech], seed: int) -> tuple[list[Speech], list[Speech]]:
    """Return training and held-out speeches, a fixed fraction of each speaker's."""
    order = np.random.default_rng(seed).permutation(len(speeches))
    held_out: set[int] = set()
    for name in {speech.speaker for speech in speeches}:
        own = [int(index) for index in order if speeches[index].speaker == name]
        held_out |= set(own[: round(len(own) * FRACTION)])
    return (
        [speech for index, speech in enumerate(speeches) if index not in held_out],
        [speeches[index] for index in sorted(held_out)],
    )


class NaiveBayes:
    """Naive Bayes on the character n-grams of a text, counted as often as they occur (multinomial).

    Args:
        order: n-grams of all orders up to this one.
        smoothing: added to the count of each n-gram.
        temperature: divisor of the log likelihood.
    """

    def __init__(self, speeches: Sequence[Speech], *, order: int, smoothing: float) -> None:
        self.names = sorted({speech.speaker for speech in speeches})
        self._order, self.temperature = order, 1.0
        counts = {name: Counter[str]() for name in self.names}
        for speech in speeches:
            counts[speech.speaker].update(self._ngrams(speech.text))
        vocabulary = {ngram for counter in counts.values() for ngram in counter}
        totals = np.array([counts[name].total() + smoothing * len(vocabulary) for name in self.names])
        self._log_probs = {
            ngram: np.log(np.array([counts[name][ngram] for name in self.names]) + smoothing) - np.log(totals)
            for ngram in vocabulary
        }
        self.log_priors = np.log([sum(speech.speaker == name for speech in speeches) for name in self.names])

    def _ngrams(self, text: str) -> list[str]:
        closed = START + text + END
        return [closed[i : i + n] for n in range(1, self._order + 1) for i in range(len(closed) - n + 1)]

    def log_likelihoods(self, texts: Sequence[str]) -> np.ndarray:
        """Return log P(text | speaker) (N, L); n-grams that no training speech has say nothing."""
        nothing = np.zeros(len(self.names))
        return np.array([sum((self._log_probs.get(n, nothing) for n in self._ngrams(t)), nothing) for t in texts])


def log_posteriors(log_likelihoods: np.ndarray, log_priors: np.ndarray, temperature: float) -> np.ndarray:
    """Return log P(speaker | text)."""
    logits = log_likelihoods / temperature + log_priors
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def figures(log_probs: np.ndarray, names: Sequence[str], speeches: Sequence[Speech]) -> tuple[float, float]:
    """Return accuracy and log loss in nats."""
    columns = np.array([names.index(speech.speaker) for speech in speeches])
    right = log_probs.argmax(axis=1) == columns
    return float(right.mean()), -float(np.take_along_axis(log_probs, columns[:, None], axis=1).mean())


def fitted_temperature(log_likelihoods: np.ndarray, log_priors: np.ndarray, names: list, speeches: list) -> float:
    """Return the temperature with the lowest log loss."""

    def loss_at(log_temperature: float) -> float:
        return figures(log_posteriors(log_likelihoods, log_priors, np.exp(log_temperature)), names, speeches)[1]

    return float(np.exp(golden_section_minimize(loss_at, 0.0, float(np.log(200)), tolerance=0.01)))


def best_naive_bayes(training: list[Speech], seed: int) -> tuple[NaiveBayes, str]:
    """Return naive Bayes with the order and smoothing that are best on a fifth of the training speeches."""
    fitted_on, chosen_on = divided(training, seed)
    tried = []
    for order in ORDERS:
        for smoothing in SMOOTHINGS:
            model = NaiveBayes(fitted_on, order=order, smoothing=smoothing)
            scores = model.log_likelihoods([speech.text for speech in chosen_on])
            temperature = fitted_temperature(scores, model.log_priors, model.names, chosen_on)
            accuracy, loss = figures(log_posteriors(scores, model.log_priors, temperature), model.names, chosen_on)
            tried.append((accuracy, -loss, order, smoothing, temperature))
    _, _, order, smoothing, temperature = max(tried)
    model = NaiveBayes(training, order=order, smoothing=smoothing)
    model.temperature = temperature
    return model, f"orders 1 to {order}, smoothing {smoothing:g}, T = {temperature:.1f}"


def train(speeches: Sequence[Speech], folder: Path, options: argparse.Namespace) -> charnn.LanguageModel:
    """Train one model of all speakers."""
    table = folder / "speeches.jsonl"
    table.write_text("".join(json.dumps(speech._asdict()) + "\n" for speech in speeches), encoding="utf-8")
    command = [sys.executable, "-m", "charnn", "train", str(table), "--column", "text", "--unit", "document"]
    command += ["-o", str(folder / "run"), "--minutes", str(options.minutes), *shlex.split(options.train_options)]
    subprocess.run([*command, *([] if options.no_labels else ["--label-from", "speaker"])], check=True)
    return charnn.load(folder / "run")


def samples_of(
    model: charnn.LanguageModel, names: Sequence[str], how: SampleOptions, options: argparse.Namespace
) -> list[Speech]:
    """Return samples of each speaker."""
    return [
        Speech(name, sample.text)
        for name in names
        for sample in model.sample(
            label=name,
            label_strength=how.label_strength,
            mix_ngram=how.mix_ngram,
            num_samples=options.num_samples,
            seed=1,
            until="unit",
            length=options.sample_length,
        )
    ]


def told_apart(pair: NaiveBayes, speeches: Sequence[Speech]) -> float:
    """Return the accuracy of naive Bayes with equal priors."""
    found = log_posteriors(pair.log_likelihoods([each.text for each in speeches]), 0 * pair.log_priors, 1.0)
    return figures(found, pair.names, speeches)[0]


def loss_of(model: charnn.LanguageModel, speeches: Sequence[Speech], how: SampleOptions) -> float:
    """Return the loss in nats per token of speeches with their labels, under the distribution that is sampled from."""
    tokenizer, total, num_tokens = model.tokenizer, 0.0, 0
    boundary = tokenizer.vocabulary.boundary_id
    for speech in speeches:
        labelled = with_label(model.models[0], speech.speaker)
        engine, mixture = Engine.of(labelled), read_sampling_mixture(labelled, how)
        read = [boundary, *tokenizer.encode(speech.text).tolist()]
        outputs_TBH, _ = engine.forward(np.array(read)[:, None], engine.initial_state())
        log_probs_TV = log_softmax(engine.logits(outputs_TBH))[:, 0]
        for time, target in enumerate([*read[1:], boundary]):
            log_probs = log_probs_TV[time]
            if mixture is not None:
                log_probs = mixture.log_distribution(log_probs, read[: time + 1])
            total -= float(log_probs[target])
        num_tokens += len(read)
    return total / num_tokens


def main() -> None:
    """Divide, train, classify and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("play")
    parser.add_argument("--minutes", type=float, default=2.5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--num-samples", type=int, default=100)
    parser.add_argument("--sample-length", type=int, default=300)
    parser.add_argument("--train-options", default="")
    parser.add_argument("--run", type=Path, help="do not train: a run that was trained so before")
    parser.add_argument("--no-labels", action="store_true", help="only train, to compare the validation loss")
    parser.add_argument("--naive-only", action="store_true")
    options = parser.parse_args()
    training, held_out = divided(speeches_of(Path(options.play).read_text(encoding="utf-8")), options.seed)
    texts = [speech.text for speech in held_out]
    num_chars = sum(len(speech.text) for speech in training)
    print(f"{len(training):,} training speeches ({num_chars:,} characters), {len(held_out):,} held out")
    counts = Counter(speech.speaker for speech in training)
    print(", ".join(f"{name} {number}" for name, number in counts.most_common()))
    naive, chosen = best_naive_bayes(training, options.seed)
    scores = naive.log_likelihoods(texts)
    prior = log_posteriors(np.zeros_like(scores), naive.log_priors, 1.0)
    rows = [
        ("majority (priors)", *figures(prior, naive.names, held_out)),
        (
            f"naive Bayes ({chosen})",
            *figures(log_posteriors(scores, naive.log_priors, naive.temperature), naive.names, held_out),
        ),
    ]
    if options.naive_only:
        print(rows)
        return
    with tempfile.TemporaryDirectory() as folder:
        model = train(training, Path(folder), options) if options.run is None else charnn.load(options.run)
        if options.no_labels:
            return
        for prior_name in ("counts", "uniform"):
            found = [each.probs for each in classify(model.models[0], texts, prior=prior_name)]
            names = list(model.labels)
            log_probs = np.log(np.array([[each[name] for name in names] for each in found]) + 1e-300)
            rows.append((f"charnn, Bayes (prior {prior_name})", *figures(log_probs, names, held_out)))
        results = model.models[0].config.results
        print(f"weights: network {results.label_network_weight:.3f}, n-grams {results.label_ngram_weight:.3f}")
        network = [
            each.probs for each in classify(model.models[0], texts, weights=(results.label_network_weight or 0.3, 0.0))
        ]
        log_probs = np.log(np.array([[each[name] for name in names] for each in network]) + 1e-300)
        rows.append(("charnn's network alone", *figures(log_probs, names, held_out)))
        pair_names = [name for name, _ in counts.most_common(2)]
        pair = NaiveBayes(
            [speech for speech in training if speech.speaker in pair_names], order=naive._order, smoothing=0.1
        )
        told = []
        for mix_ngram in (False, True):
            for strength in STRENGTHS:
                how = SampleOptions(mix_ngram=mix_ngram, label_strength=strength, label=pair_names[0])
                samples = samples_of(model, pair_names, how, options)
                told.append((how, told_apart(pair, samples), loss_of(model, held_out[::LOSS_STEP], how)))
        real = told_apart(pair, [speech for speech in held_out if speech.speaker in pair.names])
    print(f"{'':60}accuracy  log loss, nats")
    for name, accuracy, loss in rows:
        print(f"{name:60}{accuracy:8.1%}  {loss:.3f}")
    print(f"samples of {' and '.join(pair_names)}, told apart by naive Bayes; their held-out speeches: {real:.1%}")
    for how, accuracy, loss in told:
        name = "mixture" if how.mix_ngram else "network"
        print(f"{name}, --label-strength {how.label_strength:<28g}{accuracy:8.1%}  held-out loss {loss:.4f}")


if __name__ == "__main__":
    main()
