"""The classes of characters that words are made of, for other people's tokenizers."""

from charnn.text.word_classes import word_classes


def test_classes_of_characters_are_those_of_the_rules():
    classes = word_classes()
    assert classes.quote == ((0x22, 0x22), (0x27, 0x27))
    assert (0x61, 0x7A) in classes.letter
    assert (0x30, 0x39) in classes.digit
    for character, name in {
        ".": "closing",
        "(": "opening",
        "-": "unspaced",
        "。": "unspaced",
        "\u0301": "extend",
    }.items():
        assert any(first <= ord(character) <= last for first, last in getattr(classes, name)), character
