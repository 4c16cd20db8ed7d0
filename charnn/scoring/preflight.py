"""What makes the figures of a scored text doubtful, said before them as far as it is known before."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from charnn.config.scoring import BASE_OF_FORMAT, ScoreOptions
from charnn.errors import first_of
from charnn.notices import notice_logger
from charnn.scoring.scores import Score
from charnn.storage.model_directory import Model, config_if_readable
from charnn.text.doubts import foreign_base_doubt, long_line_doubt, training_files, unknown_doubt
from charnn.text.facts import SplitSize, TextFile
from charnn.text.located import ScoredInput, TextGroup, read_located
from charnn.text.selection import sha256_of
from charnn.text.sources import Source, display_name
from charnn.text.tokenizers import Tokenizer
from charnn.text.tunes import is_abc_name
from charnn.text.units import read_units

logger = notice_logger(__name__)

MUCH_MEMORY_BYTES = 500_000_000


def units_to_score(
    models: Sequence[Model], files: Sequence[str], options: ScoreOptions, *, tokenizer: Tokenizer | None
) -> Iterator[str]:
    """Yield the units of a text that is to be scored, and log what will make the figures doubtful.

    Args:
        models: those that score it.
        files: names of files, directories and globs, or - for standard input.
        tokenizer: one of bytes wants the files as they are; None for text in any case.

    Example:
        >>> units = charnn.api.units_to_score(model.models, ["test.txt"], ScoreOptions(), tokenizer=model.tokenizer)
    """
    inspect = partial(_report_training_text, models)
    units = read_units(files, tokenizer, unit=options.unit, encoding=options.encoding, inspect=inspect)
    names = ", ".join(map(display_name, files))
    of_lines = _reads_lines(models, options)
    return _inspected(_within_memory(units, names, options), names, models[0].tokenizer, of_lines=of_lines)


def with_default_unit(options: ScoreOptions, models: Sequence[Model], files: Sequence[str]) -> ScoreOptions:
    """Return the options where no unit was chosen: a model of tunes scores files in ABC notation (.abc) tune by tune.

    Example:
        >>> charnn.api.with_default_unit(ScoreOptions(), model.models, ["test.txt"]).unit
        'line'
    """
    of_lines = bool(options.column) or options.format in BASE_OF_FORMAT
    if of_lines or not files or not all(map(is_abc_name, files)):
        return options
    return replace(options, unit="tune") if all(model.tokenizer.unit == "tune" for model in models) else options


def input_to_score(
    models: Sequence[Model], files: Sequence[str], options: ScoreOptions, *, tokenizer: Tokenizer
) -> ScoredInput:
    """Return the texts of some files with their origins, and log what will make the figures doubtful (see `units_to_score`).

    Example:
        >>> charnn.api.input_to_score(model.models, ["test.txt"], ScoreOptions(), tokenizer=model.tokenizer).files
        ['test.txt']
    """
    found = read_located(
        files,
        tokenizer,
        unit=options.unit,
        encoding=options.encoding,
        inspect=partial(_report_training_text, models),
    )
    of_lines = _reads_lines(models, options)

    def watched(group: TextGroup) -> TextGroup:
        named = group.running_origin.file if group.running_origin else None
        names = named or ", ".join(map(display_name, files))
        return group.watched(
            lambda texts: _inspected(_within_memory(texts, names, options), names, tokenizer, of_lines=of_lines)
        )

    return replace(found, groups=map(watched, found.groups))


def _reads_lines(models: Sequence[Model], options: ScoreOptions) -> bool:
    """Return whether a model of lines, which should not be long, reads each line."""
    return options.unit == "line" and any(
        model.tokenizer.unit == "line" and model.tokenizer.fasta is None for model in models
    )


def _within_memory(units: Iterator[str], names: str, options: ScoreOptions) -> Iterator[str]:
    """Yield units, and log before the first one whose scores need much memory how much that is."""
    keeps_all = options.is_running and options.needs_tokens and options.format == "jsonl"
    if options.is_running and not keeps_all:
        yield from units
        return
    num_chars, is_said = 0, False
    for number, unit in enumerate(units, start=1):
        num_chars = len(unit) + (num_chars if keeps_all else 0)
        num_bytes = num_chars * bytes_per_char(options)
        if num_bytes > MUCH_MEMORY_BYTES and not is_said:
            is_said = True
            where, size = (names, "more than") if keeps_all else (f"{names}: {options.unit} {number:,}", "about")
            windows = "; --unit stream reads it in windows, with --format table or tsv"
            logger.info(
                f"{where}: scoring {num_chars:,} characters in one record needs {size} {num_bytes / 1e9:.1f} GB of memory"
                + ("; divide it" if options.format in BASE_OF_FORMAT else windows)
            )
        yield unit


def bytes_per_char(options: ScoreOptions) -> int:
    """Return the memory that scoring a unit needs for each character of a character model, as measured."""
    if options.by_word or options.format in BASE_OF_FORMAT:
        return 450
    return 65 + 16 * options.alternatives if options.per_token else 45


def _inspected(units: Iterator[str], names: str, tokenizer: Tokenizer, *, of_lines: bool) -> Iterator[str]:
    """Yield units, and log what makes their scores doubtful.

    That is the first line that is far too long for a model of lines, RNA for a model of DNA, and a text of white space alone.
    """
    has_units = has_text = is_foreign = False
    for number, unit in enumerate(units, start=1):
        if of_lines and (doubt := long_line_doubt(f"{names}: line {number:,}", len(unit))):
            logger.info(doubt)
            of_lines = False
        if not is_foreign and (doubt := foreign_base_doubt(tokenizer, names, unit)):
            logger.info(doubt)
            is_foreign = True
        has_units = True
        has_text = has_text or not (unit == "" or unit.isspace())
        yield unit
    if has_units and not has_text:
        logger.info(f"{names}: contains only white space: its scores are meaningless; name another file")


def _report_training_text(models: Sequence[Model], sources: Sequence[Source]) -> None:
    """Log which files hold the training text of a model. Only files of the same size are read for this."""
    known: dict[Source, str] = {}
    for model in models:
        config = config_if_readable(model)
        by_size: dict[int, list[TextFile]] = {}
        for file in training_files(config.corpus.files, config.asked.text.valid) if config else ():
            by_size.setdefault(file.of_bytes or file.num_bytes, []).append(file)
        for source in sources:
            same_size = by_size.get(source.stored_bytes, []) if source.stamp is not None else []
            if any(_digest(source, file.num_bytes) == file.sha256 for file in same_size):
                known.setdefault(source, str(model.path))
    if known:
        shown = first_of([source.name for source in known])
        logger.info(
            f"{shown}: {next(iter(known.values()))} was trained (or its weights were selected) on this text: "
            "the scores do not measure performance on unseen text"
        )


def _digest(source: Source, num_bytes: int) -> str:
    return sha256_of(replace(source, num_bytes=num_bytes))[1]


def report_unknown(total: Score, options: ScoreOptions, tokenizer: Tokenizer, of: str) -> None:
    """Log that many tokens of a scored text are unknown, unless the options give them a probability of their own.

    Args:
        total: the totals over the text.
        of: what the figures are of, for the message.
    """
    if options.spell or options.unk_penalty is not None:
        return
    num_tokens = total.num_tokens + total.num_excluded
    doubt = unknown_doubt(SplitSize(num_tokens=num_tokens, num_unknown=total.num_unknown), tokenizer, of)
    if doubt and options.exclude_unk:
        doubt = f"{total.num_unknown / num_tokens:.0%} of the tokens of {of} are excluded: the figures are of the others only"
    if doubt:
        logger.info(doubt)
