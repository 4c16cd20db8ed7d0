"""Whatever is sent to the server is answered or refused in one line: malformed JSON, wrong types, any Unicode."""

import http
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import bounded

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from charnn.serving import fields
from tests.serving.http_client import serving


@pytest.fixture(scope="module")
def client(_trained):
    with serving(_trained) as made:
        yield made


FIELDS = {
    "/v1/completions": sorted(fields.COMPLETION_FIELDS),
    "/v1/score": sorted(fields.SCORE_FIELDS),
    "/tokenize": ["model", "prompt", "text"],
    "/detokenize": ["model", "tokens"],
}
texts = st.text(st.characters(exclude_categories=()), max_size=20)
numbers = st.integers(-3, 6) | st.sampled_from([10**9, -(10**30), 10**400, 1e308]) | st.floats()
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
likely = {
    "prompt": st.sampled_from(["The", "", "The fox\n", "é", ["The", "A"], [2, 3], [[2], [3, 4]]]),
    "text": st.sampled_from(["The", "", ["A", ""], "\u0000"]),
    "tokens": st.lists(st.integers(0, 60), max_size=5),
    "model": st.sampled_from(["run", "other"]),
    "temperature": st.floats(0, 3),
    "stop": st.sampled_from(["e", ["a", " "], ["\\n", ""]]),
    "match": st.sampled_from(["[a-z ]*", "(", "a|b", "\\p{L}+", "\\"]),
    "logit_bias": st.dictionaries(st.integers(-1, 70).map(str), numbers, max_size=3),
    "until": st.sampled_from(["line", "sentence", "unit", "never"]),
    "on_unknown": st.sampled_from(["skip", "unk", "error"]),
    "stream_options": st.fixed_dictionaries({}, optional={"include_usage": st.booleans(), "x": json_values}),
    "log_base": st.sampled_from(["e", "2", "10", 2]),
    **dict.fromkeys(("stream", "echo", "mix_ngram", "bos", "eos"), st.booleans()),
}


@st.composite
def requests(draw):
    """A path and a body, most of whose fields have a value of a right type."""
    path = draw(st.sampled_from(sorted(FIELDS)))
    names = draw(st.lists(st.sampled_from(FIELDS[path]), max_size=6, unique=True))
    body = {
        name: draw(likely.get(name, st.integers(0, 3)) if draw(st.integers(0, 5)) else json_values) for name in names
    }
    if draw(st.integers(0, 9)) == 0:
        body[draw(texts | st.sampled_from(sorted({*fields.UNSUPPORTED, *fields.HARMLESS, "best_of"})))] = draw(
            json_values
        )
    if path == "/v1/completions":
        body.setdefault("max_tokens", 2)
    content = json.dumps(body, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:  # malformed
        cut, inserted = draw(st.integers(0, len(content))), draw(st.binary(max_size=6))
        content = content[:cut] + inserted + content[cut + draw(st.integers(0, 3)) :]
    return path, draw(st.binary(max_size=40) | st.just(content) | st.just(content))


def contents(kind, text):
    """Return the JSON values of a reply, of which a stream has several."""
    if not kind.startswith("text/event-stream"):
        return [text]
    *events, done, end = text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [event.removeprefix("data: ") for event in events]


@bounded(200, 20_000)
@given(requests())
def test_whatever_is_sent_is_answered_or_refused(client, caplog, sent):
    with caplog.at_level(logging.WARNING):
        reply = client.post(*sent)
    assert not caplog.records
    assert reply.status in (http.HTTPStatus.OK, http.HTTPStatus.BAD_REQUEST, http.HTTPStatus.NOT_FOUND), reply.text
    found = [
        json.loads(content, parse_constant=pytest.fail)  # Infinity and NaN are not JSON
        for content in contents(reply.content_type, reply.text)
    ]
    if reply.status == http.HTTPStatus.OK:
        assert not any("error" in content for content in found)
    else:
        assert set(found[0]["error"]) == {"message", "type", "param", "code"}
        assert "\n" not in found[0]["error"]["message"]
