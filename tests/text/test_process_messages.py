"""Messages arrive as they were sent, and nothing but messages is read."""

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.text.process_messages import DTYPES, Message, MessageError, read_message, write_message


def received(message):
    file = io.BytesIO()
    write_message(file, message)
    file.seek(0)
    result = read_message(file)
    assert file.read() == b""
    return result


def raw(header, content=b""):
    """Return a message with this header."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return io.BytesIO(len(encoded).to_bytes(4, "little") + encoded + content)


ANY_TEXT = st.text(st.characters() | st.characters(categories=["Cs"]))


@given(st.lists(ANY_TEXT))
def test_texts_of_any_characters_arrive_as_they_were_sent(texts):
    assert received(Message("texts", {}, [texts])).parts == [texts]


def test_two_halves_of_a_character_stay_two():
    """UTF-16 and JSON would make one character of them."""
    (texts,) = received(Message("texts", {}, [["\ud83d\ude00", "\ud83d", "\ude00", "\U0001f600"]])).parts
    assert list(map(len, texts)) == [2, 1, 1, 1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0,), (5,), (2, 3), (0, 3), ()], ids=str)
def test_arrays_arrive_as_they_were_sent(dtype, shape):
    values = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    (array,) = received(Message("array", {}, [values])).parts
    assert array.dtype == values.dtype
    assert array.shape == values.shape
    assert array.tolist() == values.tolist()


def test_other_orders_of_bytes_and_strides_are_copied():
    values = np.arange(12, dtype=">u4").reshape(3, 4).T[::2]
    (array,) = received(Message("array", {}, [values])).parts
    assert array.dtype == np.dtype("uint32")
    assert array.tolist() == values.tolist()


def test_parts_come_in_order_with_the_facts():
    message = received(Message("all", {"a": [1, 2], "b": "\udc80"}, [["x"], np.array([7], dtype=np.int64), []]))
    assert message.kind == "all"
    assert message.facts == {"a": [1, 2], "b": "\udc80"}
    assert [list(part) for part in message.parts] == [["x"], [7], []]


@pytest.mark.parametrize("array", [np.array([object()]), np.array(["a"]), np.zeros(2)], ids=["object", "str", "float"])
def test_arrays_of_other_types_are_not_sent(array):
    file = io.BytesIO()
    with pytest.raises(MessageError, match=f"found an array of {array.dtype.name}; it can be of uint8"):
        write_message(file, Message("array", {}, [array]))
    assert file.getvalue() == b""


@pytest.mark.parametrize(
    ("header", "content"),
    [
        (b"\x80\x05a pickle", b""),
        (b"[1]", b""),
        ({"kind": "a", "facts": {}}, b""),
        ({"kind": "a", "facts": {}, "parts": [{"dtype": "object", "shape": [1]}]}, bytes(8)),
        ({"kind": "a", "facts": {}, "parts": [{"dtype": "uint8", "shape": [-1]}]}, bytes(8)),
        ({"kind": "a", "facts": {}, "parts": [{"dtype": "uint8", "shape": ["1"]}]}, bytes(8)),
        ({"kind": "a", "facts": {}, "parts": [{"num_texts": 1, "num_bytes": 1}]}, bytes([2] + 7 * [0]) + b"a"),
        ({"kind": "a", "facts": {}, "parts": [{"num_texts": 1, "num_bytes": 1}]}, bytes([1] + 7 * [0]) + b"\xff"),
        (
            {"kind": "a", "facts": {}, "parts": [{"num_texts": 2, "num_bytes": 1}]},
            8 * b"\xff" + bytes([2] + 7 * [0]) + b"a",
        ),
    ],
    ids=["pickle", "no object", "no parts", "dtype", "negative", "no number", "length", "UTF-8", "negative length"],
)
def test_what_is_no_message_is_refused(header, content):
    with pytest.raises(MessageError):
        read_message(raw(header, content))


def test_a_message_that_is_cut_short_is_an_end_of_the_file():
    file = io.BytesIO()
    write_message(file, Message("all", {}, [["text"], np.arange(3, dtype=np.uint8)]))
    whole = file.getvalue()
    for length in range(len(whole)):
        with pytest.raises(EOFError, match=r"found \d+ of \d+ bytes"):
            read_message(io.BytesIO(whole[:length]))
