"""A model's tokenizer for the library `tokenizers`, with the same tokens and the same ids.

Each kind is a normalizer, a pre-tokenizer, a table of tokens and a decoder. `tokenizers` has no code points of its own for what
charnn's tokenizers insert, so noncharacters of Unicode stand for them in the text between two steps.
"""

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as FastTokenizer
from transformers import PreTrainedTokenizerFast

from charnn.errors import ModelError
from charnn.export.hf_words import pretokenized_parts, word_parts
from charnn.storage.model_directory import Model
from charnn.text.tokenizers import FORMAT_VERSION, SubwordTokenizer, Tokenizer
from charnn.text.unit_kinds import has_own_boundary
from charnn.text.vocabulary import NEWLINE, SPACE_SYMBOL, UNKNOWN, escaped_symbols

BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
"""Names of special tokens: those that `</s>` and the like have in other models are text to charnn."""
CHARACTER = Regex(r"[\s\S]")
UNKNOWN_PIECE = f"\ufdd0{UNKNOWN}"
"""Name of the unknown subword: no text has it, so that `<unk>` in a text is what it is to SentencePiece, five characters."""


def make_fast_tokenizer(model: Model) -> PreTrainedTokenizerFast:
    """Return a tokenizer for transformers, which puts the beginning-of-sequence token before each text.

    Raises:
        ModelError: for tokens that an earlier version found by other rules.
    """
    tokenizer = model.tokenizer
    if tokenizer.kind not in ("char", "byte") and tokenizer.version != FORMAT_VERSION:
        raise ModelError(
            f"{model.path}: finds {tokenizer.kind} tokens by the rules of an earlier charnn (tokenizer.json has format version "
            f"{tokenizer.version}), which the export does not have; train again, or use --tokenizer char or byte"
        )
    if isinstance(tokenizer, SubwordTokenizer):
        fast = _subwords(tokenizer, is_bpe=model.config.asked.text.subword_model == "bpe")
    else:
        fast = _MAKERS[tokenizer.kind](tokenizer)
    special = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD}
    fast.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special.values()])
    fast.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, fast.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        **special,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def _names(tokenizer: Tokenizer) -> list[str]:
    """Return the name of each token; the boundary of documents is the end of a sequence."""
    names = list(tokenizer.vocabulary.tokens)
    if has_own_boundary(tokenizer.unit):
        names[tokenizer.vocabulary.boundary_id] = EOS
    return names


def _table(names: list[str]) -> FastTokenizer:
    """Return a tokenizer that looks up whole pieces of text."""
    return FastTokenizer(models.WordLevel({name: id for id, name in enumerate(names)}, unk_token=UNKNOWN))


def _characters(tokenizer: Tokenizer) -> FastTokenizer:
    fast = _table(_names(tokenizer))
    fast.pre_tokenizer = pre_tokenizers.Split(CHARACTER, "isolated")
    fast.decoder = decoders.Fuse()
    return fast


def _bytes(tokenizer: Tokenizer) -> FastTokenizer:
    fast = _table([*_byte_names(), *_names(tokenizer)[256:]])
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    fast.pre_tokenizer = pre_tokenizers.Sequence([as_bytes, pre_tokenizers.Split(CHARACTER, "isolated")])
    fast.decoder = decoders.ByteLevel()
    return fast


def _byte_names() -> list[str]:
    """Return the printable character that `ByteLevel` has for each byte.

    Source: Radford et al. (2019), the code of GPT-2: printable Latin-1 characters are themselves, others follow U+0100.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _words(tokenizer: Tokenizer) -> FastTokenizer:
    parts = word_parts()
    fast = _table([parts.names.get(name, name) for name in _names(tokenizer)])
    fast.normalizer, fast.pre_tokenizer, fast.decoder = parts.normalizer, parts.pre_tokenizer, parts.decoder
    return fast


def _pretokenized(tokenizer: Tokenizer) -> FastTokenizer:
    parts = pretokenized_parts(tokenizer.unit, EOS)
    fast = _table(_names(tokenizer))
    fast.normalizer, fast.pre_tokenizer, fast.decoder = parts.normalizer, parts.pre_tokenizer, parts.decoder
    return fast


def _subwords(tokenizer: SubwordTokenizer, *, is_bpe: bool) -> FastTokenizer:
    names = _names(tokenizer)
    unknown_id = tokenizer.vocabulary.unknown_id
    assert unknown_id is not None
    names[unknown_id] = UNKNOWN_PIECE
    fast = FastTokenizer(_bpe(names) if is_bpe else _unigram(names, tokenizer.scores, unknown_id))
    stand_ins = {symbol: escaped_symbols(symbol) for symbol in ("\ufdd1", "\ufdd2", SPACE_SYMBOL, "\u2585")}
    escapes = [normalizers.Replace(symbol, stand_in) for symbol, stand_in in stand_ins.items()]
    fast.normalizer = normalizers.Sequence([*escapes, normalizers.Replace(" ", SPACE_SYMBOL)])
    fast.pre_tokenizer = pre_tokenizers.Split(NEWLINE, "isolated")
    texts = {SPACE_SYMBOL: " ", stand_ins[SPACE_SYMBOL]: SPACE_SYMBOL, stand_ins["\u2585"]: "\u2585"}
    restored = [decoders.Replace(name, text) for name, text in texts.items()]
    fast.decoder = decoders.Sequence([decoders.Replace(UNKNOWN_PIECE, UNKNOWN), *restored, decoders.Fuse()])
    return fast


def _unigram(names: list[str], scores: list[float], unknown_id: int) -> models.Unigram:
    scores = [min(scores) if id == unknown_id else score for id, score in enumerate(scores)]
    return models.Unigram(list(zip(names, scores, strict=True)), unk_id=unknown_id, byte_fallback=False)


def _bpe(names: list[str]) -> models.BPE:
    """Return a model that merges the pair of pieces whose union has the lowest id first, as SentencePiece does."""
    ids = {name: id for id, name in enumerate(names)}
    merges = []
    for name in names:
        if name not in (UNKNOWN_PIECE, EOS, NEWLINE):
            pairs = [(name[:size], name[size:]) for size in range(1, len(name))]
            merges += [pair for pair in pairs if pair[0] in ids and pair[1] in ids]
    return models.BPE(ids, merges, unk_token=UNKNOWN_PIECE, fuse_unk=True)


_MAKERS = {
    "char": _characters,
    "byte": _bytes,
    "word": _words,
    "pretokenized": _pretokenized,
}
