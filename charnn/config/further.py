"""Options of further training: the model to begin with, new tokens, and frozen parameters."""

import re
from dataclasses import dataclass
from typing import Annotated

from charnn.errors import OptionError
from charnn.options import Checked, Option, refuse_unused

FURTHER = "Further training"
OLD_ROWS = "old-rows"
_PARTS = re.compile(rf"embedding|layers|layer-[1-9]\d*|attention|output|{OLD_ROWS}")


@dataclass(frozen=True, kw_only=True)
class FurtherOptions(Checked):
    """Training an existing model further on another text."""

    init_from: Annotated[
        str | None,
        Option(
            "Train this model further: begin with its weights.",
            automatic="new weights",
            panel=FURTHER,
            common=True,
            metavar="RUN",
        ),
    ] = None
    extend_vocab: Annotated[
        bool,
        Option(
            "Add tokens of TEXT that the model does not know to its vocabulary (char, word), instead of reading them as "
            "<unk>; --min-count and --vocab-size limit them.",
            panel=FURTHER,
        ),
    ] = False
    freeze: Annotated[
        str | None,
        Option(
            "Leave these parameters unchanged: embedding, layers, layer-1, layer-2, ..., attention, output, or old-rows (those "
            "of the tokens before --extend-vocab), separated by commas.",
            automatic="none",
            panel=FURTHER,
            metavar="PARTS",
        ),
    ] = None

    def __post_init__(self) -> None:
        """Check bounds, and refuse options that have no effect."""
        super().__post_init__()
        refuse_unused("--extend-vocab", self.extend_vocab and self.init_from is None, "--init-from")
        refuse_unused("--freeze", self.freeze is not None and self.init_from is None, "--init-from")
        parts = frozen_parts(self.freeze)
        for part in parts:
            if not _PARTS.fullmatch(part):
                raise OptionError(
                    f"--freeze: found {part!r}, but each part must be embedding, layers, layer-1, layer-2, ..., attention, "
                    f"output or {OLD_ROWS}"
                )
        refuse_unused(f"--freeze {OLD_ROWS}", OLD_ROWS in parts and not self.extend_vocab, "--extend-vocab")


def frozen_parts(freeze: str | None) -> list[str]:
    """Return the parts that `--freeze` names."""
    return [] if freeze is None else [part.strip() for part in freeze.split(",")]
