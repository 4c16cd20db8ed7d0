"""The server, by OpenAI's Python client."""

import contextlib
import json
import time
import urllib.request

import pytest

pytest.importorskip("openai", reason="needs the extra clients: pip install -e '.[clients]'")

import openai

import charnn
from charnn.serving.application import Access, make_application
from charnn.serving.models import ServedModels
from tests.serving.http_client import running


@pytest.fixture(scope="module")
def client(served):
    with openai.OpenAI(base_url=f"{served.address}/v1", api_key="none needed", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def model(served):
    return charnn.load(served.models["fables"])


def test_models_are_listed_and_retrieved(client, served):
    listed = client.models.list().data
    assert [each.id for each in listed] == list(served.models)
    assert {each.object for each in listed} == {"model"}
    assert [each.created for each in listed] == [
        int((path / "model.safetensors").stat().st_mtime) for path in served.models.values()
    ]


def test_a_completion_is_the_models_sample(client, model):
    reply = client.completions.create(
        model="fables", prompt="The fox", max_tokens=30, temperature=0.8, top_p=0.9, seed=7, n=2
    )
    expected = model.sample("The fox", length=30, temperature=0.8, top_p=0.9, seed=7, num_samples=2)
    assert [choice.text for choice in reply.choices] == [sample.text for sample in expected]
    assert [(choice.index, choice.finish_reason) for choice in reply.choices] == [(0, "length"), (1, "length")]
    assert (reply.object, reply.model) == ("text_completion", "fables")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (7, 60, 67)


def test_every_field_has_its_effect(client, model):
    fields = {"max_tokens": 25, "temperature": 1.3, "seed": 4, "presence_penalty": 0.5, "frequency_penalty": 0.7}
    given = {"length": 25, **{name: fields[name] for name in fields if name != "max_tokens"}}
    penalized = client.completions.create(model="fables", prompt="The fox", **fields, top_p=0.95)
    assert penalized.choices[0].text == model.sample("The fox", **given, top_p=0.95).text
    e = model.tokenizer.encode("e").item()
    biased = client.completions.create(model="fables", prompt="The fox", **fields, logit_bias={str(e): 3.5}, user="me")
    assert biased.choices[0].text == model.sample("The fox", **given, logit_bias=["e=3.5"]).text
    ended = client.completions.create(
        model="fables", prompt=["The fox", "A hen"], max_tokens=300, stop=["e", "."], seed=2
    )
    assert [choice.finish_reason for choice in ended.choices] == ["stop", "stop"]
    assert ended.choices[0].text == model.sample("The fox", length=300, stop=["e", "."], seed=2).text
    ours = {"top_k": 5, "min_p": 0.05, "repetition_penalty": 1.4}
    extended = client.completions.create(model="fables", prompt="The fox", max_tokens=25, seed=4, extra_body=ours)
    assert extended.choices[0].text == model.sample("The fox", length=25, seed=4, **ours).text


def test_a_prompt_of_ids_is_that_of_their_text(client, model):
    ids = model.tokenizer.encode("The fox").tolist()
    for prompt in (ids, [ids]):
        reply = client.completions.create(model="fables", prompt=prompt, max_tokens=20, seed=3)
        assert reply.choices[0].text == model.sample("The fox", length=20, seed=3).text


def test_echo_and_logprobs_are_those_of_score(client, model):
    reply = client.completions.create(model="fables", prompt="The fox", max_tokens=3, echo=True, logprobs=4, seed=1)
    (choice,) = reply.choices
    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.text_offset == list(range(10))
    expected = [token.log_prob_nats for token in model.score(choice.text, eos=False).tokens]
    assert choice.logprobs.token_logprobs == pytest.approx(expected, abs=1e-5)
    assert {len(top) for top in choice.logprobs.top_logprobs} == {4}
    assert reply.usage.completion_tokens == 3


def test_a_stream_has_the_text_of_a_whole_reply(client):
    fields = {"model": "fables", "prompt": "The fox", "max_tokens": 30, "seed": 5, "n": 2, "logprobs": 1, "echo": True}
    whole = client.completions.create(**fields)
    texts, reasons, num_parts = ["", ""], [None, None], 0
    with client.completions.create(**fields, stream=True) as parts:
        for part in parts:
            num_parts += 1
            for choice in part.choices:
                texts[choice.index] += choice.text
                reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert num_parts > 2
    assert texts == [choice.text for choice in whole.choices]
    assert reasons == ["length", "length"]


def test_a_stream_that_is_closed_ends_the_sample(client, served):
    def samples_in_progress():
        with urllib.request.urlopen(f"{served.address}/health") as reply:
            return json.load(reply)["samples"]["fables"]

    stream = client.completions.create(model="fables", prompt="The", max_tokens=100_000, stream=True)
    assert next(iter(stream)).choices[0].text
    assert samples_in_progress() == 1
    stream.close()
    deadline = time.monotonic() + 30
    while samples_in_progress() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert samples_in_progress() == 0


@pytest.mark.parametrize(
    ("fields", "kind", "param", "message"),
    [
        ({"temperature": -1}, openai.BadRequestError, "temperature", "found -1, but it must be at least 0"),
        ({"max_tokens": -5}, openai.BadRequestError, "max_tokens", "found -5, but it must be an integer"),
        ({"prompt": "The 慶"}, openai.BadRequestError, "prompt", "character '慶' (U+6176) at position 5"),
        ({"model": "gpt"}, openai.NotFoundError, "model", 'found "gpt", but this server has'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_errors_are_the_packages_exceptions(client, fields, kind, param, message, stream):
    with pytest.raises(kind) as raised:
        client.completions.create(**{"model": "fables", "prompt": "The", "max_tokens": 5, **fields}, stream=stream)
    assert message in raised.value.body["message"]
    assert (raised.value.param, raised.value.type) == (param, "invalid_request_error")


def test_a_wrong_key_and_a_full_server_have_exceptions_of_their_own(served):
    models = ServedModels([served.models["fables"]], max_waiting=1)
    with contextlib.closing(models), running(make_application(models, Access(key="secret"))) as own:
        address = f"http://127.0.0.1:{own.port}/v1"
        with openai.OpenAI(base_url=address, api_key="wrong") as client, pytest.raises(openai.AuthenticationError):
            client.models.list()
        with openai.OpenAI(base_url=address, api_key="secret", max_retries=0) as client:
            assert [each.id for each in client.models.list()] == ["fables"]
            with contextlib.ExitStack() as streams, pytest.raises(openai.RateLimitError, match="try again later"):
                for _ in range(5):
                    fields = {"model": "fables", "prompt": "The", "max_tokens": 10_000, "n": 128}
                    streams.enter_context(client.completions.create(**fields, stream=True))
