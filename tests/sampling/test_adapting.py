import numpy as np
import pytest

from charnn.config import SampleOptions
from charnn.errors import OptionError
from charnn.inference.engine import log_softmax
from charnn.inference.prompt import prefill
from charnn.inference.stepper import stepper_for
from charnn.ngrams.adaptive_model import AdaptiveModel
from charnn.sampling.adapting import AdaptedPrompts
from charnn.sampling.interactive import InteractiveWriter
from charnn.sampling.sampler import Sampler
from charnn.sampling.stream_sampler import StreamSampler
from charnn.sampling.streams import SampleRequest
from charnn.storage.adaptation import contexts_of
from tests.sampling.test_sampler import LETTERS, LINES, engine_for

PROMPT = "abcaabcaabcaabcaabca"


def adapted_for(tokenizer):
    engine = engine_for(tokenizer)
    stepper = stepper_for(engine, engine.initial_state())
    families, experts = contexts_of(tokenizer)
    model = AdaptiveModel(families, experts, [None] * len(families), len(tokenizer.vocabulary))
    return stepper, AdaptedPrompts(model, stepper)


def texts(seeds, tokenizer=LETTERS, prompt=PROMPT, **options):
    stepper, adapted = adapted_for(tokenizer)
    streams = StreamSampler(stepper, tokenizer, SampleOptions(length=40, adapt=True, **options), adapted=adapted)
    start = prefill(stepper, tokenizer, tokenizer.encode(prompt))
    found = {}
    for number, _, sample in Sampler(streams).generate([SampleRequest(start, seed) for seed in seeds]):
        found[number] = sample.text
    return [found[number] for number in sorted(found)]


def network_after(ids):
    """Return the log probabilities (V,) by the network alone after a prompt."""
    engine = engine_for(LETTERS)
    stepper = stepper_for(engine, engine.initial_state())
    return log_softmax(prefill(stepper, LETTERS, np.array(ids)).logits)[0]


def writer_for(prompt, **options):
    stepper, adapted = adapted_for(LETTERS)
    start = prefill(stepper, LETTERS, LETTERS.encode(prompt))
    made = SampleOptions(adapt=True, **options)
    return InteractiveWriter(stepper, LETTERS, SampleRequest(start, 1), made, adapted=adapted)


def probs(writer):
    return dict(writer.alternatives(5))


@pytest.mark.parametrize("tokenizer", [LETTERS, LINES], ids=["stream", "line"])
def test_a_sample_depends_on_its_seed_alone_and_not_on_others_beside_it(tokenizer):
    together = texts(range(6), tokenizer)
    assert together == [texts([seed], tokenizer)[0] for seed in range(6)]
    assert len(set(together)) > 1


def test_a_prompt_is_learned_from():
    a, b = LETTERS.vocabulary.ids["a"], LETTERS.vocabulary.ids["b"]
    after_long = probs(writer_for(PROMPT + "a"))
    assert after_long[b] > network_after(LETTERS.encode(PROMPT + "a"))[b] + 0.3
    assert after_long[b] > after_long[a]
    (greedy,) = texts([1], prompt=PROMPT * 3, greedy=True)
    assert greedy.startswith("abcaabca")


def test_what_is_drawn_is_what_the_mixture_says():
    a_reader = adapted_for(LETTERS)[1]
    stepper, _ = adapted_for(LETTERS)
    start = prefill(stepper, LETTERS, LETTERS.encode("abca"))
    mixed = a_reader.reader(start).predict(log_softmax(start.logits)[0])
    assert probs(writer_for("abca")) == pytest.approx(
        {id: nats for id, nats in enumerate(mixed) if id != LETTERS.vocabulary.unknown_id}, abs=1e-6
    )
    assert np.exp(mixed).sum() == pytest.approx(1, abs=1e-9)


def test_what_the_user_brings_is_learned_and_what_is_undone_is_unlearned():
    writer = writer_for("a")
    before = probs(writer)
    writer.insert(PROMPT[1:] + "a")
    learned = probs(writer)
    assert learned == pytest.approx(probs(writer_for(PROMPT + "a")), abs=1e-4)
    writer.run(5)
    writer.undo()
    assert probs(writer) == pytest.approx(learned, abs=1e-12)
    writer.undo()
    assert probs(writer) == pytest.approx(before, abs=1e-12)


def test_less_is_learned_from_what_was_drawn():
    given, drawn = writer_for("a"), writer_for("a", greedy=True)
    drawn.run(6)
    for character in drawn.text:
        given.take(LETTERS.vocabulary.ids[character])
    assert given.text == drawn.text
    assert probs(given) != pytest.approx(probs(drawn), abs=1e-3)


@pytest.mark.parametrize(
    ("options", "other"),
    [
        ({"mix_ngram": True}, "--mix-ngram"),
        ({"beam": 2}, "--beam"),
        ({"forecast": True}, "--forecast"),
        ({"label": "A", "label_strength": 0.3}, "--label-strength"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_it_cannot_be_combined_with_is_said(options, other):
    with pytest.raises(OptionError, match=f"{other}: cannot be combined with --adapt"):
        SampleOptions(adapt=True, **options)
