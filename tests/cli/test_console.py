import errno
import io
import sys

from charnn.cli.output import console


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
