"""`charnn tokenize`: the tokens of a text and their ids."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from charnn.cli.commands.loading import load_model
from charnn.cli.options import COMMON, ModelArgument, Overrides, with_options
from charnn.cli.output import console

if TYPE_CHECKING:
    from charnn.text.tokenizers import Token

LABELS = ("string", "tokens", "ids")


@with_options()
def tokenize(
    text: Annotated[str, typer.Argument(help="The text to tokenize.")],
    model: ModelArgument = None,
    format: Annotated[
        Literal["table", "jsonl"],
        typer.Option(
            "--format",
            metavar="NAME",
            help="Three rows (table), or one JSON record per token (jsonl).",
            show_default="table",
        ),
        COMMON,
    ] = "table",
    *,
    overrides: Overrides,  # noqa: ARG001 (it has no options of its own)
) -> None:
    """Show the tokens of a text with their ids, and which are unknown."""
    loaded = load_model(model)
    vocabulary = loaded.tokenizer.vocabulary
    tokens = loaded.tokenizer.tokenize(text)
    if format == "jsonl":
        for token in tokens:
            unknown = token.id == vocabulary.unknown_id
            console.write_json({"token": token.text, "id": token.id, "start": token.start, "unknown": unknown})
        return
    columns = [
        (console.visible(token.text), console.visible(vocabulary.tokens[token.id]), str(token.id)) for token in tokens
    ]
    for row in _wrapped(columns, console.output_console().width):
        console.show(row)
    unknown_tokens = [token for token in tokens if token.id == vocabulary.unknown_id]
    console.write_line(f"{len(tokens):,} tokens, {len(unknown_tokens):,} unknown{_list_of(unknown_tokens)}")


def _list_of(unknown: list["Token"]) -> str:
    occurrences = [f"{token.text!r} at position {token.start + 1}" for token in unknown[:10]]
    more = [f"and {len(unknown) - 10} more"] if len(unknown) > 10 else []
    return ": " + ", ".join([*occurrences, *more]) if unknown else ""


def _wrapped(columns: list[tuple[str, str, str]], width: int) -> list[str]:
    """Return the three rows, wrapped at the width of the terminal."""
    from rich.cells import cell_len, set_cell_size

    label_width = max(map(len, LABELS)) + 2
    blocks: list[list[tuple[str, str, str]]] = [[]]
    used = label_width
    for column in columns:
        needed = max(map(cell_len, column)) + 1
        if used + needed > width and blocks[-1]:
            blocks.append([])
            used = label_width
        blocks[-1].append(column)
        used += needed
    rows = []
    for block in blocks:
        widths = [max(map(cell_len, column)) for column in block]
        for number, label in enumerate(LABELS):
            cells = [set_cell_size(column[number], size) for column, size in zip(block, widths, strict=True)]
            rows.append(f"{label:<{label_width}}{' '.join(cells)}".rstrip())
        rows.append("")
    return rows
