"""The samples of a reply as they are generated, streamed or whole."""

import asyncio
import itertools
import math
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

import charnn.api
from charnn.errors import OptionError
from charnn.files import JsonObject
from charnn.serving.bodies import Body, RequestError, error_content
from charnn.serving.completions import CompletionRequest
from charnn.serving.models import ServedModel
from charnn.serving.replies import Beginning, Choice, Reply, WholeChoice, choice_content
from charnn.serving.workers import Check, Workers, stopped_error

DONE = "data: [DONE]\n\n"
MAX_SHORT = 64
"""Maximum length of a prompt that is read at once in the event loop."""
SECONDS_BETWEEN_EVENTS = 0.02
"""Minimum time between the events of a stream after the first one: an event costs more time than a token."""

Updates = list["charnn.api.Update"]


class Mailbox:
    """Brings updates from the generating threads to an event loop, which is woken once for many of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._posted: deque[tuple[asyncio.Queue[Updates], Updates]] = deque()
        self._is_woken = False

    def post(self, queue: "asyncio.Queue[Updates]", updates: Updates) -> None:
        """Put updates into a queue of the loop, from another thread. Raises RuntimeError if the loop is closed."""
        self._posted.append((queue, updates))
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._distribute)

    def _distribute(self) -> None:
        self._is_woken = False  # first, so that what is posted from now on wakes the loop again
        while self._posted:
            queue, updates = self._posted.popleft()
            queue.put_nowait(updates)


@dataclass(frozen=True)
class Prepared:
    """A request whose prompts are read.

    Args:
        body: of the request.
        beginnings: of the choices.
        queue: receives what is generated.
        job: its samples; None if nothing is to be generated.
    """

    body: Body
    reply: Reply
    beginnings: Sequence[Beginning]
    queue: "asyncio.Queue[Updates]"
    job: "charnn.api.Job | None"

    @classmethod
    async def of(cls, body: Body, model: ServedModel, workers: Workers, mailbox: Mailbox) -> "Prepared":
        """Check a request and read its prompts."""
        queue = asyncio.Queue[Updates]()

        def prepare(check: Check) -> Prepared:
            request = CompletionRequest.read(body, model)
            reply = Reply(model, request)
            beginnings = reply.beginnings(check)
            if request.max_tokens == 0:
                return cls(body, reply, beginnings, queue, None)
            job = model.generation.job(
                request.options,
                reply.sample_requests(check),
                lambda updates: mailbox.post(queue, updates),
                seconds_between=SECONDS_BETWEEN_EVENTS if request.stream else math.inf,
            )
            return cls(body, reply, beginnings, queue, job)

        return prepare(_no_check) if _is_short(body) else await workers.run(prepare)


def _is_short(body: Body) -> bool:
    """Return whether a request is read so quickly that a thread would take longer."""
    prompt, fields = body.fields.get("prompt"), body.fields
    takes_longer = any(fields.get(name) for name in ("match", "mix_ngram", "logit_bias", "no_repeat_ngram", "echo"))
    is_short = prompt is None or (isinstance(prompt, str | list) and len(prompt) <= MAX_SHORT and _is_flat(prompt))
    return is_short and not takes_longer and fields.get("n") in (None, 1)


def _is_flat(prompt: str | list[object]) -> bool:
    return isinstance(prompt, str) or all(isinstance(each, int) for each in prompt)


def _no_check() -> None:
    """Do nothing where other work need not have its turn."""


class Samples:
    """The choices of a request while they are generated.

    Raises:
        QueueFullError: if too many samples wait already.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._prepared, self.reply = prepared, prepared.reply
        self.choices = [Choice(beginning, prepared.reply.request) for beginning in prepared.beginnings]
        self.was_interrupted = False
        if prepared.job is not None:
            self.reply.model.generation.submit(prepared.job)

    @property
    def num_generated(self) -> int:
        """Tokens so far."""
        return sum(choice.num_tokens for choice in self.choices)

    async def parts(self) -> AsyncIterator[list[JsonObject]]:
        """Yield elements of `choices` as they come, until all are complete. Raises RequestError if the generation fails."""
        if self._prepared.job is None:
            nothing = [charnn.api.Update(index, ended="length") for index in range(len(self.choices))]
            yield [self.choices[update.index].part(update) for update in nothing]
            return
        while not all(choice.is_complete for choice in self.choices):
            updates = await self._prepared.queue.get()
            while not self._prepared.queue.empty():  # of a client that reads slowly
                updates += self._prepared.queue.get_nowait()
            before = list(itertools.takewhile(lambda update: update.error is None, updates))
            self.was_interrupted |= any(update.ended == "interrupted" for update in before)
            if before:
                yield [self.choices[update.index].part(update) for update in _merged(before)]
            if len(before) < len(updates):
                raise self._failure(updates[len(before)].error)

    def _failure(self, error: Exception | None) -> RequestError:
        if isinstance(error, OptionError):  # such as an expression that takes too long to match
            return self._prepared.body.refused(error)
        return RequestError("the generation failed; the server's log says why", status=500)

    def cancel(self) -> None:
        """Drop the samples that are not complete."""
        if self._prepared.job is not None and not all(choice.is_complete for choice in self.choices):
            self.reply.model.generation.cancel(self._prepared.job)

    def error_parts(self) -> list[JsonObject]:
        """Return the last elements of the choices that an error has ended."""
        return [
            choice_content(index, "", None, "error")
            for index, choice in enumerate(self.choices)
            if not choice.is_complete
        ]


def _merged(updates: "Iterable[charnn.api.Update]") -> "list[charnn.api.Update]":
    """Return one update for each stream: clients expect a choice once in an event."""
    by_index: dict[int, charnn.api.Update] = {}
    for update in updates:
        earlier = by_index.get(update.index)
        by_index[update.index] = update if earlier is None else earlier.followed_by(update)
    return list(by_index.values())


async def whole(prepared: Prepared) -> Response:
    """Return the reply when all its samples are complete."""
    samples, reply = Samples(prepared), prepared.reply
    wholes = [WholeChoice(index, beginning) for index, beginning in enumerate(prepared.beginnings)]
    try:
        async for parts in samples.parts():
            for part in parts:
                wholes[part["index"]].add(part)
    finally:
        samples.cancel()
    content = reply.content([each.content for each in wholes], usage=reply.usage(samples.num_generated))
    if not samples.was_interrupted:
        return json_response(content)
    error = stopped_error()
    return json_response({**error_content(str(error), status=error.status), **content}, error.status)


class EventStream(StreamingResponse):
    """Server-sent events; the samples end with the response, even if it never began."""

    def __init__(self, prepared: Prepared) -> None:
        self._samples = Samples(prepared)
        super().__init__(
            _events(self._samples, prepared.beginnings),
            media_type="text/event-stream",
            headers={"cache-control": "no-cache"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._samples.cancel()


async def _events(samples: Samples, beginnings: Sequence[Beginning]) -> AsyncIterator[str]:
    """Yield server-sent events, a part of the reply each."""
    reply = samples.reply
    echoed = [
        choice_content(index, beginning.text, beginning.logprobs, None)
        for index, beginning in enumerate(beginnings)
        if beginning.text
    ]
    for choice in echoed:
        yield _event(reply.part([choice]))
    try:
        async for parts in samples.parts():
            yield _event(reply.part(parts))
        if samples.was_interrupted:
            raise stopped_error()
    except RequestError as error:
        if left := samples.error_parts():
            yield _event(reply.part(left))
        yield _event(error_content(str(error), status=error.status))
    if reply.request.includes_usage:
        yield _event(reply.content([], usage=reply.usage(samples.num_generated)))
    yield DONE


def json_response(content: JsonObject, status: int = 200) -> Response:
    """Return a response of JSON."""
    return Response(charnn.api.to_json(content), status_code=status, media_type="application/json")


def _event(content: JsonObject) -> str:
    return f"data: {charnn.api.to_json(content)}\n\n"
