"""Options of exports."""

from dataclasses import dataclass
from typing import Annotated, Literal

from charnn.options import Checked, Option

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
