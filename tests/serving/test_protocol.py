"""The parts of OpenAI's protocol beyond the samples: usage, models, unsupported fields, methods."""

import json

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from charnn.inference import prompt
from charnn.inference.prompt import prefill
from charnn.sampling.jobs import Update
from charnn.serving import models
from charnn.serving.streams import _merged
from tests.serving.http_client import serving


@pytest.fixture(scope="module")
def client(_trained):
    with serving(_trained) as made:
        yield made


def refused(client, fields, path="/v1/completions"):
    reply = client.post(path, fields)
    error = reply.json()["error"]
    return reply.status, error["message"], error["param"]


@pytest.mark.parametrize("max_tokens", [0, 12])
def test_the_last_event_of_a_stream_has_its_usage_if_asked_for(client, max_tokens):
    fields = {"prompt": "The fox", "max_tokens": max_tokens, "n": 2, "echo": True, "stream": True}
    *parts, last, done = client.events("/v1/completions", {**fields, "stream_options": {"include_usage": True}})
    assert done == "[DONE]"
    assert all(json.loads(part)["usage"] is None for part in parts)
    assert json.loads(last)["choices"] == []
    assert json.loads(last)["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 2 * max_tokens,
        "total_tokens": 7 + 2 * max_tokens,
    }
    without = list(client.events("/v1/completions", {**fields, "stream_options": {"include_usage": False}}))
    assert not any("usage" in json.loads(event) for event in without[:-1])


@pytest.mark.parametrize(
    ("fields", "message", "param"),
    [
        (
            {"stream_options": {"include_usage": True}},
            'stream_options: needs "stream": true; add that, or leave stream_options out',
            "stream_options",
        ),
        (
            {"stream": True, "stream_options": 1},
            "stream_options: found 1, but it must be an object",
            "stream_options",
        ),
        ({"best_of": 5, "n": 2}, "best_of: found 5, but it must be an integer from 0 to 2", "best_of"),
        ({"suffix": "."}, 'suffix: found ".", but it is not supported; leave it out', "suffix"),
        ({"tools": [{}]}, "tools: found [{}], but it is not supported; leave it out", "tools"),
        ({"ignore_eos": True}, "ignore_eos: found true, but it is not supported; leave it out", "ignore_eos"),
        ({"temprature": 0}, "temprature: there is no such field; did you mean temperature", "temprature"),
        ({"max_tokens": 100_000, "n": 21}, "max_tokens: found 2,100,000 tokens for all samples", "max_tokens"),
        ({"prompt": ["The " * 125_001] * 2}, "prompt: found 1,000,008 tokens, but a request may have", "prompt"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_would_change_the_result_is_refused_by_name(client, fields, message, param):
    found = refused(client, fields)
    assert (found[0], found[2]) == (400, param)
    assert found[1].startswith(message)


def test_filters_that_clients_always_send_change_nothing(client):
    plain = {"prompt": "The", "max_tokens": 8, "seed": 3}

    def text_of(**fields):
        return client.post("/v1/completions", {**plain, **fields}).json()["choices"][0]["text"]

    assert text_of(top_p=1, min_p=0, top_k=-1) == text_of()
    assert text_of(temperature=0, top_p=0.5, top_k=3) == text_of(temperature=0)


def test_updates_that_wait_are_one_choice_of_an_event():
    first = Update(0, "ab", [1, 2], [-1.0, -2.0], [[(1, -1.0)], [(2, -2.0)]], 2)
    other = Update(1, "x", [5], [-5.0], [[(5, -5.0)]], 1)
    last = Update(0, "c", [3], [-3.0], [[(3, -3.0)]], 3, "length")
    merged = _merged([first, other, last])
    alternatives = [[(1, -1.0)], [(2, -2.0)], [(3, -3.0)]]
    assert merged == [Update(0, "abc", [1, 2, 3], [-1.0, -2.0, -3.0], alternatives, 3, "length"), other]
    assert first.text == "ab"


def test_a_field_that_is_no_name_is_refused_without_a_parameter(client):
    status, message, param = refused(client, {"\ud800 x": 1}, "/tokenize")
    assert (status, param) == (400, None)
    assert message == '"\\ud800 x": there is no such field; the fields are model, prompt, text'
    assert refused(client, {"texts": ["a"]}, "/v1/score")[1] == "texts: there is no such field; did you mean text"


def test_fields_without_effect_are_ignored(client):
    plain = {"prompt": "The", "max_tokens": 8, "seed": 3}
    harmless = {"user": "me", "metadata": {"a": 1}, "store": True, "best_of": 1, "suffix": "", "tools": [], "n": None}
    harmless |= {"ignore_eos": False, "min_tokens": 0, "skip_special_tokens": True, "length_penalty": 1}
    choices = [client.post("/v1/completions", each).json()["choices"] for each in (plain, {**plain, **harmless})]
    assert choices[0] == choices[1]


def test_one_model_is_shown_by_name(client):
    (listed,) = client.get("/v1/models").json()["data"]
    assert client.get(f"/v1/models/{listed['id']}").json() == listed
    missing = client.get("/v1/models/a/b")
    assert (missing.status, missing.json()["error"]["param"]) == (404, "model")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/v1/completions", "OPTIONS, POST"), ("/v1/models", "GET, HEAD, OPTIONS"), ("/", "GET, HEAD, OPTIONS")],
)
def test_other_methods_are_refused_with_those_that_are_allowed(client, path, allowed):
    for method in ("DELETE", "OPTIONS"):
        connection = client.connect()
        connection.request(method, path, headers={"host": "localhost"})
        response = connection.getresponse()
        content = response.read()
        assert response.headers["allow"] == allowed
        assert response.status == (204 if method == "OPTIONS" else 405)
        if method == "DELETE":
            expected = f"{path}: found the method DELETE, but it must be one of {allowed}"
            assert json.loads(content)["error"]["message"] == expected
        connection.close()


def test_head_returns_the_headers_alone(client):
    reply = client.ask("HEAD", "/v1/models")
    assert (reply.status, reply.text, reply.content_type) == (200, "", "application/json")
    assert client.ask("HEAD", "/v1/completions").status == 405


def test_the_states_of_the_last_prompts_are_kept(client, monkeypatch):
    read = []
    monkeypatch.setattr(prompt, "prefill", lambda *given, **more: read.append(1) or prefill(*given, **more))
    fields = {"prompt": "A tale of", "max_tokens": 9, "seed": 2}
    choices = [client.post("/v1/completions", fields).json()["choices"] for _ in range(2)]
    assert choices[0] == choices[1]
    assert len(read) == 1
    for number in range(models.MAX_KEPT_STATES):
        client.post("/v1/completions", {"prompt": "A" * (number + 1), "max_tokens": 1})
    assert client.post("/v1/completions", fields).json()["choices"] == choices[0]
    assert len(read) == 2 + models.MAX_KEPT_STATES


def test_choices_without_a_prompt_have_log_probabilities_of_their_own(client):
    fields = {"prompt": "", "echo": True, "logprobs": 2, "n": 3, "max_tokens": 4, "seed": 5}
    choices = client.post("/v1/completions", fields).json()["choices"]
    for choice in choices:
        assert [len(values) for values in choice["logprobs"].values()] == [4, 4, 4, 4]
        assert "".join(choice["logprobs"]["tokens"]) == choice["text"]


def test_an_expression_that_takes_long_to_compile_is_refused(client):
    refused = client.post("/v1/completions", {"prompt": "A", "match": "a" * 10_001})
    assert (refused.status, refused.json()["error"]["param"]) == (400, "match")
    assert client.post("/v1/completions", {"prompt": "A", "match": "[^z]*", "max_tokens": 2}).status == 200
