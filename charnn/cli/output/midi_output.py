"""`charnn sample --midi`: samples of a model of tunes, as music."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import charnn
from charnn.cli.output import console
from charnn.errors import CharnnError, OptionError, TextError

if TYPE_CHECKING:
    from charnn.sampling.streams import Sample
    from charnn.storage.model_directory import Model

SAMPLE_AGAIN = "sample again, or lower --temperature"


class MidiOutput:
    """Receives finished samples, and writes them as one MIDI file.

    Args:
        model: of tunes.
        prompts: the text of each prompt; sample i continues prompt i // num_samples.
        file: to write.

    Raises:
        OptionError: for another model.
        CharnnError: if music21 is not installed.
    """

    def __init__(self, model: "Model", prompts: Sequence[str], num_samples: int, file: str) -> None:
        if model.tokenizer.unit != "tune":
            raise OptionError(
                f"--midi: found {model.path}, a model with --unit {model.tokenizer.unit}, but only tunes can be played; "
                "leave it out, or train on ABC notation with --unit tune"
            )
        try:
            self._music = importlib.import_module("charnn.export.midi")
        except ModuleNotFoundError as error:
            raise CharnnError(
                f"sample --midi: {error.name} is not installed; in the clone, run pip install -e '.[music]'"
            ) from None
        self._prompts, self._num_samples, self._file = prompts, num_samples, Path(file)
        self._is_spaced = model.tokenizer.kind == "pretokenized"
        self._tunes: dict[int, str] = {}
        self._cut: set[int] = set()

    def take(self, number: int, sample: "Sample") -> None:
        """Receive a sample, which may still be in progress."""
        if sample.ended is not None:
            self._tunes[number] = self._prompts[number // self._num_samples] + sample.text
            if sample.ended == "length":
                self._cut.add(number)

    def write(self) -> None:
        """Write all samples that are music, and say which are not. Raises TextError if none is."""
        numbers = sorted(self._tunes)
        music = self._music.music_of([self._tunes[number] for number in numbers], is_spaced=self._is_spaced)
        cut = " (cut off by --length)"
        reasons = {index: why + (cut if numbers[index] in self._cut else "") for index, why in music.refused.items()}
        advice = "raise --length" if self._cut.issuperset(numbers[index] for index in reasons) else SAMPLE_AGAIN
        if not music.content:
            one = len(numbers) == 1
            found = f"the sample cannot be played: {reasons[0]}"
            found = found if one else f"none of the {len(numbers)} samples can be played; the first: {reasons[0]}"
            raise TextError(f"--midi: {found}; nothing is written; {advice}")
        for index, why in reasons.items():
            advised = "; raise --length" if numbers[index] in self._cut else ""
            console.notice(f"sample {numbers[index] + 1}: cannot be played: {why}; left out of {self._file}{advised}")
        charnn.api.write_output(self._file, music.content)
        num_played = len(numbers) - len(music.refused)
        console.notice(f"wrote {console.counted(num_played, 'tune')} to {self._file}")
