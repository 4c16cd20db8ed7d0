import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.sampling.stopping import Ending


def cut(text, stops=(), until=None, prompt="", sizes=(1,)):
    """Feed a text in pieces; return what was released, and why it ended."""
    ending, released, place, turn = Ending(stops, until, prompt), "", 0, 0
    while place < len(text):
        size = sizes[turn % len(sizes)]
        fresh, ended = ending.push(text[place : place + size])
        released += fresh
        if ended:
            return released, ended
        place, turn = place + size, turn + 1
    return released + ending.flush(), None


sizes = st.lists(st.integers(1, 5), min_size=1, max_size=4)


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3), sizes)
def test_a_text_is_cut_before_its_first_stop_however_it_comes(text, stops, sizes):
    released, ended = cut(text, stops, sizes=sizes)
    if any(stop in text for stop in stops):
        assert ended == "stop"
        assert released in {text[: text.find(stop)] for stop in stops if stop in text}
        assert not any(stop in released for stop in stops)
    else:
        assert (released, ended) == (text, None)


SENTENCES = [
    ("He came. He saw.", "He came."),
    ('"Stop!" he said. No', '"Stop!"'),
    ("  Why? ", "  Why?"),
    ("3.14 is pi. Yes", "3.14 is pi."),
    ("Wait... what", "Wait..."),
    ("(Really.) Yes", "(Really.)"),
    ("no end", None),
    ("A HEADING\n\nText.", "A HEADING"),
    ("\n\nText here. And", "\n\nText here."),
    ("at the end.", None),
    ("我爱你。他走了。", "我爱你。"),
    ("「好！」他说", "「好！」"),
    ("真的？！！是", "真的？！！"),
    ("“好。”她说", "“好。”"),
    ("３．１４です。はい", "３．１４です。"),
    ("چرا؟ نه", "چرا؟"),
    ("چرا؟\u200f نه", "چرا؟\u200f"),
    ("یہ ہے۔ وہ", "یہ ہے۔"),
    ("यह है। वह", "यह है।"),
    ("Да… Нет", "Да…"),
    ("«\u00a0Non\u202f!\u00a0» Oui", "«\u00a0Non\u202f!\u00a0»"),
    ("Quoi\u00a0? Rien", "Quoi\u00a0?"),
    ("«Нет.» Да", "«Нет.»"),
    ("Er rief: „Komm.“ Dann", "Er rief: „Komm.“"),
    ("¿Qué? Sí", "¿Qué?"),
    ("Hé, co‼\ufe0f Oui", "Hé, co‼\ufe0f"),
    ("a، b؛ c", None),
]


@pytest.mark.parametrize(("text", "sentence"), SENTENCES)
@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_a_sentence_ends_with_its_mark_and_what_closes_after_it(text, sentence, size):
    released, ended = cut(text, until="sentence", sizes=(size,))
    assert (released, ended) == ((text, None) if sentence is None else (sentence, "sentence"))


LINES = [
    ("", "one\ntwo", "one"),
    ("", "\n\none\ntwo", "\n\none"),
    ("a prompt", "\nnext", ""),
    ("a prompt", " goes on\nnext", " goes on"),
    ("a line\n", "\nnext\n", "\nnext"),
    ("", "  \n x\n", "  \n x"),
    ("", "no end", None),
]


@pytest.mark.parametrize(("prompt", "text", "line"), LINES)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_line_ends_once_there_is_something_in_it(prompt, text, line, size):
    released, ended = cut(text, until="line", prompt=prompt, sizes=(size,))
    assert (released, ended) == ((text, None) if line is None else (line, "line"))


def test_what_may_begin_a_stop_is_held_back_and_given_in_the_end():
    ending = Ending(["abc"], None, "")
    assert ending.push("xab").text == "x"
    assert ending.push("d").text == "abd"
    assert ending.push("ab").text == ""
    assert ending.flush() == "ab"
