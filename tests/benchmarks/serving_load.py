"""What `charnn serve` adds to the engine: latency, throughput of 64 clients, memory over many requests.

    python tests/benchmarks/serving_load.py RUN [--requests 100000] [--rounds 5] [--clients 64] [--length 500]

Starts the server itself, on a free port of this machine. The engine's own times are measured in this process, taking turns with
those of the server. Requests of the last part differ in prompt, seed, options and kind, and some are wrong.
"""

import argparse
import asyncio
import contextlib
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import charnn
import charnn.api
from charnn.config import SampleOptions

FIRST_TOKENS = 50
PROMPT = "The fox"
CONNECTIONS = 8
"""Connections of the many requests, each of which sends one after another."""
WARM_UP = 2000
"""Requests before memory is first read: buffers and caches have their size then."""
SECONDS_PER_REPLY = 120


@contextlib.contextmanager
def serving(run: Path) -> Iterator[tuple[int, int]]:
    """Start a server; yield its port and process id."""
    command = [sys.executable, "-m", "charnn", "serve", "-m", str(run), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if found is None:
            sys.exit(f"the server did not start: {line}{process.stderr.read()}")
        yield int(found[1]), process.pid
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()
        process.wait()


class Connection:
    """A connection that is kept for one request after another."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, path: str, body: bytes) -> asyncio.StreamReader:
        """Send a POST request; return the reader of its reply."""
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        return self._reader

    async def reply(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Send a POST request; return the status and the content of its reply."""
        reader = await self.send(path, body)
        head = await reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        assert size is not None
        return int(head.split(b" ")[1]), await reader.readexactly(int(size[1]))

    def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()


async def streamed(port: int, body: dict[str, object]) -> tuple[float, float]:
    """Ask for a stream on a new connection; return the seconds until its first token and until its end."""
    connection, started, first = Connection(port), time.perf_counter(), 0.0
    reader = await connection.send("/v1/completions", json.dumps({**body, "stream": True}).encode())
    while line := await reader.readline():
        if line.startswith(b"data: ") and not first:
            first = time.perf_counter() - started
        if line.startswith(b'data: {"error"'):
            sys.exit(line.decode())
        if line == b"data: [DONE]\n":
            break
    connection.close()
    return first, time.perf_counter() - started


def first_tokens(model: charnn.LanguageModel, port: int) -> None:
    """Print the median time to the first token, of the engine and over HTTP on a new connection."""
    stepper, options = charnn.api.build_stepper(model.models[0]), SampleOptions(length=20)
    sampler = charnn.api.build_sampler(model.models[0], stepper, options)
    own, over_http = [], []
    for seed in range(FIRST_TOKENS + 1):
        started = time.perf_counter()
        prompts = charnn.api.Prompts(model.models[0], stepper, [PROMPT], options)
        next(sampler.generate(charnn.api.sample_requests(prompts, options, seed)))
        own.append(time.perf_counter() - started)
        body: dict[str, object] = {"prompt": PROMPT, "max_tokens": 20, "seed": seed}
        over_http.append(asyncio.run(streamed(port, body))[0])
    engine, served = (1000 * statistics.median(found[1:]) for found in (own, over_http))
    print(
        f"first token, median of {FIRST_TOKENS}: engine {engine:.2f} ms, HTTP {served:.2f} ms, {served - engine:+.2f} ms",
        flush=True,
    )


def engine_speed(model: charnn.LanguageModel, clients: int, length: int) -> float:
    """Return the tokens per second of `charnn sample --num-samples`, without its start."""
    started = time.perf_counter()
    samples = model.sample(PROMPT, num_samples=clients, length=length, seed=1)
    return sum(len(sample.ids) for sample in samples) / (time.perf_counter() - started)


async def all_at_once(port: int, clients: int, length: int) -> tuple[float, list[float]]:
    """Return the tokens per second of clients that ask at the same time, and the seconds to the first token of each."""
    started = time.perf_counter()
    bodies = [{"prompt": PROMPT, "max_tokens": length, "seed": seed} for seed in range(clients)]
    found = await asyncio.gather(*(streamed(port, dict(body)) for body in bodies))
    return clients * length / (time.perf_counter() - started), [first for first, _ in found]


def many_clients(model: charnn.LanguageModel, port: int, options: argparse.Namespace) -> None:
    """Print the throughput of many clients relative to one batch, and how evenly they are served."""
    speeds, ratios, slowest, medians = [], [], [], []
    for number in range(options.rounds + 1):
        before = engine_speed(model, options.clients, options.length)
        speed, firsts = asyncio.run(all_at_once(port, options.clients, options.length))
        after = engine_speed(model, options.clients, options.length)
        if number:
            speeds.append(speed)
            ratios.append(2 * speed / (before + after))
            slowest.append(max(firsts) / statistics.median(firsts))
            medians.append(1000 * statistics.median(firsts))
    print(
        f"{options.clients} clients, {options.length} tokens each: {statistics.median(speeds):,.0f} tokens/s, "
        f"{statistics.median(ratios):.2f} times charnn sample ({min(ratios):.2f} to {max(ratios):.2f}); first token: median "
        f"{statistics.median(medians):.0f} ms, slowest {statistics.median(slowest):.2f} times that (at most {max(slowest):.2f})",
        flush=True,
    )


def request(number: int) -> tuple[str, bytes, int]:
    """Return the path, the body and the expected status of one of many requests."""
    text = f"The fox {number % 977} and"[: 7 + number % 9]
    kind = number % 8
    if kind == 0:
        return "/v1/score", json.dumps({"text": [text, "A heron"]}).encode(), 200
    if kind == 1:
        return (
            "/v1/completions",
            json.dumps({"prompt": text, "max_tokens": 0, "echo": True, "logprobs": 2}).encode(),
            200,
        )
    if kind == 2:
        return "/v1/completions", b'{"prompt": [[]', 400
    if kind == 3:
        return "/v1/completions", json.dumps({"temperature": f"hot {number}"}).encode(), 400
    if kind == 4:
        return "/tokenize", json.dumps({"prompt": text}).encode(), 200
    body = {"prompt": text, "max_tokens": 1 + number % 5, "temperature": 0.5 + number % 101 / 100, "n": 1 + number % 2}
    return "/v1/completions", json.dumps({**body, "on_unknown": "unk"}).encode(), 200


async def ask_in_turn(port: int, numbers: range) -> None:
    """Send requests, one after another on one connection."""
    connection = Connection(port)
    for number in numbers:
        path, body, expected = request(number)
        status, content = await asyncio.wait_for(connection.reply(path, body), SECONDS_PER_REPLY)
        if status != expected:
            sys.exit(f"{path} {body!r}: {status} {content!r}")
    connection.close()


async def ask_many(port: int, numbers: range) -> None:
    """Send requests on several connections."""
    await asyncio.gather(*(ask_in_turn(port, numbers[first::CONNECTIONS]) for first in range(CONNECTIONS)))


def resident_mib(process: int) -> float:
    """Return the memory of a process."""
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(process)], capture_output=True, text=True, check=True)
    return int(shown.stdout) / 1024


def memory(port: int, process: int, num_requests: int) -> None:
    """Print the server's memory before, amid and after many requests."""
    asyncio.run(ask_many(port, range(WARM_UP)))
    found, started, half = [resident_mib(process)], time.perf_counter(), num_requests // 2
    for numbers in (range(half), range(half, num_requests)):
        asyncio.run(ask_many(port, numbers))
        found.append(resident_mib(process))
    seconds = time.perf_counter() - started
    print(
        f"{num_requests:,} requests in {seconds:.0f} s ({num_requests / seconds:.0f}/s): memory "
        f"{', '.join(f'{each:.1f}' for each in found)} MiB at the start, in the middle and at the end"
    )


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a model")
    for name, default in {"requests": 100_000, "rounds": 5, "clients": 64, "length": 500}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    model = charnn.load(options.run)
    with serving(options.run) as (port, process):
        first_tokens(model, port)
        many_clients(model, port, options)
        memory(port, process, options.requests)


if __name__ == "__main__":
    main()
