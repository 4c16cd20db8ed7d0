"""The output of `charnn sample`: streamed text, text one sample after another, or records; with alternatives and novelty."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import charnn
from charnn.cli.commands.sample_novelty import described, measure_samples, record_of, texts_to_compare
from charnn.cli.output import console
from charnn.cli.output.alternatives import EXPLANATION, AlternativesView, legend
from charnn.config import SampleOptions
from charnn.errors import StorageError

if TYPE_CHECKING:
    from rich.text import Text

    from charnn.analysis.memorization import Memorization
    from charnn.cli.output.alternatives import AlternativesView
    from charnn.sampling.sampler import SampleUpdate
    from charnn.sampling.streams import Sample
    from charnn.storage.model_directory import Model


class SampleOutput:
    """Receives pieces of samples as they are generated, and writes the samples in order.

    Args:
        prompts: the text of each prompt; sample i continues prompt i // --num-samples.
        file: an output file instead of stdout, which is written on closing.
    """

    def __init__(self, model: "Model", options: SampleOptions, prompts: Sequence[str], file: str | None) -> None:
        self._options, self._prompts, self._model = options, prompts, model
        self._file = file
        self._parts: list[str] = []
        self._finished: dict[int, Sample] = {}
        self._next_number = 0
        if file is not None:
            charnn.api.refuse_unwritable(Path(file))
        if options.novelty:
            texts_to_compare(model)
        num_samples = len(prompts) * options.num_samples
        self._shows_rows = options.format == "text" and options.show_alternatives > 0
        plain = options.format == "text" and not options.show_alternatives
        self._streams = plain and num_samples == 1
        is_report = options.show_alternatives > 0 or options.novelty
        takes_lines = num_samples > 1 and (model.tokenizer.unit != "line" or is_report)
        self._has_headings = takes_lines and (is_report or (file is None and console.is_terminal()))
        self._has_blank_lines = takes_lines and not self._has_headings
        self._view: AlternativesView | None = None
        self._reports: dict[int, Memorization] = {}
        self._has_begun = False
        self._last = ""

    def __enter__(self) -> "SampleOutput":
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write the finished samples, even after an error."""
        self.close(has_failed=error is not None)

    def take(self, update: "SampleUpdate") -> None:
        """Receive a piece of a sample, and write the samples that are complete and next in order."""
        number, fresh, sample = update
        if number < self._next_number:  # an interrupt may report the end of a sample twice
            return
        if self._streams:
            self._stream(fresh)
        if self._shows_rows and number == self._next_number:
            self._show_rows(number, sample)
        if sample.ended is not None:
            self._finished[number] = sample
        if not self._options.novelty:
            self._write_finished()

    @property
    def only_streams(self) -> bool:
        """Whether a sample is not needed once its text has been shown."""
        return self._streams and not self._options.novelty and self._file is None

    def take_all(self, number: int, samples: "Sequence[Sample]") -> None:
        """Receive the results of beam search for a prompt, which may be fewer than requested."""
        first = number * self._options.num_samples
        for index, sample in enumerate(samples):
            self.take(charnn.api.SampleUpdate(first + index, sample.text, sample))
        if not self._options.novelty:
            self._next_number = first + self._options.num_samples

    def close(self, *, has_failed: bool = False) -> None:
        """Measure the novelty of the samples, if requested, and write what remains."""
        if self._options.novelty and self._finished:
            self._reports = measure_samples(self._model, self._finished)
        self._write_all()

        if self._file is not None and (self._parts or not has_failed):
            content, path = "".join(self._parts), Path(self._file)
            self._file = None
            try:
                charnn.api.write_output(path, content.encode("utf-8", "surrogateescape"))
            except StorageError:
                console.write(content)
                console.notice(f"{path} could not be written, so the text was written to standard output")
                raise

    def _stream(self, fresh: str) -> None:
        if not self._has_begun:
            self._has_begun = True
            fresh = self._shown_prompt(0) + fresh
        self._put(fresh)
        self._last = fresh or self._last

    def _write_finished(self) -> None:
        while self._next_number in self._finished:
            self._write_whole(self._next_number, self._finished.pop(self._next_number))
            self._next_number += 1

    def _write_all(self) -> None:
        for number in sorted(self._finished):
            self._write_whole(number, self._finished[number])
        self._finished = {}

    def _write_whole(self, number: int, sample: "Sample") -> None:
        report = self._reports.get(number)
        if self._streams:
            self._put("" if self._last.endswith("\n") else "\n")
        self._notice_early_end(number, sample)
        if self._options.format == "jsonl":
            self._put(charnn.api.to_json(self._record(number, sample, report)) + "\n")
            return
        if self._shows_rows:
            self._show_rows(number, sample)
            self._view = None
        elif not self._streams:
            if self._has_headings:
                self._put(self._heading(number, sample))
            whole = self._shown_prompt(number) + sample.text
            if self._has_blank_lines and self._has_begun:
                self._put("\n")
            self._has_begun = True
            self._put((whole.removesuffix("\n") if self._has_headings or self._has_blank_lines else whole) + "\n")
        if report is not None:
            self._put(described(report, sample, self._model))

    def _show_rows(self, number: int, sample: "Sample") -> None:
        if self._view is None:
            if number == 0:
                self._put(EXPLANATION + "\n")
                if console.is_terminal() and self._file is None:
                    self._show(legend())
            if self._has_headings:
                self._put(self._heading(number, sample))
            prompt = self._shown_prompt(number)
            self._put(prompt + "\n" if prompt else "")
            width = console.output_console().width
            tokenizer = self._model.tokenizer
            tokens = [charnn.api.as_text(token, tokenizer.kind) for token in tokenizer.vocabulary.tokens]
            self._view = AlternativesView(tokens, width)
        for row in self._view.take(sample):
            self._show(row)

    def _show(self, text: "Text") -> None:
        if self._file is not None:
            self._parts.append(text.plain + "\n")
        else:
            console.show(text)

    def _notice_early_end(self, number: int, sample: "Sample") -> None:
        if sample.ended == "stuck":
            console.notice(
                f"sample {number + 1}: ended early, since --match, --no-repeat-ngram, --allow and --ban leave no token of the "
                "vocabulary to continue with; allow more"
            )
        elif sample.matches is False:
            console.notice(
                f"sample {number + 1}: ended ({sample.ended}) before the whole of it matched --match; increase -n"
            )

    def _heading(self, number: int, sample: "Sample") -> str:
        prompt, index = divmod(number, self._options.num_samples)
        named = f"prompt {prompt + 1}, " if len(self._prompts) > 1 else ""
        seed = f", seed {sample.seed}" if self._options.draws else ""
        return f"=== {named}sample {index + 1}{seed} ===\n"

    def _shown_prompt(self, number: int) -> str:
        return self._prompts[number // self._options.num_samples] if self._options.echo else ""

    def _put(self, text: str) -> None:
        if self._file is not None:
            self._parts.append(text)
        else:
            console.write(text, flush=console.is_terminal())

    def _record(self, number: int, sample: "Sample", report: "Memorization | None") -> dict[str, object]:
        record: dict[str, object] = {
            "prompt": self._prompts[number // self._options.num_samples],
            **({} if self._options.label is None else {"label": self._options.label}),
            "text": sample.text,
            "seed": sample.seed if self._options.draws else None,
            "ids": sample.ids,
            "log_prob": sample.log_prob_nats,
            "log_base": "e",
            "perplexity": sample.perplexity,
            "ended": sample.ended,
            **({} if sample.matches is None else {"matches": sample.matches}),
        }
        if self._options.show_alternatives:
            record["tokens"] = self._tokens(sample)
        if report is not None:
            record["novelty"] = record_of(report)
        return record

    def _tokens(self, sample: "Sample") -> list[dict[str, object]]:
        tokens = self._model.tokenizer.vocabulary.tokens
        return [
            {
                "token": tokens[id],
                "id": id,
                "log_prob": log_prob,
                "alternatives": [
                    {"token": tokens[other], "id": other, "log_prob": nats} for other, nats in alternatives
                ],
            }
            for id, log_prob, alternatives in zip(sample.ids, sample.log_probs_nats, sample.alternatives, strict=False)
        ]
