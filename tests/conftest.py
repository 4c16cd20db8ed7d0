"""What several tests need: the command line run in this process, and a small model trained once."""

import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from charnn.cells import CELL_NAMES
from charnn.cells.parameters import expected_shapes
from charnn.cli.main import main
from charnn.config import Architecture, TextOptions
from charnn.storage.tensor_file import Tensors
from charnn.text.tokenizer_training import NumberedWords, WordCounts, make_word_tokenizer, set_counts, train_tokenizer
from charnn.text.tokenizers import Tokenizer

REPOSITORY = Path(__file__).parent.parent
FABLES = REPOSITORY / "corpora" / "fables.txt"


THOROUGH = "thorough"
settings.register_profile(THOROUGH, deadline=None)


def bounded(few: int, many: int) -> settings:
    """Return how many examples a property is tried on: few, or many with `pytest --hypothesis-profile thorough`."""
    is_thorough = settings.get_current_profile_name() == THOROUGH
    unwanted = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=many if is_thorough else few, deadline=None, suppress_health_check=unwanted)


@dataclass
class Result:
    """What a command did."""

    status: int
    out: str
    err: str


@pytest.fixture
def charnn(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run the command line through its entry point, in this process."""

    def run(*arguments: object) -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Result(int(exit_.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees or fills the user's cache, nor does a process that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARNN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _hangups_count() -> None:
    """Undo what nohup does: it lets hangups be ignored, by the tests and by the commands that they start."""
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test works in an empty directory, on a terminal of a known width."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


def train_quietly(directory: Path, text: str, *options: object) -> Path:
    """Train a small model in this process."""
    (directory / "text.txt").write_text(text, encoding="utf-8")
    run = directory / "run"
    arguments = [
        "train",
        directory / "text.txt",
        "-o",
        run,
        "--hidden-size",
        24,
        "--embedding-size",
        8,
        "--precision",
        "fp32",
    ]
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in (*arguments, *options)])
    assert exit_.value.code in (0, None)
    return run


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = FABLES.read_text(encoding="utf-8")[:12_000]
    return train_quietly(tmp_path_factory.mktemp("model"), text, "--steps", 120, "--batch-size", 8, "--bptt", 32)


@pytest.fixture
def run(_trained: Path, tmp_path: Path) -> Path:
    """A copy of a small character model that has learned a little English."""
    return Path(shutil.copytree(_trained, tmp_path / "runs" / "small"))


@pytest.fixture(scope="session")
def _trained_lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = "ab\nabb\nabbb\na\n" * 40
    return train_quietly(tmp_path_factory.mktemp("lines"), text, "--steps", 60, "--unit", "line", "--seed", 3)


@pytest.fixture
def line_run(_trained_lines: Path, tmp_path: Path) -> Path:
    """A copy of a model of short lines over the letters a and b."""
    return Path(shutil.copytree(_trained_lines, tmp_path / "runs" / "lines"))


VOICES = "who,text\n" + "".join(
    f"ANN,is the kettle on\nBEN,never mind the boat {number % 5}\n" + ("CYD,hm\n" if number % 4 == 0 else "")
    for number in range(60)
)
"""What three people say, of whom the third speaks rarely."""


@pytest.fixture(scope="session")
def _trained_voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ("--column", "text", "--label-from", "who", "--unit", "line", "--steps", 80, "--batch-size", 8)
    return train_quietly(tmp_path_factory.mktemp("voices"), VOICES, *options, "--dropout", 0, "--ngram-dropout", 0)


@pytest.fixture
def voices_run(_trained_voices: Path, tmp_path: Path) -> Path:
    """A copy of a model with the labels ANN, BEN and CYD."""
    return Path(shutil.copytree(_trained_voices, tmp_path / "runs" / "voices"))


def seeded(seed: int = 0) -> torch.Generator:
    """Return a generator of torch's, which what is random in training draws from."""
    return torch.Generator().manual_seed(seed)


def trained_tokenizer(options: TextOptions, text: str) -> Tokenizer:
    """Make a tokenizer from a text as training does."""
    if options.tokenizer != "word":
        tokenizer = train_tokenizer(options, lambda: iter([text]), seed=1)
        if tokenizer.kind == "subword":
            set_counts(tokenizer, np.bincount(tokenizer.encode(text), minlength=len(tokenizer.vocabulary)))
        return tokenizer
    words, counted = NumberedWords(pretokenized=options.pretokenized, unit=options.unit), WordCounts()
    counts = np.bincount(words.encode(text))
    counted.count(counted.numbers_of(words.named(np.arange(len(counts)))), counts)
    return make_word_tokenizer(options, counted.counts()).tokenizer


def ramp_weights(architecture: Architecture, scale: float = 0.4) -> Tensors:
    """Return weights that are the same on every machine: no random generator, no pinned output."""
    weights = {}
    for number, (name, shape) in enumerate(expected_shapes(architecture).items()):
        size = int(np.prod(shape))
        weights[name] = (scale * np.sin(0.7 * np.arange(size) + number)).astype(np.float32).reshape(shape)
    return weights


ARCHITECTURES = [
    pytest.param(
        Architecture(cell, 11, 6, 8, num_layers, mogrifier_rounds=5 * (cell == "mogrifier")), id=f"{cell}-{num_layers}"
    )  # type: ignore[arg-type]
    for cell in CELL_NAMES
    for num_layers in (1, 2)
]
ARCHITECTURES += [
    pytest.param(Architecture(cell, 11, 6, 8, 2, **options), id=f"{cell}-2-{'-'.join(options)}")  # type: ignore[arg-type]
    for cell, options in (
        ("lstm", {"embedding_order": 3}),
        ("gru", {"embedding_order": 3, "ngram_table_sizes": (31, 67)}),
        ("lstm", {"embedding_order": 3, "ngram_table_sizes": (31, 67), "ngram_vocab_size": 7}),
        ("rnn", {"skip": 3}),
        ("lstm", {"skip": 2}),
        ("gru", {"skip": 4, "residual": True}),
        ("depth-lstm", {"skip": 3, "residual": True}),
        ("rnn", {"nonlinearity": "relu"}),
        ("leaky", {"nonlinearity": "relu", "initial_state": "learned"}),
        ("mogrifier", {"mogrifier_rounds": 4, "mogrifier_rank": 3, "embedding_order": 2}),
        ("mingru", {"residual": True, "initial_state": "learned"}),
        ("lstm", {"tie_weights": True}),
        ("lstm", {"inputs": "one-hot", "initial_state": "learned"}),
        ("mogrifier", {"mogrifier_rounds": 2, "inputs": "one-hot"}),
        ("lstm", {"attention_window": 4, "attention_size": 3, "embedding_order": 3}),
        ("gru", {"attention_window": 3, "attention_size": 8, "tie_weights": True}),
        ("rnn", {"attention_window": 30, "attention_size": 2, "initial_state": "learned"}),
        ("leaky", {"attention_window": 2, "attention_size": 4}),
        ("depth-lstm", {"attention_window": 4, "attention_size": 3, "residual": True}),
        ("mingru", {"attention_window": 5, "attention_size": 5, "inputs": "one-hot"}),
    )
]
"""Every cell, with one layer and with two; and every option of theirs."""
