"""A prompt in two parts gives what it gives as a whole, wherever it is split."""

import contextlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.config import SampleOptions
from charnn.inference.build import build_stepper
from charnn.inference.prompt import prefill, stable_beginning
from charnn.inference.prompt_state import save_prompt_state
from charnn.sampling.build import Prompts, sample_requests
from charnn.sampling.interactive import InteractiveWriter
from charnn.sampling.sampler import Sampler
from charnn.sampling.stream_sampler import StreamSampler
from charnn.sampling.streams import SampleRequest
from charnn.storage.checkpoint import packed_tensors, read_tensors
from charnn.storage.model_directory import read_model
from charnn.text.tokenizers import decode
from tests.conftest import FABLES, bounded, train_quietly

KINDS = {
    "char": (),
    "byte": (),
    "word": (),
    "subword": ("--vocab-size", 200),
}
ANYWHERE = bounded(60, 425)  # the thorough profile makes 3 x 4 x 425 splits
OTHER_SCRIPTS = "e\u0301a\u0308 日本。はい」 👩\u200d👧 ❤\ufe0f می\u200cخواهم، \t  \u3000é\n" * 5


@pytest.fixture(scope="module", params=KINDS)
def model(request, tmp_path_factory):
    text = FABLES.read_text(encoding="utf-8")[:12_000] + OTHER_SCRIPTS
    options = ("--tokenizer", request.param, "--steps", 2, *KINDS[request.param])
    with contextlib.redirect_stderr(io.StringIO()):  # the samples of bytes are no text, which pytest-xdist cannot send
        return read_model(train_quietly(tmp_path_factory.mktemp(request.param), text, *options))


def texts_of(model):
    """Texts of the model's own tokens, and such as the corpus has."""
    words = [
        "The",
        "river",
        "é",
        "e",
        "\u0301",
        "日本",
        "本。",
        "👩",
        "\u200d",
        "می",
        "\u200c",
        "，",
        "▁",
        "\t",
        " ",
        "  ",
        "\n",
        "\n\n",
        ",",
        ". ",
        "heron",
        " fox",
        "ri",
        "ver",
        "!",
    ]
    return st.lists(st.sampled_from(words), max_size=8).map("".join)


OPTIONS = SampleOptions(on_unknown="unk", length=5)


def state_of(model, stepper, text, after=None):
    return next(Prompts(model, stepper, [text], OPTIONS, after=after).states())


@ANYWHERE
@given(data=st.data())
def test_a_saved_prompt_and_its_continuation_are_the_whole_prompt(model, tmp_path, data):
    text = data.draw(texts_of(model))
    place = data.draw(st.integers(0, len(text)))
    stepper = build_stepper(model, weights="fp32", device="cpu")
    Prompts(model, stepper, [text[:place]], OPTIONS).save(tmp_path / "state")
    parts, whole = state_of(model, stepper, text[place:], tmp_path / "state"), state_of(model, stepper, text)
    assert parts.ids == whole.ids
    np.testing.assert_allclose(parts.logits, whole.logits, atol=1e-5)


@ANYWHERE
@given(data=st.data())
def test_the_stable_beginning_has_the_same_tokens_whatever_follows(model, data):
    first, second = data.draw(texts_of(model)), data.draw(texts_of(model))
    beginning = stable_beginning(model.tokenizer, first)
    ids = model.tokenizer.encode(beginning).tolist()
    assert first.startswith(beginning)
    assert model.tokenizer.encode(first + second).tolist()[: len(ids)] == ids


@ANYWHERE
@given(data=st.data())
def test_text_typed_in_turns_is_the_whole_text(model, data):
    prompt, turns = data.draw(texts_of(model)), data.draw(st.lists(texts_of(model), min_size=1, max_size=3))
    stepper = build_stepper(model, weights="fp32", device="cpu")
    prompts = Prompts(model, stepper, [prompt], OPTIONS)
    request = SampleRequest(next(prompts.states()), 1, prompts.whole_text)
    writer = InteractiveWriter(stepper, model.tokenizer, request, OPTIONS)
    before = writer.alternatives(5)
    for turn in turns:
        writer.insert(turn)
    text = "".join((prompt, *turns))
    ids = model.tokenizer.encode(text)
    assert writer._place().all_ids == ids.tolist()
    np.testing.assert_allclose(writer._logits, prefill(stepper, model.tokenizer, ids).logits, atol=1e-5)
    if decode(model.tokenizer, ids) == text:  # no token is unknown
        assert prompts.texts[0] + writer.text == text
    writer.undo(len(turns))
    assert (writer.text, writer.alternatives(5)) == ("", before)


@ANYWHERE
@given(data=st.data())
def test_the_pieces_that_are_streamed_are_the_text_of_the_tokens(model, data):
    stepper = build_stepper(model, weights="fp32", device="cpu")
    ending = data.draw(st.sampled_from([{}, {"until": "sentence"}, {"until": "line"}, {"stop": ("e", "日")}]))
    num_samples = data.draw(st.integers(1, 3))
    options = SampleOptions(length=data.draw(st.integers(1, 25)), temperature=9.0, num_samples=num_samples, **ending)
    prompts = Prompts(model, stepper, [data.draw(texts_of(model))], replace(options, on_unknown="unk"))
    requests = list(sample_requests(prompts, options, data.draw(st.integers(0, 1 << 30))))
    pieces, samples = [""] * num_samples, {}
    for number, piece, samples[number] in Sampler(StreamSampler(stepper, model.tokenizer, options)).generate(requests):
        pieces[number] += piece
    before = requests[0].prompt_state.ids[1:]
    for number, sample in samples.items():
        whole = decode(model.tokenizer, [*before, *sample.ids]).removeprefix(decode(model.tokenizer, before))
        assert pieces[number] == sample.text
        assert whole.startswith(sample.text)
        assert sample.text == whole or sample.ended in ("stop", "sentence", "line")


def test_a_prompts_last_space_is_generated_with_the_next_word(model):
    stepper = build_stepper(model, weights="fp32", device="cpu")
    prompts = Prompts(model, stepper, ["The river "], OPTIONS)
    brings_spaces = model.tokenizer.kind in ("word", "subword")
    assert prompts.texts == ["The river" if brings_spaces else "The river "]
    same = state_of(model, stepper, "The river") if brings_spaces else state_of(model, stepper, "The river ")
    assert next(prompts.states()).ids == same.ids


def test_states_of_older_versions_are_continued(model, tmp_path):
    stepper = build_stepper(model, weights="fp32", device="cpu")
    save_prompt_state(tmp_path / "new", model, state_of(model, stepper, "The river"), text="The river")
    tensors, header = read_tensors(tmp_path / "new")
    del header["text"]
    Path(tmp_path / "old").write_bytes(b"".join(packed_tensors(tensors, header)))
    ids = state_of(model, stepper, "\nThe fox", tmp_path / "old").ids
    assert ids == state_of(model, stepper, "The river\nThe fox").ids
