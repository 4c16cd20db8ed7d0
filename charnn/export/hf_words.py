"""Words for the library `tokenizers`: charnn's rules as regular expressions of its engine, Oniguruma.

`charnn.text.words` finds words, and gaps between them, of which the expected ones are no tokens. Here a normalizer puts
`SEPARATOR` in place of an expected space, and `GLUE_MARK` where one is missing; a pre-tokenizer removes the former, and splits
the rest into words. A decoder puts the spaces back.

A pattern that finds gaps begins with `\\G`, where the last match ended, or after a line end, and reads whole tokens up to the
next gap. So it never mistakes a part of a token for one.
"""

from typing import NamedTuple

from tokenizers import Regex, decoders, normalizers, pre_tokenizers

from charnn.config import Unit
from charnn.text.pretokenized import LINE_END_MARK
from charnn.text.unit_kinds import has_own_boundary
from charnn.text.vocabulary import DOCUMENT_BOUNDARY, NEWLINE
from charnn.text.word_classes import Ranges, word_classes
from charnn.text.words import GLUE

SEPARATOR, GLUE_MARK = "\ufdd3", "\ufdd4"


class Parts(NamedTuple):
    """Parts of a fast tokenizer.

    Args:
        names: names of tokens in it where they differ.
    """

    normalizer: normalizers.Normalizer
    pre_tokenizer: pre_tokenizers.PreTokenizer
    decoder: decoders.Decoder
    names: dict[str, str]


def _ranges(*classes: Ranges) -> str:
    """Return classes of characters as the inside of brackets."""
    return "".join(
        rf"\x{{{first:X}}}" if first == last else rf"\x{{{first:X}}}-\x{{{last:X}}}"
        for ranges in classes
        for first, last in ranges
    )


def _definitions(**groups: str) -> str:
    """Return groups that the rest of a pattern calls by name."""
    return "".join(f"(?<{name}>{pattern}){{0}}" for name, pattern in groups.items())


def _class_groups() -> dict[str, str]:
    """Return named groups of one character each, and of those that belong to the one before them."""
    classes = word_classes()
    punctuation = (classes.closing, classes.opening, classes.quote, classes.unspaced)
    return {
        "extend": f"[{_ranges(classes.extend)}]*+",
        "letter": f"[{_ranges(classes.letter)}]",
        "initial": f"[{_ranges(classes.letter, classes.mark)}]",
        "inner": f"[{_ranges(classes.letter, classes.extend)}]*+",
        "digits": f"[{_ranges(classes.digit)}]+",
        "gap": f"(?!\\n)[{_ranges(classes.space)}]",
        "closing": f"[{_ranges(classes.closing)}]",
        "opening": f"[{_ranges(classes.opening)}]",
        "quote": f"[{_ranges(classes.quote)}]",
        "unspaced": f"[{_ranges(classes.unspaced)}]",
        "other": f"[^{_ranges(classes.letter, classes.space, *punctuation)}{SEPARATOR}{GLUE_MARK}]",
        "joined": rf"(?:(?<=\u200d)[{_ranges(classes.pictograph)}]\g<extend>)",
    }


def _token_groups() -> dict[str, str]:
    """Return named groups of tokens: a word (W), or a closing (C), opening (O), quote (Q) or unspaced mark (X)."""
    plain = r"\g<initial>\g<inner>"
    return {
        **_class_groups(),
        "mark": r"(?:\g<closing>|\g<opening>|\g<quote>|\g<unspaced>)",
        "underscore": r"(?:(?!\g<letter>)\g<initial>\g<extend>)?_\g<extend>(?!\g<letter>|['\u2019]\g<initial>)",
        "letters": rf"(?!\g<underscore>){plain}(?:['\u2019]{plain})*",
        "number": r"\g<digits>(?:[.,]\g<digits>)+\g<extend>(?!\g<letter>)",
        "symbol": (
            r"-{4,}|\.{4,}|[\x{1F1E6}-\x{1F1FF}]{2}\g<extend>|\g<mark>\g<extend>\g<joined>++|\g<other>\g<extend>\g<joined>*+"
        ),
        "W": r"(?>\g<number>|\g<letters>|(?!\g<underscore>)(?:\g<symbol>))",
        "single": r"(?!--|\.\.|\g<mark>\g<extend>\g<joined>)",
        "C": r"(?>\.{2,3}(?!\.)|\g<single>\g<closing>\g<extend>)",
        "O": r"(?>\g<single>\g<opening>\g<extend>)",
        "Q": r"(?>\g<single>\g<quote>\g<extend>)",
        "X": r"(?>\g<underscore>|-{2,3}(?!-)|\g<single>\g<unspaced>\g<extend>)",
        "token": rf"(?>{SEPARATOR}|{GLUE_MARK}|\g<gap>++|\g<W>|\g<C>|\g<O>|\g<Q>|\g<X>)",
    }


def _gaps(between: str) -> Regex:
    """Return a pattern of the places where a space is expected, and `between` stands."""
    groups = _token_groups()
    groups["expected"] = rf"\g<W>{between}(?=\g<W>|\g<O>|\g<Q>)|\g<C>{between}(?=\g<W>|\g<O>)"
    read = r"(?:\G|(?<=\n))(?:(?!\g<expected>)\g<token>)*+(?:\g<W>|\g<C>)\K"
    return Regex(_definitions(**groups) + read + between)


def word_parts() -> Parts:
    """Return what splits a text into words, marks, line ends and unexpected gaps."""
    glue = f"{SEPARATOR}{GLUE_MARK}{SEPARATOR}"
    normalizer = normalizers.Sequence(
        [normalizers.Replace(_gaps("[ ]"), SEPARATOR), normalizers.Replace(_gaps(""), glue)]
    )
    words = Regex(_definitions(**_token_groups()) + r"\n|\g<token>")
    pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(SEPARATOR, "removed"), pre_tokenizers.Split(words, "isolated")]
    )
    return Parts(normalizer, pre_tokenizer, _word_decoder(), {GLUE: GLUE_MARK})


def _word_decoder() -> decoders.Decoder:
    """Return a decoder that puts spaces where they are expected; until then, each token ends with a separator."""
    end = f"(?={SEPARATOR})"
    groups = _class_groups() | {
        "C": rf"(?:\.{{2,3}}|\g<closing>\g<extend>){end}",
        "O": rf"\g<opening>\g<extend>{end}",
        "Q": rf"\g<quote>\g<extend>{end}",
        "underscore": r"(?:(?!\g<letter>)\g<initial>\g<extend>)?_\g<extend>",
        "X": rf"(?:\n|{GLUE_MARK}|\g<gap>+|\g<underscore>|-{{2,3}}|\g<unspaced>\g<extend>){end}",
        "W": rf"(?!\g<C>|\g<O>|\g<Q>|\g<X>)[^{SEPARATOR}]+",
    }
    left = rf"(?:\g<W>(?={SEPARATOR}(?:\g<W>|\g<O>|\g<Q>))|\g<C>(?={SEPARATOR}(?:\g<W>|\g<O>)))"
    expected = Regex(_definitions(**groups) + rf"(?:\A|(?<={SEPARATOR})){left}\K{SEPARATOR}")
    return decoders.Sequence(
        [
            decoders.Replace(Regex(r"\z"), SEPARATOR),
            decoders.Fuse(),
            decoders.Replace(expected, " "),
            decoders.Replace(Regex(f"[{SEPARATOR}{GLUE_MARK}]"), ""),
        ]
    )


def pretokenized_parts(unit: Unit, end_name: str) -> Parts:
    """Return what splits a text at white space.

    Args:
        unit: decides what a mark in the text is.
        end_name: name of the boundary of documents.
    """
    space = _ranges(word_classes().space)
    gap = rf"(?:(?!\n)[{space}])"
    normalizer = normalizers.Sequence(
        [normalizers.Replace(pattern, text) for pattern, text in _marks(space, gap, unit, end_name)]
    )
    pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(f"{gap}+"), "removed"),
            pre_tokenizers.Split(NEWLINE, "isolated"),
        ]
    )
    decoder = decoders.Sequence(
        [
            decoders.Replace(Regex(r"\z"), " "),
            decoders.Fuse(),
            decoders.Replace(Regex(r" ?\n "), "\n"),
            decoders.Replace(Regex(r" \z"), ""),
        ]
    )
    return Parts(normalizer, pre_tokenizer, decoder, {})


def _marks(space: str, gap: str, unit: Unit, end_name: str) -> list[tuple[Regex, str]]:
    """Return patterns of `</s>` and `<eos>` in a text, and what they stand for (see `charnn.text.pretokenized`).

    In documents, `</s>` includes the white space before it, unless that is part of an earlier mark or follows a line end that
    was read alone: so the pattern reads whole tokens, as above.
    """
    alone, line_end = rf"(?![^{space}])", rf"{gap}*+\n?"
    begins = rf"(?<![^{space}])"
    if not has_own_boundary(unit):
        return [(Regex(rf"{begins}(?:{DOCUMENT_BOUNDARY}|{LINE_END_MARK}){alone}{line_end}"), NEWLINE)]
    groups = {
        "boundary": rf"(?<![{space}])[{space}]*+{DOCUMENT_BOUNDARY}{alone}[{space}]*+",
        "other": rf"{LINE_END_MARK}{alone}{line_end}|[^{space}]++|[{space}]",
    }
    read = r"\G(?:(?!\g<boundary>)\g<other>)*+\K\g<boundary>"
    return [
        (Regex(_definitions(**groups) + read), f" {end_name} "),
        (Regex(f"{begins}{DOCUMENT_BOUNDARY}{alone}"), end_name),
        (Regex(f"{begins}{LINE_END_MARK}{alone}{line_end}"), NEWLINE),
    ]
