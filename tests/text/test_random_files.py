"""Files of any bytes: each is read, or refused by one line whose statements are true."""

import bz2
import gzip
import lzma
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import charnn as library
from charnn.errors import CharnnError
from charnn.text.reading import read_text
from charnn.text.sources import find_sources
from tests.conftest import bounded

WORDS = {
    "latin": ["The fox", "café", "niño", "Größe", "“quoted”", "naïve", "x = 1,5 €", "\u00a0", "e\u0301"],
    "cyrillic": ["лиса", "Река", "снег идёт", "«да»"],
    "chinese": ["我喜欢狐狸。", "河流", "，你好", "第一"],
    "japanese": ["きつね", "川は流れる。", "カタカナ", "「はい」"],
    "korean": ["여우는 강을", "건넜다.", "안녕"],
    "any": ["👩\u200d👧", "𝔘", "\u2028", "\x0c", "\ufeff", "\x1a", "%PDF-", "PK", "\t"],
}
ENCODINGS = [
    *("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"),
    *("latin-1", "cp1252", "koi8-r", "gbk", "big5", "euc-kr", "shift_jis", "ascii"),
]
PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
UNPACK = {"gz": gzip.decompress, "bz2": bz2.decompress, "xz": lzma.decompress}


@st.composite
def files(draw):
    """Return the bytes of a file, their kind of compression, and the name's suffix."""
    words = WORDS[draw(st.sampled_from(sorted(WORDS)))] + draw(st.sampled_from([[], WORDS["latin"], WORDS["any"]]))
    lines = st.lists(st.sampled_from([*words, " ", " and "]), max_size=6).map("".join)
    ends = st.sampled_from(draw(st.sampled_from([["\n"], ["\r\n"], ["\r"], ["\x85", "\n"], ["\n", "\r\n", "\r"]])))
    text = "".join(line + draw(ends) for line in draw(st.lists(lines, max_size=8)))
    content = text.encode(draw(st.sampled_from(ENCODINGS)), "ignore")
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        place = draw(st.integers(0, len(content)))
        damage = draw(st.sampled_from([b"\0", b"\xff", b"\xe9", b"\x80\x81", b"\n", b""]))
        content = content[:place] + damage + content[place + draw(st.integers(0, 2)) :]
    if draw(st.sampled_from([False, False, True])):
        content = content[: draw(st.integers(0, len(content)))]
    kind = draw(st.sampled_from(["", "", "", *PACK]))
    if not kind:
        return content, draw(st.sampled_from([".txt", ".txt", ".gz"]))
    parts = draw(st.sampled_from([[content], [content[:7], content[7:]], [content, b""]]))
    packed = b"".join(map(PACK[kind], parts))
    harm = draw(st.sampled_from(["", "", "cut", "end", "changed"]))
    if harm == "cut":
        packed = packed[: draw(st.integers(0, len(packed)))]
    elif harm == "end":
        packed += draw(st.sampled_from([b"\0\0\0\0", b"x", b"\x1f\x8b"]))
    elif harm == "changed":
        place = draw(st.integers(0, len(packed) - 1))
        packed = packed[:place] + bytes([packed[place] ^ 0x41]) + packed[place + 1 :]
    return packed, draw(st.sampled_from([f".{kind}", ".txt"]))


def unpacked(data):
    """Return the bytes of the text, or None where they are damaged."""
    for kind, magic in {"gz": b"\x1f\x8b", "bz2": b"BZh", "xz": b"\xfd7zXZ\0"}.items():
        if data.startswith(magic):
            try:
                return UNPACK[kind](data)
            except Exception:
                return None
    return data


def num_lines_before(content, offset, encoding):
    before = content[:offset].decode(encoding, "replace")
    return before.count("\n") + before.count("\r") - before.count("\r\n")


def text_in(path, encoding="utf-8"):
    return "".join(read_text(find_sources([str(path)]), encoding))


def check_statements(path, message):
    """Check that an error is one line, and that what it says of the file is so."""
    data = path.read_bytes()
    content = unpacked(data)
    assert "\n" not in message
    assert message.startswith(str(path))
    what = message.removeprefix(str(path))
    if "is damaged or cut short" in what or "cannot be read" in what:
        assert content is None
    elif "is empty" in what or "contains only white space" in what or "contains no text" in what:
        assert content is None or not data or not text_in(path).strip()
    elif "found a NUL character" in what:
        line = int(re.match(r":(\d+):", what)[1])
        marked = next((name for name in ("utf-32", "utf-16") if starts_with_mark(content, name)), "utf-8")
        whole = content.decode(marked, "replace")
        nul = whole.index("\0")
        before = whole[:nul]
        assert line == 1 + before.count("\n") + before.count("\r") - before.count("\r\n")
    elif "is binary" in what:
        assert content is None or content[int(re.search(r"a zero byte at offset (\d+)", what)[1])] == 0
    elif " is not UTF-" in what and "byte 0x" in what:
        line, byte, offset = re.match(r":(\d+): byte 0x(\w\w) at offset (\d+) ", what).groups()
        encoding = re.search(r"is not (\S+);", what)[1].lower()
        if content is None:
            return
        assert content[int(offset)] == int(byte, 16)
        assert int(line) == 1 + num_lines_before(content, int(offset), encoding)
        with pytest.raises(UnicodeDecodeError) as error:
            content.decode(encoding)
        assert "ends in the middle of a character" not in what or error.value.end == len(content)
        if "other lines are UTF-8" in what:
            others = [line for line in content.split(b"\n") if not line.isascii()]
            assert any(is_utf_8(line) for line in others)
    else:
        assert " is not text" in what or "not text" in what or "without a byte-order mark" in what, message
    for advised in re.findall(r"pass (?:--)?encoding (\S+)$", message):
        check_advice(path, content, advised)


def check_advice(path, content, encoding):
    """Check that a text can be read with an encoding, but for an end that is missing."""
    try:
        text = text_in(path, encoding)
    except CharnnError as error:
        text, message = None, str(error)
        check_statements(path, message)
    assert text or content is None or "is incomplete" in message


def check_text(path):
    """Check that a text is what the file contains."""
    content = unpacked(path.read_bytes())
    encoding = next((name for name in ("utf-32", "utf-16") if starts_with_mark(content, name)), "utf-8-sig")
    assert text_in(path) == content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def starts_with_mark(content, encoding):
    marks = {"utf-16": (b"\xff\xfe", b"\xfe\xff"), "utf-32": (b"\xff\xfe\0\0", b"\0\0\xfe\xff")}
    return content.startswith(marks[encoding])


def is_utf_8(line):
    try:
        return bool(line.decode())
    except UnicodeDecodeError:
        return False


@pytest.fixture(scope="module")
def model(_trained):
    return library.load(_trained)


def outcome(path, act, *, reads_text=True):
    """Return what came of a file: "read", or the beginning of the message, whose statements are checked."""
    try:
        act(path)
    except CharnnError as error:
        check_statements(path, str(error))
        return "refused"
    if reads_text:
        check_text(path)
    return "read"


@bounded(60, 2000)
@given(file=files())
def test_any_file_is_scored_or_refused_truthfully(model, tmp_path, file):
    content, suffix = file
    path = tmp_path / f"some{suffix}"
    path.write_bytes(content)
    outcome(path, lambda path: [score.log_prob_nats for score in model.score(path, unit="line")])


@bounded(12, 2000)
@given(file=files(), tokenizer=st.sampled_from(["char", "byte", "word"]), unit=st.sampled_from(["stream", "line"]))
def test_any_file_is_trained_on_or_refused_truthfully(tmp_path, file, tokenizer, unit):
    content, suffix = file
    path, run = tmp_path / f"some{suffix}", tmp_path / "run"
    path.write_bytes(content)
    options = {"tokenizer": tokenizer, "unit": unit, "steps": 1, "hidden_size": 4, "embedding_size": 2}
    outcome(
        path,
        lambda path: library.train(path, output=run, overwrite=True, precision="fp32", **options),
        reads_text=tokenizer != "byte",
    )


@bounded(8, 60)
@given(file=files())
def test_so_it_is_by_the_command_line(charnn, run, tmp_path, file):
    content, suffix = file
    path = tmp_path / f"some{suffix}"
    path.write_bytes(content)
    result = charnn("score", path, "-m", run)
    assert result.status in (0, 1)
    if result.status == 1:
        *_, last = result.err.splitlines()
        check_statements(path, last.removeprefix("charnn: error: "))
