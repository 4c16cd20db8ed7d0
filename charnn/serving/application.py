"""The HTTP application: routes, limits, keys and errors."""

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import charnn.api
from charnn.errors import CharnnError, in_terms_of_arguments
from charnn.files import JsonObject
from charnn.serving.bodies import Body, RequestError, error_content
from charnn.serving.completions import CompletionRequest
from charnn.serving.models import ServedModel, ServedModels
from charnn.serving.page_files import FILES, page_response
from charnn.serving.replies import Beginning, Choice, Reply, WholeChoice, choice_content
from charnn.serving.scores import score_content

logger = logging.getLogger(__name__)
MAX_BODY_BYTES = 8 << 20
DONE = "data: [DONE]\n\n"
SECONDS_BETWEEN_CHECKS = 0.5
"""How often it is checked whether a client that waits for a whole reply is still there."""


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Args:
        key: that clients must send as `Authorization: Bearer KEY`; None for no key.
        hosts: names by which the server may be addressed; empty for any.
    """

    key: str | None = None
    hosts: frozenset[str] = field(default_factory=frozenset)


def make_application(models: ServedModels, access: Access = Access()) -> Starlette:
    """Return the application."""
    server = _Server(models)
    routes = [
        Route("/v1/completions", server.handled(server.complete), methods=["POST"]),
        Route("/v1/models", server.handled(server.list_models), methods=["GET"]),
        Route("/v1/score", server.handled(server.score), methods=["POST"]),
        Route("/tokenizer_info", server.handled(server.tokenizer_info), methods=["GET"]),
        Route("/tokenize", server.handled(server.tokenize), methods=["POST"]),
        Route("/detokenize", server.handled(server.detokenize), methods=["POST"]),
        Route("/health", server.handled(server.health), methods=["GET"]),
    ]
    routes += [Route(path, server.page, methods=["GET"]) for path in FILES]
    application = Starlette(routes=routes, exception_handlers={404: _no_such_route, 405: _no_such_method})
    application.add_middleware(_AccessMiddleware, access=access)
    return application


def _no_such_route(request: Request, _: Exception) -> Response:
    return _error(RequestError(f"{request.url.path}: there is no such path; see /v1/models", status=404))


def _no_such_method(request: Request, _: Exception) -> Response:
    return _error(
        RequestError(f"{request.url.path}: found the method {request.method}, which it does not have", status=405)
    )


def _error(error: RequestError) -> Response:
    headers = {"retry-after": "1"} if error.status == 429 else {}
    return JSONResponse(
        error_content(str(error), status=error.status, param=error.param), status_code=error.status, headers=headers
    )


class _AccessMiddleware:
    """Refuses requests to other hosts' names, which a web page could make of a browser, and those without the key."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._refusal(Request(scope)) if scope["type"] == "http" else None
        await (_error(error) if error else self._app)(scope, receive, send)

    def _refusal(self, request: Request) -> RequestError | None:
        host = request.headers.get("host", "")
        if self._access.hosts and _without_port(host) not in self._access.hosts:
            return RequestError(
                f"Host: found {host!r}, but it must be {' or '.join(sorted(self._access.hosts))}; use that in the URL, or "
                "start the server with another --host",
                status=403,
            )
        if self._access.hosts and _is_foreign(request, self._access.hosts):
            return RequestError(
                "Origin: requests from other sites are refused; open this server's own page", status=403
            )
        if self._access.key is None or request.url.path in ("/health", *FILES):
            return None
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._access.key.encode()):
            return None
        return RequestError(
            "Authorization: the API key is missing or wrong; send Authorization: Bearer KEY", status=401
        )


def _is_foreign(request: Request, hosts: frozenset[str]) -> bool:
    """Return whether a browser sends the request for a page of another site."""
    origin = request.headers.get("origin", "")
    is_other_origin = origin not in ("", "null") and _without_port(origin.partition("://")[2]) not in hosts
    return is_other_origin or request.headers.get("sec-fetch-site", "") == "cross-site"


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


Handler = Callable[[Request], Awaitable[Response]]


class _Server:
    """Answers requests."""

    def __init__(self, models: ServedModels) -> None:
        self._models = models

    def handled(self, handler: Handler) -> Handler:
        """Return a handler that answers errors in OpenAI's shape."""

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestError as error:
                return _error(error)
            except charnn.api.QueueFullError as error:
                return _error(RequestError(str(error), status=429))
            except CharnnError as error:
                return _error(RequestError(in_terms_of_arguments(str(error))))
            except ClientDisconnect:
                return Response(status_code=499)
            except Exception:
                logger.exception("%s failed", request.url.path)
                return _error(RequestError("the server failed; its log says why", status=500))

        return handle

    async def page(self, request: Request) -> Response:
        """Return a file of the page to write with."""
        return page_response(request.url.path)

    async def health(self, _: Request) -> Response:
        """Say that the server runs, and how many samples are in progress or wait."""
        streams = {name: model.generation.num_streams for name, model in self._models.by_name.items()}
        return JSONResponse({"status": "ok", "samples": streams})

    async def list_models(self, _: Request) -> Response:
        """List the models."""
        listed = [
            {"id": name, "object": "model", "created": model.created, "owned_by": "charnn"}
            for name, model in self._models.by_name.items()
        ]
        return JSONResponse({"object": "list", "data": listed})

    async def tokenizer_info(self, request: Request) -> Response:
        """Describe the tokenizer of a model."""
        model = self._models.named(request.query_params.get("model"))
        vocabulary = model.tokenizer.vocabulary
        unknown = None if vocabulary.unknown_id is None else model.spelled(vocabulary.unknown_id)
        return JSONResponse(
            {
                "tokenizer_class": f"charnn-{model.tokenizer.kind}",
                "vocab_size": len(vocabulary),
                "eos_token": model.spelled(vocabulary.boundary_id),
                "eos_token_id": vocabulary.boundary_id,
                "bos_token": model.spelled(vocabulary.boundary_id),
                "unk_token": unknown,
                "pad_token": None,
                "unit": model.tokenizer.unit,
            }
        )

    async def tokenize(self, request: Request) -> Response:
        """Return the ids and tokens of a text; unknown ones are <unk>."""
        body = await _body(request)
        model = self._models.named(body.text("model", None))
        ids = await run_in_threadpool(model.tokenizer.encode, body.text("prompt", body.text("text", "")))
        listed = ids.tolist()
        return JSONResponse(
            {"tokens": listed, "count": len(listed), "token_strs": [model.spelled(id) for id in listed]}
        )

    async def detokenize(self, request: Request) -> Response:
        """Return the text of some ids."""
        body = await _body(request)
        model = self._models.named(body.text("model", None))
        ids = body.ids("tokens", below=len(model.tokenizer.vocabulary))
        text = await run_in_threadpool(charnn.api.decode, model.tokenizer, ids)
        return _json({"prompt": text})

    async def score(self, request: Request) -> Response:
        """Return the records of `charnn score --format jsonl --per-token`."""
        body = await _body(request)
        model = self._models.named(body.text("model", None))
        return _json(await run_in_threadpool(score_content, body, model))

    async def complete(self, request: Request) -> Response:
        """Complete prompts."""
        body = await _body(request)
        model = self._models.named(body.text("model", None))
        asked = await run_in_threadpool(CompletionRequest.read, body, model)
        reply = Reply(model, asked)
        beginnings = await run_in_threadpool(reply.beginnings)
        if asked.max_tokens == 0:
            contents = [
                choice_content(index, each.text, each.logprobs, "length") for index, each in enumerate(beginnings)
            ]
            content = reply.content(contents, num_generated=0)
            return _EventStream(_single(content)) if asked.stream else _json(content)
        updates = await _Updates.of(reply)
        choices = [Choice(beginning, asked) for beginning in beginnings]
        if asked.stream:
            return _EventStream(_streamed(reply, choices, beginnings, updates), updates)
        return _json(await _whole(reply, choices, beginnings, updates, request))


class _EventStream(StreamingResponse):
    """Server-sent events; the samples end with the response, even if it never began.

    Args:
        updates: of the samples, if any are generated.
    """

    def __init__(self, events: AsyncIterator[str], updates: "_Updates | None" = None) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        self._updates = updates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._updates is not None:
                self._updates.cancel()


class _Updates:
    """The updates of a job as they come, in the event loop."""

    def __init__(
        self, model: ServedModel, job: "charnn.api.Job", queue: "asyncio.Queue[list[charnn.api.Update]]"
    ) -> None:
        self._model, self._job, self._queue = model, job, queue
        self._num_open = len(job.members)

    @classmethod
    async def of(cls, reply: Reply) -> "_Updates":
        """Read the prompts and submit the samples of a reply."""
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[list["charnn.api.Update"]]()
        generation = reply.model.generation

        def deliver(updates: "list[charnn.api.Update]") -> None:
            loop.call_soon_threadsafe(queue.put_nowait, updates)

        job = await run_in_threadpool(lambda: generation.job(reply.request.options, reply.sample_requests(), deliver))
        generation.submit(job)
        return cls(reply.model, job, queue)

    async def steps(self) -> "AsyncIterator[list[charnn.api.Update]]":
        """Yield the updates of each step until all samples are complete."""
        while self._num_open:
            updates = await self._queue.get()
            while not self._queue.empty():  # of a client that reads slowly
                updates += self._queue.get_nowait()
            await asyncio.sleep(0)
            for update in updates:
                if update.error is not None:
                    raise RequestError("the generation failed; the server's log says why", status=500)
                self._num_open -= update.ended is not None
            yield updates

    def cancel(self) -> None:
        """Drop the samples that are not complete."""
        if self._num_open:
            self._model.generation.cancel(self._job)


async def _single(content: JsonObject) -> AsyncIterator[str]:
    yield _event(content)
    yield DONE


async def _streamed(
    reply: Reply, choices: Sequence[Choice], beginnings: Sequence[Beginning], updates: _Updates
) -> AsyncIterator[str]:
    """Yield server-sent events, a part of the reply each."""
    for index, beginning in enumerate(beginnings):
        if beginning.text:
            yield _event(reply.content([choice_content(index, beginning.text, beginning.logprobs, None)]))
    try:
        async for step in updates.steps():
            parts = [
                choice_content(update.index, update.text, choices[update.index].logprobs(update), update.ended)
                for update in step
            ]
            yield _event(reply.content(parts))
    except RequestError as error:
        yield _event(error_content(str(error), status=error.status))
    yield DONE


async def _whole(
    reply: Reply, choices: Sequence[Choice], beginnings: Sequence[Beginning], updates: _Updates, request: Request
) -> JsonObject:
    """Return the reply when all its samples are complete, unless the client goes away before."""
    wholes = [WholeChoice(beginning, choice) for beginning, choice in zip(beginnings, choices, strict=True)]
    gone = asyncio.create_task(_gone(request))
    try:
        async for step in _until(updates.steps(), gone):
            for update in step:
                wholes[update.index].add(update)
    finally:
        updates.cancel()
        gone.cancel()
    contents = [whole.content(index) for index, whole in enumerate(wholes)]
    return reply.content(contents, num_generated=sum(whole.num_tokens for whole in wholes))


async def _gone(request: Request) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(SECONDS_BETWEEN_CHECKS)


async def _until(
    steps: "AsyncIterator[list[charnn.api.Update]]", gone: "asyncio.Task[None]"
) -> "AsyncIterator[list[charnn.api.Update]]":
    """Yield steps; raise ClientDisconnect once the client is gone."""
    while True:
        following = asyncio.ensure_future(anext(steps))
        try:
            await asyncio.wait({following, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                raise ClientDisconnect
            updates = following.result()
        except StopAsyncIteration:
            return
        finally:
            following.cancel()
        yield updates


async def _body(request: Request) -> Body:
    """Read the JSON object of a request. Raises RequestError."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise RequestError(f"the body is longer than {MAX_BODY_BYTES:,} bytes; send less at a time", status=413)
        chunks.append(chunk)
    try:
        value = json.loads(b"".join(chunks))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {error}") from None
    return Body.of(value)


def _json(content: JsonObject) -> Response:
    return Response(charnn.api.to_json(content), media_type="application/json")


def _event(content: JsonObject) -> str:
    return f"data: {charnn.api.to_json(content)}\n\n"
