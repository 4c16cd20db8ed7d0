from hypothesis import given
from hypothesis import strategies as st

from charnn.text import reading
from charnn.text.reading import documents, lines, read_text, whole_lines
from charnn.text.sources import find_sources


def test_files_are_joined_at_line_ends(tmp_path):
    for name, text in {"a": "one", "b": "two\n", "c": "", "d": "three"}.items():
        (tmp_path / name).write_text(text)
    found = find_sources(["a", "b", "c", "d"])
    assert "".join(read_text(found, "utf-8")) == "one\ntwo\nthree"
    assert "".join(read_text(found, "utf-8", separator="\n\n")) == "one\n\ntwo\n\nthree"


chunked = st.lists(st.text(alphabet="a b\n", max_size=8))


@given(chunked)
def test_regrouped_chunks_end_at_line_ends(chunks):
    groups = list(whole_lines(iter(chunks)))
    assert "".join(groups) == "".join(chunks)
    assert all(group.endswith("\n") for group in groups[:-1])


@given(chunked, st.integers(1, 5))
def test_very_long_lines_are_cut_and_nothing_is_lost(chunks, longest):
    assert "".join(whole_lines(iter(chunks), longest)) == "".join(chunks)


@given(chunked)
def test_lines_are_those_of_the_whole_text(chunks):
    text = "".join(chunks)
    assert list(lines(iter(chunks))) == (text.removesuffix("\n").split("\n") if text else [])


@given(chunked)
def test_documents_are_what_blank_lines_separate(chunks):
    found = list(documents(iter(chunks)))
    assert all(line.strip() for document in found for line in document.split("\n"))
    assert "\n".join(found).split("\n") == [line for line in "".join(chunks).split("\n") if line.strip()] or not found


@given(st.lists(st.text(alphabet="a \n", max_size=5), max_size=6))
def test_white_space_at_a_chunks_end_begins_the_next(chunks):
    found = list(reading.white_space_first(iter(chunks)))
    assert "".join(found) == "".join(chunks)
    assert all(found)
    assert all(not chunk[-1].isspace() for chunk in found[:-1])
