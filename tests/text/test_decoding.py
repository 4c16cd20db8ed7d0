import gzip
import io
import subprocess
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.errors import OptionError, TextError
from charnn.text import decoding
from charnn.text.decoding import RAW, decoded
from charnn.text.sources import find_sources


def read(path, encoding="utf-8", notes=None):
    (source,) = find_sources([str(path)])
    return "".join(decoded(source, encoding, notes=notes))


def refusal(path, encoding="utf-8"):
    with pytest.raises(TextError) as error:
        read(path, encoding)
    assert str(error.value).startswith(f"{path}:")
    return str(error.value).removeprefix(f"{path}:").strip()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "corpus.txt"


def test_a_byte_order_mark_is_dropped_and_line_ends_become_lf(path):
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\r\n")
    notes = []
    assert read(path, notes=notes) == "one\ntwo\nthree\n"
    assert notes == ["2 CRLF line ends became LF", "1 CR line ends became LF"]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_nothing_depends_on_where_chunks_end(path, monkeypatch, size):
    text = "äö€\r\n\r\r\n𝄞x\r"
    path.write_bytes(text.encode())
    monkeypatch.setattr(decoding, "CHUNK_BYTES", size)
    assert read(path) == "äö€\n\n\n𝄞x\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_mark_of_wide_characters_names_the_encoding(path, encoding):
    path.write_bytes("größer\n".encode(encoding))
    notes = []
    assert read(path, notes=notes) == "größer\n"
    assert notes == [f"{path}: has a byte-order mark and is read as {encoding.upper()}"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "shift_jis"])
def test_other_encodings(path, encoding):
    path.write_bytes("one\r\ntwo\n".encode(encoding))
    assert read(path, encoding) == "one\ntwo\n"


def test_an_unknown_encoding_is_a_usage_error(path):
    path.write_text("x")
    for wrong in ("utf9", "rot13"):
        with pytest.raises(OptionError, match=f"--encoding: found '{wrong}'"):
            read(path, wrong)


TEXTS = {
    "koi8-r": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.",
    "cp1251": "Все смешалось в доме Облонских. Жена узнала, что муж был в связи с бывшею гувернанткой.",
    "gbk": "学而时习之，不亦说乎？有朋自远方来，不亦乐乎？人不知而不愠，不亦君子乎？",
    "big5": "學而時習之，不亦說乎？有朋自遠方來，不亦樂乎？人不知而不慍，不亦君子乎？",
    "euc_kr": "나의 소원은 무엇이냐 하고 하느님이 내게 물으시면 나는 서슴지 않고 대답할 것이다.",
    "shift_jis": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "cp1253": "Μια φορά και έναν καιρό ήταν ένας βασιλιάς που είχε τρεις κόρες.",
    "cp1252": "Longtemps, je me suis couché de bonne heure. Parfois, à peine ma bougie éteinte, mes yeux se "
    "fermaient si vite que je n’avais pas le temps de me dire : « Je m’endors. » Et, une demi-heure après, "
    "la pensée qu’il était temps de chercher le sommeil m’éveillait.",
}


@pytest.mark.parametrize("encoding", TEXTS)
@pytest.mark.parametrize("times", [1, 50])
def test_an_encoding_that_the_bytes_leave_no_doubt_about_is_named_rightly(path, encoding, times):
    text = (TEXTS[encoding] + "\n") * times
    path.write_bytes(text.encode(encoding))
    message = refusal(path)
    advice = "pass --encoding "
    assert advice in message
    assert read(path, message.rpartition(advice)[2]) == text


@pytest.mark.parametrize("times", [1, 3, 40])
@pytest.mark.parametrize(
    ("encoding", "line"),
    [
        ("cp1252", "café au lait déjà vu"),
        ("cp850", "café au lait déjà vu"),
        ("iso8859-15", "naïve façade, rôle, cœur"),
        ("cp1252", "El niño comió jamón en España"),
        ("cp1252", "São Paulo não é à beira-mar, coração"),
        ("iso8859-2", "Žluťoučký kůň úpěl ďábelské ódy"),
        ("cp1250", "Zażółć gęślą jaźń, powiedział"),
        ("cp1254", "Ağaç dalında şarkı söyleyen kuş"),
        ("cp1257", "Ąžuolas augo prie upės, šalia kelio"),
        ("koi8-r", "Привет мир, как дела сегодня"),
        ("koi8-u", "Добрий день, як ся маєте"),
    ],
)
def test_a_text_of_few_words_is_named_rightly_or_not_at_all(path, encoding, line, times):
    text = f"{line}\n" * times
    path.write_bytes(text.encode(encoding))
    message = refusal(path)
    if "it looks like " in message:
        assert read(path, message.rpartition("pass --encoding ")[2]) == text
    else:
        assert message.endswith("pass the --encoding of the text, such as cp1252, cp1251 or gbk")


@pytest.mark.parametrize("content", [b"first\nit\x92s\n", b"Stra\xdfe\n", bytes(range(1, 256))])
def test_where_bytes_leave_a_doubt_no_encoding_is_named(path, content):
    path.write_bytes(content)
    assert refusal(path).endswith("is not UTF-8; pass the --encoding of the text, such as cp1252, cp1251 or gbk")


def test_a_damaged_line_among_good_ones_is_not_another_encoding(path):
    path.write_bytes("größer und schöner\n".encode() * 100 + b"sch\xf6n\n" + "größer\n".encode() * 20)
    message = refusal(path)
    assert message.startswith(
        "101: byte 0xf6 at offset 2203 is not UTF-8; other lines are UTF-8, so this one is damaged"
    )
    subprocess.run(message.rpartition("drop invalid bytes: ")[2], shell=True, check=False, cwd=path.parent)
    assert read(path.parent / "corrected.txt").count("\n") == 121


def test_a_text_that_ends_within_a_character_was_cut_short(path):
    path.write_bytes("schön".encode()[:4])
    assert refusal(path) == (
        "1: byte 0xc3 at offset 3 is not UTF-8; the file ends in the middle of a character, so it is incomplete; copy it again"
    )


def test_a_late_wrong_byte_is_found_at_its_place(path, monkeypatch):
    monkeypatch.setattr(decoding, "CHUNK_BYTES", 7)
    path.write_bytes("äöü\näöü\nä".encode() + b"\x81")
    assert refusal(path).startswith("3: byte 0x81 at offset 16 is not UTF-8; ")


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (b"a\rb\r\nc\n\xff\xff d\n", "utf-8", ":4: byte 0xff at offset 7 is not UTF-8; "),
        (
            "a\r\nc\u0a0a\n".encode("utf-16-le") + b"\x00\xdc",
            "utf-16-le",
            ":3: byte 0x00 at offset 12 is not UTF-16-LE; ",
        ),
        (
            "a\n\u010a".encode("utf-16")[:-1],
            "utf-16",
            "ends in the middle of a character: copy it again if it is incomplete",
        ),
        (
            "狐狸".encode("gbk")[:-1],
            "gbk",
            ":1: byte 0xc0 at offset 2 is not GBK; the file ends in the middle of a character",
        ),
        (b"a\rb\rc\0", "utf-8", "is binary"),
        (b"a\rb\r\n" * 1000 + b"\0", "utf-8", ":2001: found a NUL character"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_lines_are_counted_whatever_ends_them(path, monkeypatch, content, encoding, message, size):
    monkeypatch.setattr(decoding, "CHUNK_BYTES", size)
    path.write_bytes(content)
    assert message in f":{refusal(path, encoding)}"


def test_the_kind_of_a_text_is_that_of_all_its_compressed_parts(path):
    content = "aあ, b\n".encode("utf-16-le") * 9
    path.write_bytes(gzip.compress(b"a\0\0\0") + gzip.compress(content))
    assert refusal(path).startswith("is binary (a zero byte at offset 1), not text")
    path.write_bytes(gzip.compress(content[:3]) + gzip.compress(content[3:]))
    assert refusal(path) == "is UTF-16-LE without a byte-order mark: pass --encoding utf-16-le"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_only_the_first_mark_is_a_byte_order_mark(path, encoding):
    path.write_bytes("\ufeffa\n".encode(encoding))
    assert read(path) == "\ufeffa\n"


@pytest.mark.parametrize("place", [0, 5_000, 2_000_000])
def test_a_nul_is_refused_wherever_it_is(path, place):
    path.write_bytes(b"a line\n" * (place // 7) + b"ab\0cd" + b"\nmore" * 2000)
    message = refusal(path)
    if place > decoding.HEAD_BYTES:
        assert message.startswith(
            f"{place // 7 + 1}: found a NUL character, which is not allowed in text; remove all of them"
        )
        mended = subprocess.run(["tr", "-d", "\\000"], input=path.read_bytes(), capture_output=True, check=True).stdout
        path.write_bytes(mended)
        assert read(path).count("abcd") == 1
    else:
        assert message.startswith("is binary (a zero byte at offset 2), not text; name a text file")


def a_zip(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "text")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"%PDF-1.7\n...", "is a PDF document, not text; extract its text: pdftotext {path} text.txt"),
        (a_zip("a.txt"), "is a ZIP archive, not text; unpack it first: unzip {path}"),
        (
            a_zip("[Content_Types].xml", "word/document.xml"),
            "is a Word document, not text; save it as plain text in UTF-8, or: pandoc -t plain {path} -o text.txt",
        ),
        (b"\x89PNG\r\n\x1a\n", "is a PNG image, not text; name a text file"),
        (gzip.compress(b"x" * 257 + b"ustar  ", mtime=0), "is a tar archive, not text; unpack it first: tar xf {path}"),
    ],
)
def test_what_is_not_text_is_named(path, content, message):
    path.write_bytes(content)
    assert refusal(path) == message.format(path=path)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_characters_without_a_mark_are_named(path, encoding):
    path.write_bytes("a line of text\n".encode(encoding) * 2000)
    message = refusal(path)
    assert message == f"is {encoding.upper()} without a byte-order mark: pass --encoding {encoding}"
    assert read(path, encoding) == "a line of text\n" * 2000


@given(st.binary(max_size=200))
def test_raw_bytes_come_back_as_they_were(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "raw.bin"
    path.write_bytes(content)
    assert read(path, RAW).encode("utf-8", "surrogateescape") == content


@given(st.binary(max_size=300))
def test_any_bytes_are_text_or_one_true_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.bin"
    path.write_bytes(content)
    try:
        text = read(path)
    except TextError as error:
        message = str(error)
        assert message.startswith(f"{path}:")
        assert "\n" not in message
        if "it looks like " in message:
            read(path, message.rpartition("pass --encoding ")[2])
    else:
        assert "\r" not in text
        assert "\0" not in text
