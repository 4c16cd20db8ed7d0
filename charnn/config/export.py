"""Options of exports."""

from dataclasses import dataclass
from typing import Annotated, Literal

from charnn.config.labels import Label
from charnn.options import Checked, Option, refuse_unused

ExportFormat = Literal["hf", "onnx", "html"]


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Checked):
    """The format of an export.

    Example:
        >>> from charnn.config import ExportOptions
        >>> ExportOptions(to="html").to
        'html'
    """

    to: Annotated[
        ExportFormat,
        Option(
            "A directory for Hugging Face transformers (hf) or ONNX Runtime (onnx), or a page for any browser (html).",
            common=True,
        ),
    ] = "html"
    weights: Annotated[
        Literal["int8", "fp32"] | None,
        Option(
            "Precision of the weights in a page: int8 (a quarter of the size) or fp32 (html only).", automatic="int8"
        ),
    ] = None

    label: Label = None

    def __post_init__(self) -> None:
        """Check the choices, and refuse an option that has no effect for this format."""
        super().__post_init__()
        refuse_unused("--weights", self.weights is not None and self.to != "html", "--to html")
