"""Words of all scripts, and the gaps between them; version 1 of the rules is that of older models."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.config import TextOptions
from charnn.text.tokenizers import decode, load_tokenizer
from charnn.text.words import FIRST, GLUE, LATEST, split_words
from tests.conftest import FABLES, REPOSITORY, trained_tokenizer

LATIN = (
    "L'été, à Saint-Étienne -- hélas! -- “tout” va… Größe: 3,5 °C (ca. 5%); ñandú & Łódź; £5/€6 @home #1 _x_ "
    "naïve ‘quotes’ — or – dashes... [1] {2} it's it’s 'so' \"said\" a=b x²+½ Nº 5 §3 a·b\n\n\tEnd.  Two spaces?!"
)
SCRIPTS = {
    "Persian": ("می\u200cخواهم بروم، خوب؟", ["می\u200cخواهم", "بروم", "،", "خوب", "؟"]),
    "Urdu": ("وہ ہے۔ نہیں؛ کیا؟", ["وہ", "ہے", "۔", "نہیں", "؛", "کیا", "؟"]),
    "Arabic, with a mark of direction": ("ما هذا؟\u200f نعم.", ["ما", "هذا", "؟\u200f", "نعم", "."]),
    "Hebrew": ("בית\u05beספר, לא!", ["בית", "\u05be", "ספר", ",", "לא", "!"]),
    "Chinese": ("我喜欢狐狸。你呢？“好，”他（笑）说！", None),
    "Japanese": ("「はい。」と言った、ＯＫ", ["「", "はい", "。", "」", "と言った", "、", "ＯＫ"]),
    "Hindi": ("हिन्दी में है। क्\u200dष ठीक॥", ["हिन्दी", "में", "है", "।", "क्\u200dष", "ठीक", "॥"]),
    "Thai": ("สวัสดี ครับ", ["สวัสดี", "ครับ"]),
    "Khmer": ("ខ្ញុំ\u200bទៅ។", ["ខ្ញុំ", "\u200b", "ទៅ", "។"]),
    "French": ("« Oui »", ["«", " ", "Oui", " ", "»"]),
    "Russian": ("«да», «нет»", ["«", "да", "»", ",", "«", "нет", "»"]),
    "Spanish": ("¿Qué? ¡No!", ["¿", "Qué", "?", "¡", "No", "!"]),
    "Armenian": ("Այո։ Ոչ", ["Այո", "։", "Ոչ"]),
    "a soft hyphen": ("co\u00adoperate", ["co\u00adoperate"]),
    "a variation of a letter": ("葛\U000e0100城", ["葛\U000e0100城"]),
    "emoji": ("ok ❤\ufe0f 👩\u200d👩\u200d👧, 👍🏽 🇩🇪 1\ufe0f\u20e3", None),
    "adjacent emoji": ("👍🏽👍 🇩🇪🇫🇷", ["👍🏽", GLUE, "👍", "🇩🇪", GLUE, "🇫🇷"]),
}
EXPECTED = {
    "Chinese": ["我喜欢狐狸", "。", "你呢", "？", "“", "好", "，", "”", GLUE, "他", "（", "笑", "）", "说", "！"],
    "emoji": ["ok", "❤\ufe0f", "👩\u200d👩\u200d👧", ",", "👍🏽", "🇩🇪", "1\ufe0f\u20e3"],
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_words_of_a_script_need_few_gaps_and_come_back(script):
    text, words = SCRIPTS[script]
    assert [word for word, _ in split_words(text)] == (words or EXPECTED[script])
    tokenizer = trained_tokenizer(TextOptions(tokenizer="word", min_count=1), text)
    ids = tokenizer.encode(text)
    assert decode(tokenizer, ids) == text
    assert [token.start for token in tokenizer.tokenize(text)] == [start for _, start in split_words(text)]


@pytest.mark.parametrize("version", [FIRST, LATEST], ids=["first", "latest"])
def test_any_text_comes_back_by_either_version(version):
    @given(st.text(st.sampled_from("a-.,\"'?)(»«。？\u200c\u200d\ufe0f\u0301\u200b👩🇩🇪 \n\u3000\u00a03١٣؟")))
    def comes_back(text):
        stored = trained_tokenizer(TextOptions(tokenizer="word", min_count=1), "x")
        files = dict(stored.files())
        tokens = ["<unk>", *dict.fromkeys(["\n", GLUE, " ", *(word for word, _ in split_words(text, version))])]
        header = json.loads(files["tokenizer.json"])
        header |= {"format_version": version.version, "tokens": tokens, "counts": [0] * len(tokens)}
        tokenizer = load_tokenizer("run", {"tokenizer.json": json.dumps(header | {"boundary_id": 1}).encode()})
        assert decode(tokenizer, tokenizer.encode(text)) == text
        assert json.loads(tokenizer.files()["tokenizer.json"])["format_version"] == version.version

    comes_back()


@pytest.mark.parametrize(
    "text",
    [LATIN, *(path.read_text(encoding="utf-8")[:50_000] for path in sorted((REPOSITORY / "corpora").glob("*.txt")))],
    ids=lambda text: text[:10],
)
def test_both_versions_split_latin_texts_alike(text):
    assert list(split_words(text, LATEST)) == list(split_words(text, FIRST))


@given(st.text(st.sampled_from("aZé²½_0123.,;:!?)]}%’”…([{#$@‘“-/–—‐\"'&=*+<>~^|\\`°§£€ \n\t\u00a0\u3000\x1c")))
def test_so_they_do_any_text_of_latin_letters_and_common_marks(text):
    assert list(split_words(text, LATEST)) == list(split_words(text, FIRST))


def test_a_model_of_an_older_version_splits_words_as_it_did():
    tokenizer = trained_tokenizer(TextOptions(tokenizer="word"), FABLES.read_text(encoding="utf-8")[:5000])
    stored = json.loads(tokenizer.files()["tokenizer.json"])
    assert stored["format_version"] == 2
    older = load_tokenizer("run", {"tokenizer.json": json.dumps(stored | {"format_version": 1}).encode()})
    text = "می\u200cخواهم، ❤\ufe0f"
    words = ["می", GLUE, "\u200c", GLUE, "خواهم", GLUE, "،", "❤", GLUE, "\ufe0f"]
    assert [token.text for token in older.tokenize(text)] == words
    assert json.loads(older.files()["tokenizer.json"]) == stored | {"format_version": 1}
    long = text * 300
    assert older.encode(long).tolist() == [token.id for token in older.tokenize(long)]
