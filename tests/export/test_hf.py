"""Exports for Hugging Face transformers: logits, text and scores are charnn's own."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import charnn
from charnn import api
from charnn.config import Architecture, TextOptions
from charnn.errors import ModelError
from charnn.inference.engine import Engine
from charnn.storage.model_directory import Model, read_model
from charnn.storage.tensor_file import Tensors
from charnn.text.tokenizers import Tokenizer, decode, load_tokenizer
from tests.conftest import ARCHITECTURES, FABLES, ramp_weights, trained_tokenizer
from tests.export.models import add_attention

pytestmark = pytest.mark.filterwarnings("ignore:::transformers", "ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small are fastest on one thread."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


transformers = pytest.importorskip("transformers", reason="needs transformers: pip install -e '.[clients]'")

from charnn.export import hf  # noqa: E402
from charnn.export.hf_tokenizer import make_fast_tokenizer  # noqa: E402

VOCAB_SIZE, NUM_TOKENS, BOS, PAD = 11, 14, 11, 13


def made_model(architecture: Architecture, weights: Tensors) -> Model:
    vocabulary = SimpleNamespace(boundary_id=1, unknown_id=0)
    tokenizer = SimpleNamespace(unit="stream", vocabulary=vocabulary)
    return SimpleNamespace(architecture=architecture, weights=weights, tokenizer=tokenizer)  # type: ignore[return-value]


def engine_logits(engine: Engine, ids_TB: np.ndarray) -> np.ndarray:
    outputs, _ = engine.forward(ids_TB, engine.initial_state(ids_TB.shape[1]))
    return engine.logits(outputs)


OTHERS = [
    pytest.param(Architecture("gru", 11, 6, 8, 2, tie_weights=True, embedding_order=3), id="gru-tied-ngrams"),
    pytest.param(
        Architecture("lstm", 11, 6, 8, 1, embedding_order=3, word_rows=29, word_codes=(-9, *range(1, 8), -3, 4, -2)),
        id="lstm-words",
    ),
    pytest.param(
        Architecture("gru", 11, 6, 8, 1, word_rows=29, word_codes=(-9, *range(1, 8), -3, 4, -2)), id="gru-words-alone"
    ),
    pytest.param(
        Architecture("depth-lstm", 11, 6, 8, 3, skip=2, initial_state="learned", embedding_order=2),
        id="depth-lstm-3-everything",
    ),
    pytest.param(Architecture("mlstm", 11, 6, 8, 2, skip=3), id="mlstm-skip"),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES + OTHERS)
def test_every_cell_has_the_engines_logits(architecture):
    """With and without padding on the left and on the right, and in two parts."""
    weights = ramp_weights(architecture)
    network = hf.make_network(made_model(architecture, weights), num_tokens=NUM_TOKENS, pad_token_id=PAD)
    ids_TB = np.random.default_rng(1).integers(0, VOCAB_SIZE, (24, 2))
    expected = torch.from_numpy(engine_logits(Engine(architecture, weights), ids_TB)).transpose(0, 1)
    ids_BT = torch.from_numpy(ids_TB.T.copy())
    with torch.no_grad():
        whole = network(ids_BT)
        first = network(ids_BT[:, :9])
        rest = network(ids_BT[:, 9:], state=first.state)
        padded, mask = torch.full((2, 31), PAD), torch.zeros(2, 31)
        padded[0, 7:], mask[0, 7:] = ids_BT[0], 1
        padded[1, :24], mask[1, :24] = ids_BT[1], 1
        both = network(padded, attention_mask=mask)
    assert whole.logits.shape == (2, 24, NUM_TOKENS)
    assert bool((whole.logits[..., VOCAB_SIZE:].exp() == 0).all())
    torch.testing.assert_close(whole.logits[..., :VOCAB_SIZE], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(rest.logits, whole.logits[:, 9:], rtol=0, atol=1e-5)
    torch.testing.assert_close(both.logits[0, 7:], whole.logits[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(both.logits[1, :24], whole.logits[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(both.state, whole.state, rtol=0, atol=1e-5)


@pytest.mark.parametrize("window", [2, 7, 200])
def test_attention_passes_over_padding_wherever_it_stands(window):
    """In texts of several blocks, read in three calls, in the second of which one text has padding only."""
    architecture = Architecture("gru", VOCAB_SIZE, 6, 8, 1, attention_window=window, attention_size=4)
    weights = ramp_weights(architecture)
    network = hf.make_network(made_model(architecture, weights), num_tokens=NUM_TOKENS, pad_token_id=PAD)
    generator = np.random.default_rng(5)
    ids, is_read = generator.integers(0, VOCAB_SIZE, (2, 400)), generator.random((2, 400)) < 0.7
    is_read[0, 290:300] = False
    is_read[:, -1] = [False, True]
    ids_BT, mask = torch.from_numpy(np.where(is_read, ids, PAD)), torch.from_numpy(is_read)
    parts, state = [], None
    with torch.no_grad():
        for part in (slice(0, 290), slice(290, 300), slice(300, 400)):
            output = network(ids_BT[:, part], attention_mask=mask[:, part], state=state)
            parts.append(output.logits[..., :VOCAB_SIZE])
            state = output.state
    logits_BTV = torch.cat(parts, 1)
    for text in (0, 1):
        engine = Engine(architecture, weights)
        outputs, (_, memory) = engine.forward(ids[text, is_read[text]][:, None], engine.initial_state())
        expected = torch.from_numpy(engine.logits(outputs)[:, 0])
        torch.testing.assert_close(logits_BTV[text, mask[text]], expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(logits_BTV[text, -1], expected[-1], rtol=0, atol=1e-5)  # padding or not
        for part, wanted in zip(state[1:], memory, strict=True):
            np.testing.assert_allclose(part[text], wanted[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("embedding_order", [1, 3])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_logits_stay_within_a_ten_thousandth_over_a_thousand_tokens(cell, embedding_order):
    architecture = Architecture(cell, VOCAB_SIZE, 6, 16, 1, embedding_order=embedding_order)
    weights = ramp_weights(architecture)
    network = hf.make_network(made_model(architecture, weights), num_tokens=NUM_TOKENS, pad_token_id=PAD)
    ids_TB = np.random.default_rng(2).integers(0, VOCAB_SIZE, (1000, 1))
    with torch.no_grad():
        logits = network(torch.from_numpy(ids_TB.T.copy())).logits[0, :, :VOCAB_SIZE]
    np.testing.assert_allclose(logits, engine_logits(Engine(architecture, weights), ids_TB)[:, 0], rtol=0, atol=1e-4)


def test_special_tokens_are_read_as_the_boundary_and_left_out_of_the_loss():
    architecture = Architecture("lstm", VOCAB_SIZE, 6, 8, 1, embedding_order=2)
    network = hf.make_network(
        made_model(architecture, ramp_weights(architecture)), num_tokens=NUM_TOKENS, pad_token_id=PAD
    )
    with torch.no_grad():
        begun, bare = network(torch.tensor([[BOS, 4]])), network(torch.tensor([[1, 4]]))
        ids = torch.tensor([[PAD, BOS, 4, 5]])
        loss = network(ids, attention_mask=(ids != PAD), labels=ids).loss
        log_probs = network(torch.tensor([[BOS, 4, 5]])).logits.log_softmax(-1)
    assert torch.equal(begun.logits, bare.logits)
    assert float(loss) == pytest.approx(-(float(log_probs[0, 0, 4]) + float(log_probs[0, 1, 5])) / 2, abs=1e-5)
    with pytest.raises(ValueError, match="the vocabulary of a charnn model is fixed at 14 tokens"):
        network.resize_token_embeddings(20)


def test_only_wanted_logits_are_computed():
    architecture = Architecture("gru", VOCAB_SIZE, 6, 8, 2)
    network = hf.make_network(
        made_model(architecture, ramp_weights(architecture)), num_tokens=NUM_TOKENS, pad_token_id=PAD
    )
    ids = torch.tensor([[1, 4, 5, 6]])
    with torch.no_grad():
        whole = network(ids, output_hidden_states=True)
        last = network(ids, logits_to_keep=1, use_cache=False, return_dict=False)
    assert [part.shape for part in whole.hidden_states] == [(1, 4, 6), (1, 4, 8), (1, 4, 8)]
    assert len(last) == 1
    torch.testing.assert_close(last[0], whole.logits[:, -1:], rtol=0, atol=1e-6)


@pytest.fixture
def exported(charnn, run):
    result = charnn("export", run, "--to", "hf", "-o", "small-hf")
    assert (result.status, result.out, result.err) == (0, "", "charnn: wrote small-hf\n")
    return Path("small-hf")


def opened(path: Path):
    import charnn.hf  # noqa: F401

    return transformers.AutoModelForCausalLM.from_pretrained(path), transformers.AutoTokenizer.from_pretrained(path)


def test_a_directory_has_all_that_it_needs(exported):
    names = {path.name for path in exported.iterdir()}
    code = {"attention_charnn.py", "configuration_charnn.py", "layers_charnn.py", "modeling_charnn.py"}
    data = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert names == code | data
    assert len({path.stat().st_mode for path in exported.iterdir()}) == 1
    imports = re.findall(
        r"^(?:from|import) (\S+)", "".join((exported / name).read_text() for name in code), re.MULTILINE
    )
    assert {name.split(".")[0] for name in imports} <= {
        "",
        "collections",
        "dataclasses",
        "torch",
        "transformers",
        "typing",
    }


def test_remote_code_and_charnns_own_are_the_same(exported, monkeypatch, tmp_path):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    remote = transformers.AutoModelForCausalLM.from_pretrained(exported, trust_remote_code=True)
    own, tokenizer = opened(exported)
    assert type(own).__module__ == "charnn.export.modeling_charnn"
    assert type(remote).__module__.startswith("transformers_modules.")
    inputs = tokenizer("The fox", return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(remote(**inputs).logits, own(**inputs).logits)


def test_a_saved_model_opens_again(exported):
    own, tokenizer = opened(exported)
    own.save_pretrained("again")
    again = transformers.AutoModelForCausalLM.from_pretrained("again")
    inputs = tokenizer("The fox", return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, own(**inputs).logits)


def test_greedy_text_is_the_commands_alone_and_in_a_batch(exported, run):
    network, tokenizer = opened(exported)
    model = charnn.load(run)
    prompts = ["The fox", "", "OLD MARROW: "]
    ids = network.generate(**tokenizer(prompts, return_tensors="pt", padding=True), max_new_tokens=40, do_sample=False)
    expected = [model.sample(prompt, length=40, greedy=True).text for prompt in prompts]
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == [
        prompt + text for prompt, text in zip(prompts, expected, strict=True)
    ]
    uncached = network.generate(
        **tokenizer("The fox", return_tensors="pt"), max_new_tokens=10, do_sample=False, use_cache=False
    )
    assert tokenizer.decode(uncached[0], skip_special_tokens=True) == "The fox" + expected[0][:10]


def test_beam_search_keeps_the_states_of_its_beams(exported, run):
    network, tokenizer = opened(exported)
    ids = network.generate(**tokenizer("The fox", return_tensors="pt"), max_new_tokens=12, num_beams=3)
    expected = charnn.load(run).sample("The fox", length=12, beam=3)
    assert tokenizer.decode(ids[0], skip_special_tokens=True) == str(expected)


def test_a_model_with_attention_writes_what_charnn_writes(run, charnn):
    add_attention(run)
    assert charnn("export", run, "--to", "hf", "-o", "small-hf").status == 0
    network, tokenizer = opened(Path("small-hf"))
    model = api.load(run)
    prompts = ["The fox", "OLD MARROW: "]
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    ids = network.generate(**inputs, max_new_tokens=30, do_sample=False)
    texts = [prompt + model.sample(prompt, length=30, greedy=True).text for prompt in prompts]
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == texts
    beams = network.generate(**tokenizer("The fox", return_tensors="pt"), max_new_tokens=12, num_beams=3)
    assert tokenizer.decode(beams[0], skip_special_tokens=True) == str(model.sample("The fox", length=12, beam=3))


def test_a_line_ends_where_charnn_ends_it(line_run, charnn):
    assert charnn("export", line_run, "--to", "hf", "-o", "lines-hf").status == 0
    network, tokenizer = opened(Path("lines-hf"))
    ids = network.generate(**tokenizer("ab", return_tensors="pt"), max_new_tokens=50, do_sample=False)
    sampled = charnn("sample", "ab", "-m", line_run, "--greedy", "-n", 50, "--until", "unit")
    assert tokenizer.decode(ids[0], skip_special_tokens=True).strip() == sampled.out.strip()
    assert ids[0, -1] == network.config.boundary_id


@pytest.mark.filterwarnings("ignore")
def test_minicons_has_the_scores_of_charnn(exported, run):
    scorer = pytest.importorskip("minicons.scorer", reason="needs minicons: pip install -e '.[clients]'")
    network, tokenizer = opened(exported)
    minicons = scorer.IncrementalLMScorer(network, "cpu", tokenizer=tokenizer)
    texts = ["The heron wrote it down.", "a Ω", "T"]
    model = charnn.load(run)
    for suffix, eos in (("", False), ("\n", True)):
        sums = minicons.sequence_score([text + suffix for text in texts], reduction=lambda scores: scores.sum().item())
        expected = [score.log_prob_nats for score in model.score(texts, eos=eos)]
        assert sums == pytest.approx(expected, abs=1e-3)


TEXT = FABLES.read_text(encoding="utf-8")
KINDS = [
    pytest.param(TextOptions(tokenizer="char"), id="char"),
    pytest.param(TextOptions(tokenizer="char", unit="document"), id="char-documents"),
    pytest.param(TextOptions(tokenizer="byte"), id="byte"),
    pytest.param(TextOptions(tokenizer="byte", unit="document"), id="byte-documents"),
    pytest.param(TextOptions(tokenizer="word"), id="word"),
    pytest.param(TextOptions(tokenizer="word", pretokenized=True), id="pretokenized"),
    pytest.param(TextOptions(tokenizer="word", pretokenized=True, unit="document"), id="pretokenized-documents"),
    pytest.param(TextOptions(tokenizer="subword", vocab_size=300), id="unigram"),
    pytest.param(TextOptions(tokenizer="subword", vocab_size=600, subword_model="bpe", unit="document"), id="bpe"),
]
ODD = [
    "",
    ' The  fox\t(and «the heron») said: "don\'t" -- 1,000.5 or 3.a... x--y /z_ ',
    "  a▁b▅ <unk> </s> <eos> \n </s> é e\u0301 \n\n 👩\u200d👩\u200d👧 🇩🇪 日本。語（x）\u00a0\x1c’tis",
]


def made(options: TextOptions, tokenizer: Tokenizer) -> Model:
    config = SimpleNamespace(asked=SimpleNamespace(text=options))
    return SimpleNamespace(path="m", tokenizer=tokenizer, config=config)  # type: ignore[return-value]


@pytest.mark.parametrize("options", KINDS)
def test_every_tokenizer_has_the_same_ids_and_text(options):
    tokenizer = trained_tokenizer(options, TEXT[:20_000] + ODD[1])
    fast = make_fast_tokenizer(made(options, tokenizer))
    vocab_size, boundary_id = len(tokenizer.vocabulary), tokenizer.vocabulary.boundary_id
    assert fast.bos_token_id == vocab_size
    assert fast.eos_token_id == (boundary_id if options.unit == "document" else vocab_size + 1)
    assert fast.pad_token_id == len(fast) - 1
    assert fast("ab").input_ids == [fast.bos_token_id, *tokenizer.encode("ab")]
    for text in (*ODD, TEXT[20_000:24_000]):
        ids = tokenizer.encode(text).tolist()
        assert fast(text, add_special_tokens=False).input_ids == ids, text
        if boundary_id not in ids or options.unit != "document":
            assert fast.decode(ids) == decode(tokenizer, ids)


def test_words_are_found_as_charnn_finds_them():
    """Any order of letters, marks of every class, spaces and invisible characters."""
    characters = "aB1é_ \n\t.,;-'’\"()[]$%¿»«“…\u200d\u200b\u0301\u00ad👩🇩🇪❤\ufe0f。（）日٣²#@/<>—\u2028\u00a0\x1c"
    generator = random.Random(3)
    texts = ["".join(generator.choices(characters, k=generator.randint(1, 12))) for _ in range(400)]
    texts = [
        text.replace("\ufe0f", "a\ufe0f").replace("\u0301", "e\u0301").replace("\u200d", "x\u200d") for text in texts
    ]
    tokenizer = trained_tokenizer(TextOptions(tokenizer="word", min_count=1), "\n".join(texts))
    fast = make_fast_tokenizer(made(TextOptions(tokenizer="word"), tokenizer))
    for text in texts:
        ids = tokenizer.encode(text).tolist()
        assert fast(text, add_special_tokens=False).input_ids == ids, ascii(text)
        assert fast.decode(ids) == text == decode(tokenizer, ids)


def test_what_cannot_be_exported_is_refused(run):
    model = read_model(run)
    target = Path("refused")

    def changed(**architecture: object) -> Model:
        return replace(model, architecture=replace(model.architecture, **architecture))

    with pytest.raises(ModelError, match="reads from right to left"):
        hf.write(changed(direction="backward"), target)
    with pytest.raises(ModelError, match="has the cell 'adder', whose code stands outside charnn"):
        hf.write(changed(cell="adder"), target)
    tokenizer = trained_tokenizer(TextOptions(tokenizer="word"), TEXT[:2000])
    files = tokenizer.files()
    old = {**json.loads(files["tokenizer.json"]), "format_version": 1}
    first = load_tokenizer("m", {"tokenizer.json": json.dumps(old).encode()})
    with pytest.raises(ModelError, match=r"m: finds word tokens by the rules of an earlier charnn .*format version 1"):
        make_fast_tokenizer(made(TextOptions(tokenizer="word"), first))
    assert not target.exists()
