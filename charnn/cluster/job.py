"""A text to score in parts: its plan made or found again, its parts scored one by one."""

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from charnn.cluster.indexing import cut, default_num_parts, index_of, line_offsets
from charnn.cluster.parts import FileSums, complete_lines, is_finished, part_path, remove_parts, write_marker
from charnn.cluster.plan import Part, Plan, PlannedFile, check_same, read_plan, write_plan
from charnn.cluster.reading import part_texts
from charnn.cluster.records import OpenRecords
from charnn.config import ScoreOptions
from charnn.config.scoring import FIT
from charnn.errors import ModelError, OptionError, TextError
from charnn.inference.threads import limited_blas_threads
from charnn.options import chosen, refuse_all
from charnn.scoring.build import Scorer, build_scorer
from charnn.scoring.preflight import input_to_score
from charnn.storage.model_directory import Model, read_model
from charnn.storage.run_files import LABEL_NGRAM_FILE, NGRAM_FILE, SPELLING_FILE
from charnn.text.fasta_sources import sequences_of
from charnn.text.located import ScoredInput, TextGroup, read_cells
from charnn.text.sources import Source, empty_text_error, find_sources
from charnn.text.tokenizers import text_encoding


@dataclass(frozen=True)
class ScoringJob:
    """What a process needs to score a part.

    Args:
        plan: the plan.
        output: the file that all parts together become.
        paths: absolute paths of the plan's files.
        model_paths: absolute paths of the models.
        open_records: opens what writes the records.
    """

    plan: Plan
    output: Path
    paths: tuple[Path, ...]
    model_paths: tuple[Path, ...]
    open_records: OpenRecords

    def unfinished(self) -> list[Part]:
        """Return the parts that are not finished."""
        return [part for part in self.plan.parts if not is_finished(self.output, self.plan, part)]


def check_divisible(options: ScoreOptions, files: Sequence[str], flag: str) -> None:
    """Refuse what cannot be scored in parts, since its units are not independent of each other.

    Args:
        flag: the option that asks for parts, for messages.

    Raises:
        OptionError: naming the first such option.
        TextError: for standard input.
    """
    if "-" in files:
        raise TextError(
            f"standard input: can be read only once, but {flag} reads a text again for each part; name files"
        )
    refuse_all(
        {
            f"--unit {options.unit}": options.is_running,
            "--state carry": options.state == "carry",
            **options.adaptations,
            "--pairs": options.pairs is not None,
            "--nbest": options.nbest is not None,
            "--rollout": options.rollout > 0,
        },
        flag,
    )
    fitted = {"--temperature fit": options.temperature == FIT, "--fit-weights": options.fit_weights is not None}
    for option, is_set in fitted.items():
        if is_set:
            raise OptionError(
                f"{option}: cannot be combined with {flag}, since each part would be fitted anew; "
                "fit once without it, and pass the number that is shown"
            )


def open_job(
    models: Sequence[Model],
    files: Sequence[str],
    options: ScoreOptions,
    scorer: Scorer,
    *,
    output: Path,
    open_records: OpenRecords,
    num_parts: int | None = None,
    width: int = 0,
) -> ScoringJob:
    """Return the job of scoring files in parts: the one that was begun, or a new one.

    Args:
        options: which `check_divisible` accepts.
        scorer: of the models.
        output: the file that all parts together become.
        num_parts: number of parts; by default, that of the job that was begun, or enough for many workers.
        width: columns of the terminal for which tables are written, unless the job was begun for another one.

    Raises:
        OptionError: if other parts were begun for this output.
        TextError: if the texts are empty or cannot be read.
    """
    if models[0].tokenizer.kind == "bins":
        raise OptionError(
            f"--shard and --ray: found {models[0].path}, a model of numbers, which are scored in order; leave them out"
        )
    sources = find_sources(files, as_bytes=models[0].tokenizer.kind == "byte")
    fasta = next((each.name for each in sequences_of(sources, models[0].tokenizer) if each.fasta), None)
    if fasta is not None:
        raise OptionError(f"--shard, --ray: found FASTA, {fasta}, which is scored in one part; leave them out")
    wanted = Plan(
        asked=tuple(files),
        files=tuple(map(_planned, sources)),
        models=tuple(str(model.path) for model in models),
        model_sha256=tuple(model_sha256(model, options) for model in models),
        options=chosen(options),
        weights=tuple(scorer.weights),
        reads_backward=any(each.is_backward for each in scorer.estimators),
        kept=(),
        width=width,
        has_one_window=False,
        parts=(),
    )
    plan = read_plan(output)
    if plan is not None and plan.is_merged:
        remove_parts(output)
        plan = None
    if plan is not None:
        check_same(output, plan, wanted, num_parts=num_parts)
    else:
        plan = _with_parts(wanted, sources, models, options, num_parts)
        write_plan(output, plan)
    paths = tuple(_path_of(source).absolute() for source in sources)
    model_paths = tuple(model.path.absolute() for model in models)
    return ScoringJob(plan, output.absolute(), paths, model_paths, open_records)


def _planned(source: Source) -> PlannedFile:
    if source.stamp is None:
        raise TextError(f"{source.name}: is a pipe, which can be read only once; write it to a file first")
    return PlannedFile(source.name, source.stamp.num_bytes, source.stamp.changed_ns, 0, False)


def _path_of(source: Source) -> Path:
    assert source.path is not None
    return source.path


def _with_parts(
    plan: Plan, sources: Sequence[Source], models: Sequence[Model], options: ScoreOptions, num_parts: int | None
) -> Plan:
    """Return a plan with the parts of its texts, which are read through for this."""
    found = _input([source.name for source in sources], models, options)
    index = index_of(found)
    if not index.num_windows:
        raise empty_text_error(plan.asked, "there is nothing to score")
    parts = cut(index, default_num_parts(index.num_windows) if num_parts is None else num_parts)
    encoding = text_encoding(models[0].tokenizer, options.encoding)
    files = list(plan.files)
    for number, (source, num_units) in enumerate(zip(sources, index.units_per_file, strict=True)):
        of_file = [part for part in parts if part.file == number]
        offsets = None
        if options.unit == "line" and not options.column:
            begins = [part.num_before for part in of_file]
            offsets = line_offsets(source, begins, num_lines=num_units, encoding=encoding)
        files[number] = replace(files[number], num_units=num_units, is_seekable=offsets is not None)
        for part in of_file:
            parts[part.number - 1] = replace(part, offset=offsets[part.num_before] if offsets else None)
    return replace(
        plan, files=tuple(files), kept=tuple(found.kept), has_one_window=index.num_windows == 1, parts=tuple(parts)
    )


def _input(names: Sequence[str], models: Sequence[Model], options: ScoreOptions) -> ScoredInput:
    if options.column:
        return read_cells(names, options.column, by_region=options.by_region, encoding=options.encoding)
    return input_to_score(models, names, options, tokenizer=models[0].tokenizer)


def model_sha256(model: Model, options: ScoreOptions) -> str:
    """Return the digest of all of a model that its scores depend on."""
    digest = hashlib.sha256(model.tokenizer_sha256.encode("ascii"))
    digest.update(repr(model.architecture).encode("utf-8"))
    for name in sorted(model.weights):
        digest.update(name.encode("utf-8"))
        digest.update(np.ascontiguousarray(model.weights[name]).tobytes())
    needed = {
        NGRAM_FILE: options.mix_ngram,
        LABEL_NGRAM_FILE: options.mix_ngram and options.label is not None,
        SPELLING_FILE: options.spell,
    }
    for name, is_read in needed.items():
        if is_read and (model.path / name).exists():  # otherwise reported where it is read
            digest.update((model.path / name).read_bytes())
    return digest.hexdigest()


def scorer_of(job: ScoringJob) -> Scorer:
    """Read a job's models and return their scorer.

    Raises:
        ModelError: if a model is not the one that the job was begun with.
    """
    options = job.plan.score_options
    models = [read_model(path) for path in job.model_paths]
    for model, sha256 in zip(models, job.plan.model_sha256, strict=True):
        if model_sha256(model, options) != sha256:
            raise ModelError(
                f"{model.path}: is not the model that the parts of {job.output.name} were begun with; "
                "give every machine the same one"
            )
    return build_scorer(models, options)


def score_part(job: ScoringJob, part: Part, scorer: Scorer) -> None:
    """Score one part, and mark it as finished.

    Its batches are those of the whole text, and each is computed by one BLAS thread as there, so that its scores are equal bit
    for bit.

    Raises:
        TextError: if a file is not as it was when the job was begun.
        StorageError: if the part cannot be written.
    """
    options, sums = job.plan.score_options, dict[int, FileSums]()
    group = TextGroup(part_texts(job.plan, part, job.paths, scorer.tokenizer))
    threads = nullcontext() if job.plan.has_one_window else limited_blas_threads(1)
    with complete_lines(part_path(job.output, job.plan, part)) as file, threads:
        records = job.open_records(job.plan, file)
        for score in scorer.scores(group.texts(), options, first=part.first):
            origin = group.next_origin()
            records.add(score, origin)
            sums.setdefault(origin.file_number, FileSums()).add(score)
    num_units = sum(each.num_units for each in sums.values())
    if num_units != part.num_units:
        raise TextError(f"{job.plan.files[part.file].name}: changed while it was read; run the command again")
    write_marker(job.output, job.plan, part, sums)
