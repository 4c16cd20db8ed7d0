import errno
import io
import json
import signal
import sys

import pytest

from charnn.cli.output import console, lines
from charnn.cli.output.lines import Lines
from charnn.files import to_json


def test_results_are_utf8_with_plain_line_ends_whatever_the_terminal_says(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252", newline="\r\n"))
    console.prepare_streams()
    console.write_line("⏎ é ─\udcff")
    console.write("", flush=True)
    assert written.getvalue() == "⏎ é ─".encode() + b"\xff\n"


def test_a_terminal_that_was_closed_is_no_reason_to_stop(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise OSError(errno.EIO, f"Input/output error after {text}")

    monkeypatch.setattr(sys, "stderr", Closed())
    console.notice("x")


@pytest.mark.parametrize("items", [[], [1], list(range(7))])
def test_an_object_is_written_in_parts_as_it_is_at_once(monkeypatch, items):
    monkeypatch.setattr(console, "ITEMS_AT_ONCE", 3)
    record = {"a": [1.5, None], "items": [{"n": item, "s": "\u2028é"} for item in items], "b": float("nan")}
    parts = list(console.json_parts({**record, "items": iter(record["items"])}))
    assert "".join(parts) == to_json(record)
    assert len(parts) >= len(items) // 3
    assert "".join(console.json_parts({})) == "{}"


@pytest.mark.parametrize("output", [None, "out.jsonl"])
def test_an_interrupt_waits_for_the_end_of_a_line(monkeypatch, capsys, tmp_path, output):
    monkeypatch.setattr(lines, "CHARS_AT_ONCE", 2)

    def parts():
        yield "[1, "
        signal.raise_signal(signal.SIGINT)
        yield "2]"

    with pytest.raises(KeyboardInterrupt), Lines(None if output is None else str(tmp_path / output)) as written:
        written.write_parts(parts())
    text = capsys.readouterr().out if output is None else (tmp_path / f"{output}.part").read_text()
    assert json.loads(text) == [1, 2]
    assert text.endswith("\n")
