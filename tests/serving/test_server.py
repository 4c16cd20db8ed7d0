"""The HTTP application, by a client in the same process: what it answers, and what it refuses."""

import contextlib
import json
import math
import shutil
import threading
from pathlib import Path

import pytest

import charnn
from charnn.errors import ModelError

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from charnn.serving.access import Access
from charnn.serving.application import make_application
from charnn.serving.models import ServedModels
from tests.serving.http_client import running, serving


@pytest.fixture(scope="module")
def served(_trained, _trained_lines, tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    paths = [shutil.copytree(_trained, root / "fables"), shutil.copytree(_trained_lines, root / "lines")]
    models = ServedModels(paths, max_waiting=1000)
    yield models
    models.close()


@pytest.fixture(scope="module")
def client(served):
    with running(make_application(served)) as made:
        yield made


@pytest.fixture(scope="module")
def model(served):
    return charnn.load(served.by_name["fables"].path)


def completed(client, **fields):
    response = client.post("/v1/completions", fields)
    assert response.status == 200, response.text
    return response.json()


def refused(client, body, path="/v1/completions"):
    response = client.post(path, body)
    error = response.json()["error"]
    assert error["code"] == response.status
    assert "\n" not in error["message"]
    return response.status, error["message"], error["param"]


def test_a_completion_is_the_text_that_the_model_samples(client, model):
    for options in ({}, {"temperature": 0.5, "top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1, "repetition_penalty": 1.3}):
        reply = completed(client, prompt="The fox", max_tokens=40, seed=7, n=2, **options)
        expected = model.sample("The fox", num_samples=2, length=40, seed=7, **options)
        assert [choice["text"] for choice in reply["choices"]] == [sample.text for sample in expected]
        assert [choice["finish_reason"] for choice in reply["choices"]] == ["length", "length"]
        assert reply["usage"] == {"prompt_tokens": 7, "completion_tokens": 80, "total_tokens": 87}
    greedy = completed(client, prompt="The fox", max_tokens=30, temperature=0)["choices"][0]["text"]
    assert greedy == model.sample("The fox", length=30, greedy=True).text


def test_a_stream_has_the_same_text_and_ends_as_openai_ends_it(client):
    fields = {"prompt": "The fox", "max_tokens": 30, "seed": 3, "n": 3, "logprobs": 2, "echo": True}
    whole = completed(client, **fields)["choices"]
    texts, tokens, reasons = [""] * 3, [[], [], []], [None] * 3
    events = list(client.events("/v1/completions", {**fields, "stream": True}))
    assert events[-1] == "[DONE]"
    for event in events[:-1]:
        for choice in json.loads(event)["choices"]:
            texts[choice["index"]] += choice["text"]
            tokens[choice["index"]] += choice["logprobs"]["token_logprobs"]
            reasons[choice["index"]] = choice["finish_reason"] or reasons[choice["index"]]
    assert texts == [choice["text"] for choice in whole]
    assert tokens == [choice["logprobs"]["token_logprobs"] for choice in whole]
    assert reasons == ["length"] * 3


def test_the_log_probabilities_of_an_echoed_prompt_are_those_of_score(client, model):
    score = model.score("The heron wrote.", eos=False)
    reply = completed(client, prompt="The heron wrote.", max_tokens=0, echo=True, logprobs=3)
    (choice,) = reply["choices"]
    found = choice["logprobs"]
    assert found["token_logprobs"] == pytest.approx([token.log_prob_nats for token in score.tokens], abs=1e-5)
    assert choice["text"] == "".join(found["tokens"]) == "The heron wrote."
    assert found["text_offset"] == list(range(16))
    for token, log_prob, top in zip(found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True):
        assert len(top) == 3
        if token in top:
            assert top[token] == log_prob  # the same float: a client compares it with the largest
    assert reply["usage"]["completion_tokens"] == 0


@pytest.mark.parametrize("name", ["fables", "lines"])
def test_a_boundary_before_a_prompt_of_ids_is_the_context_that_it_has_anyway(client, served, name):
    tokenizer = served.by_name[name].tokenizer
    ids = tokenizer.encode("ab").tolist()
    opened = [tokenizer.vocabulary.boundary_id, *ids]
    fields = {"model": name, "max_tokens": 5, "seed": 1, "echo": True, "logprobs": 2}
    plain = completed(client, prompt=ids, **fields)["choices"][0]
    (choice,) = completed(client, prompt=opened, **fields)["choices"]
    assert choice["text"] == "\n" + plain["text"]
    assert choice["logprobs"]["token_logprobs"] == [None, *plain["logprobs"]["token_logprobs"]]
    assert choice["logprobs"]["top_logprobs"] == [None, *plain["logprobs"]["top_logprobs"]]
    assert choice["logprobs"]["text_offset"][:3] == [0, 1, 2]
    text = completed(client, prompt="\nab", **fields)["choices"][0]
    assert text["logprobs"]["token_logprobs"][0] is not None  # a newline of a text is one of its tokens


def test_the_boundary_that_ends_a_line_is_its_last_token(client):
    fields = {"model": "lines", "prompt": "ab", "max_tokens": 50, "seed": 1, "logprobs": 4}
    (choice,) = completed(client, **fields)["choices"]
    found = choice["logprobs"]
    assert choice["finish_reason"] == "stop"
    assert "".join(found["tokens"]) == choice["text"]
    assert found["tokens"][-1] == ""
    assert [len(values) for values in found.values()] == [len(found["tokens"])] * 4
    assert found["top_logprobs"][-1][""] == found["token_logprobs"][-1]
    assert found["text_offset"][-1] == len(choice["text"])
    *events, _ = client.events("/v1/completions", {**fields, "stream": True})
    streamed = [part for event in events for part in json.loads(event)["choices"]]
    assert [token for part in streamed for token in part["logprobs"]["tokens"]] == found["tokens"]


def test_unknown_tokens_of_an_echoed_prompt_keep_their_spelling(client, model):
    prompt = "The 慶fox 慶"
    (choice,) = completed(client, prompt=prompt, max_tokens=2, echo=True, logprobs=2, seed=1)["choices"]
    found = choice["logprobs"]
    assert choice["text"].startswith(prompt)
    assert "".join(found["tokens"]) == choice["text"]
    assert found["text_offset"] == list(range(len(prompt) + 2))
    assert found["token_logprobs"][:10] == pytest.approx(
        [token.log_prob_nats for token in model.score(prompt, eos=False).tokens], abs=1e-5
    )
    echoed = completed(client, prompt=prompt, max_tokens=2, echo=True, on_unknown="unk", seed=1)["choices"][0]["text"]
    assert echoed == choice["text"]
    skipped = completed(client, prompt=prompt, max_tokens=2, echo=True, on_unknown="skip", seed=1)["choices"][0]["text"]
    assert skipped.startswith("The fox ")


def test_generated_tokens_have_log_probabilities_and_alternatives(client):
    (choice,) = completed(client, prompt="The ", max_tokens=20, seed=1, logprobs=60)["choices"]
    found = choice["logprobs"]
    assert "".join(found["tokens"]) == choice["text"]
    for token, log_prob, top in zip(found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True):
        assert top[token] == log_prob
        assert sum(math.exp(each) for each in top.values()) == pytest.approx(1, abs=1e-4)


def test_prompts_may_be_several_and_ids(client, model):
    tokenizer = model.tokenizer
    ids = [tokenizer.encode(text).tolist() for text in ("The", "A fox")]
    by_text = completed(client, prompt=["The", "A fox"], max_tokens=10, seed=5)
    by_ids = completed(client, prompt=ids, max_tokens=10, seed=5)
    assert by_text["choices"] == by_ids["choices"]
    assert [choice["index"] for choice in by_text["choices"]] == [0, 1]
    assert completed(client, prompt=ids[0], max_tokens=10, seed=5)["choices"] == by_text["choices"][:1]


def test_stops_biases_and_units(client):
    stopped = completed(client, prompt="The", max_tokens=300, seed=2, stop=["e ", "\n"])["choices"][0]
    assert stopped["finish_reason"] == "stop"
    assert "e " not in stopped["text"]
    info = client.post("/tokenize", {"prompt": "z"}).json()
    only = completed(client, prompt="The", max_tokens=12, logit_bias={str(info["tokens"][0]): 100})["choices"][0]
    assert only["text"] == "z" * 12
    line = completed(client, model="lines", prompt="a", max_tokens=100, seed=1)["choices"][0]
    assert line["finish_reason"] == "stop"
    assert set(line["text"]) <= {"a", "b"}


def test_models_and_tokens_are_listed(client, served, model):
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == list(served.by_name)
    assert client.get("/health").json()["status"] == "ok"
    assert client.get("/tokenizer_info").json()["eos_token"] == "\n"
    tokens = client.post("/tokenize", {"prompt": "The fox"}).json()
    assert tokens["count"] == 7
    assert client.post("/detokenize", {"tokens": tokens["tokens"]}).json() == {"prompt": "The fox"}
    records = client.post("/v1/score", {"text": ["The fox.", "A"], "log_base": "2"}).json()["records"]
    expected = model.score("The fox.")
    assert records[0]["log_prob"] == pytest.approx(expected.log_prob_nats / math.log(2))
    assert [token["token"] for token in records[1]["tokens"]] == ["A", "\n"]


@pytest.mark.parametrize(
    ("body", "status", "start", "param"),
    [
        (b"{", 400, "the body is not JSON: ", None),
        (b"[1]", 400, "found [1], but the body must be a JSON object", None),
        ({"model": "nope"}, 404, 'model: found "nope", but this server has fables, lines', "model"),
        (
            {"max_tokens": 1.5},
            400,
            "max_tokens: found 1.5, but it must be an integer from 0 to 100000",
            "max_tokens",
        ),
        (b'{"temperature": 1' + b"0" * 400 + b"}", 400, "temperature: found 1000", "temperature"),
        (b'{"logit_bias": {"1": 1' + b"0" * 400 + b"}}", 400, "logit_bias: found ", "logit_bias"),
        (
            {"n": 100, "max_tokens": 100_000, "logprobs": 5},
            400,
            "logprobs: found 60,000,000 log probabilities",
            "logprobs",
        ),
        ({"temperature": "hot"}, 400, 'temperature: found "hot", but it must be a number', "temperature"),
        ({"temperature": True}, 400, "temperature: found true", "temperature"),
        ({"prompt": [["a"]]}, 400, 'prompt: found [["a"]], but it must be a string, token ids from 0 to', "prompt"),
        ({"prompt": [10**9]}, 400, "prompt: found [1000000000]", "prompt"),
        (
            {"prompt": "é"},
            400,
            "prompt: character 'é' (U+00E9) at position 1 is not in the model's vocabulary",
            "prompt",
        ),
        ({"stop": [1]}, 400, "stop: found [1], but it must be a string, or a list of at most 16 strings", "stop"),
        (
            {"logit_bias": {"x": 1}},
            400,
            'logit_bias: found {"x": 1}, but it must be an object of token ids',
            "logit_bias",
        ),
        ({"n": 129}, 400, "n: found 129, but it must be an integer from 1 to 128", "n"),
        ({"n": 128, "prompt": ["a"] * 3}, 400, "n: found 128 for 3 prompts", "n"),
        ({"top_k": 2, "match": "("}, 400, "match: ", "match"),
        ({"until": "unit"}, 400, "until unit: found", "until"),
        (
            b'{"prompt": "\\ud800"}',
            400,
            'prompt: found "\\ud800", but it must be text without lone surrogates',
            "prompt",
        ),
        (b" " * (9 << 20), 413, "the body is longer than 8,388,608 bytes", None),
    ],
)
def test_a_wrong_request_is_refused_in_one_line_that_names_the_field(client, body, status, start, param):
    found = refused(client, body)
    assert (found[0], found[2]) == (status, param)
    assert found[1].startswith(start)
    assert "--" not in found[1]


def test_a_prompt_alone_is_streamed_too(client):
    fields = {"prompt": ["The", "A"], "max_tokens": 0, "echo": True, "logprobs": 1}
    *events, done = client.events("/v1/completions", {**fields, "stream": True})
    assert done == "[DONE]"
    *echoed, last = [json.loads(event)["choices"] for event in events]
    assert [choice["finish_reason"] for choice in last] == ["length", "length"]
    wholes = completed(client, **fields)["choices"]
    assert [{**choice, "finish_reason": "length"} for (choice,) in echoed] == wholes


def test_the_log_probabilities_of_prompts_count_toward_the_limit(client):
    found = refused(client, {"prompt": "The " * 1000, "max_tokens": 0, "echo": True, "logprobs": 60, "n": 100})
    assert found[0] == 400
    assert found[1].startswith("logprobs: found 24,400,000 log probabilities to return")


def test_unknown_paths_and_methods_are_errors_of_the_same_shape(client):
    assert client.get("/v1/nothing").json()["error"]["code"] == 404
    assert client.get("/v1/completions").json()["error"]["code"] == 405


def test_the_key_and_the_host_are_checked(served):
    access = Access("secret", frozenset({"localhost"}))
    with running(make_application(served, access)) as client:
        assert client.get("/v1/models").status == 401
        assert client.get("/v1/models", authorization="Bearer wrong").status == 401
        assert client.get("/v1/models", authorization="Bearer secret").status == 200
        assert client.get("/health").status == 200
        assert client.get("/health", host="evil.example").status == 403
        key = {"authorization": "Bearer secret"}
        assert client.get("/v1/models", origin="http://localhost:8000", **key).status == 200
        assert client.get("/v1/models", origin="http://evil.example", **key).status == 403
        assert client.get("/v1/models", **{"sec-fetch-site": "cross-site"}, **key).status == 403


def test_streams_of_several_clients_are_the_same_as_alone(client):
    alone = {seed: completed(client, prompt="The", max_tokens=60, seed=seed)["choices"] for seed in range(8)}
    together = {}

    def ask(seed):
        together[seed] = completed(client, prompt="The", max_tokens=60, seed=seed)["choices"]

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_a_client_that_goes_away_frees_its_stream(client, served):
    generation = served.by_name["fables"].generation
    events = client.events("/v1/completions", {"prompt": "T", "max_tokens": 100_000, "stream": True})
    next(events)
    assert generation.num_streams == 1
    events.close()
    for _ in range(200):
        if not generation.num_streams:
            break
        threading.Event().wait(0.02)
    assert generation.num_streams == 0


def test_a_model_whose_directory_is_gone_is_served_on(run):
    with serving(run) as client:
        shutil.rmtree(run)
        assert client.get("/v1/models").status == 200
        assert completed(client, prompt="The", max_tokens=3)["usage"]["completion_tokens"] == 3


def test_a_directory_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ModelError):
        ServedModels([tmp_path], max_waiting=1)


def test_models_of_one_name_are_told_apart_by_their_paths(run, tmp_path, monkeypatch):
    shutil.copytree(run, tmp_path / "one" / "same")
    shutil.copytree(run, tmp_path / "same")
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(ServedModels([Path("one/same"), Path("same")], max_waiting=1)) as models:
        assert list(models.by_name) == ["same", str(tmp_path / "same")]
