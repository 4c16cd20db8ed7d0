"""The HTTP application: routes and errors."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import charnn.api
from charnn.errors import CharnnError
from charnn.files import JsonObject
from charnn.serving.access import Access, AccessMiddleware, error_response
from charnn.serving.bodies import Body, RequestError
from charnn.serving.limits import LimitsMiddleware, read_body, unless_gone
from charnn.serving.models import ServedModel, ServedModels
from charnn.serving.page_files import FILES, page_response
from charnn.serving.scores import score_content
from charnn.serving.streams import EventStream, Mailbox, Prepared, json_response, whole

logger = logging.getLogger(__name__)
Handler = Callable[[Request], Awaitable[Response]]


def make_application(models: ServedModels, access: Access | None = None) -> Starlette:
    """Return the application; by default, anyone may ask."""
    server = _Server(models)
    posts = {
        "/v1/completions": server.complete,
        "/v1/score": server.score,
        "/tokenize": server.tokenize,
        "/detokenize": server.detokenize,
    }
    gets = {
        "/v1/models": server.list_models,
        "/v1/models/{name:path}": server.show_model,
        "/tokenizer_info": server.tokenizer_info,
        "/health": server.health,
    }
    routes = [Route(path, _handled(_posted(handler)), methods=["POST"]) for path, handler in posts.items()]
    routes += [Route(path, _handled(handler), methods=["GET"]) for path, handler in gets.items()]
    routes += [Route(path, server.page, methods=["GET"]) for path in FILES]
    application = Starlette(routes=routes, exception_handlers={404: _no_such_route, 405: _no_such_method})
    application.add_middleware(LimitsMiddleware)
    application.add_middleware(AccessMiddleware, access=access or Access(), open_paths=("/health", *FILES))
    return application


def _no_such_route(request: Request, _: Exception) -> Response:
    advice = (
        "chat is not supported; send a prompt to /v1/completions" if "chat" in request.url.path else "see /v1/models"
    )
    return error_response(RequestError(f"{request.url.path}: there is no such path; {advice}", status=404))


def _no_such_method(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    allowed = ", ".join(sorted({*(error.headers or {})["Allow"].split(", "), "OPTIONS"}))
    if request.method == "OPTIONS":
        return Response(status_code=204, headers={"allow": allowed})
    response = error_response(
        RequestError(
            f"{request.url.path}: found the method {request.method}, but it must be one of {allowed}", status=405
        )
    )
    response.headers["allow"] = allowed
    return response


def _handled(handler: Handler) -> Handler:
    """Return a handler that answers errors in OpenAI's shape."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except RequestError as error:
            return error_response(error)
        except charnn.api.QueueFullError as error:
            return error_response(RequestError(str(error), status=429))
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception:
            logger.exception("%s failed", request.url.path)
            return error_response(RequestError("the server failed; its log says why", status=500))

    return handle


def _posted(answer: Callable[[Body], Awaitable[Response]]) -> Handler:
    """Return a handler of the body of a request, which is cancelled if the client goes away."""

    async def handle(request: Request) -> Response:
        body = await read_body(request)
        try:
            return await unless_gone(request, answer(body))
        except (RequestError, charnn.api.QueueFullError):
            raise
        except CharnnError as error:
            raise body.refused(error) from error

    return handle


class _Server:
    """Answers requests."""

    def __init__(self, models: ServedModels) -> None:
        self._models, self._workers = models, models.workers
        self._mailbox: Mailbox | None = None

    async def page(self, request: Request) -> Response:
        """Return a file of the page to write with."""
        return page_response(request.url.path)

    async def health(self, _: Request) -> Response:
        """Say that the server runs, and how many samples are in progress or wait."""
        streams = {name: model.generation.num_streams for name, model in self._models.by_name.items()}
        return JSONResponse({"status": "ok", "samples": streams})

    async def list_models(self, _: Request) -> Response:
        """List the models."""
        return json_response({"object": "list", "data": list(map(_listed, self._models.by_name.values()))})

    async def show_model(self, request: Request) -> Response:
        """Return one model of the list."""
        return json_response(_listed(self._models.named(request.path_params["name"])))

    async def tokenizer_info(self, request: Request) -> Response:
        """Describe the tokenizer of a model."""
        model = self._models.named(request.query_params.get("model"))
        vocabulary = model.tokenizer.vocabulary
        unknown = None if vocabulary.unknown_id is None else model.spelled(vocabulary.unknown_id)
        return json_response(
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

    async def tokenize(self, body: Body) -> Response:
        """Return the ids and tokens of a text; unknown ones are <unk>."""
        body.refuse_unknown({"model", "prompt", "text"}, {"add_special_tokens": None, "return_token_strs": None})
        model = self._models.named(body.text("model", None))
        text = body.text("prompt", body.text("text", ""))
        listed = (await self._workers.run(lambda _: model.tokenizer.encode(text))).tolist()
        return json_response(
            {"tokens": listed, "count": len(listed), "token_strs": [model.spelled(id) for id in listed]}
        )

    async def detokenize(self, body: Body) -> Response:
        """Return the text of some ids."""
        body.refuse_unknown({"model", "tokens"}, {})
        model = self._models.named(body.text("model", None))
        ids = body.ids("tokens", below=len(model.tokenizer.vocabulary))
        text = await self._workers.run(lambda _: charnn.api.decode(model.tokenizer, ids))
        return json_response({"prompt": text})

    async def score(self, body: Body) -> Response:
        """Return the records of `charnn score --format jsonl --per-token`."""
        model = self._models.named(body.text("model", None))
        return json_response(await self._workers.run(lambda check: score_content(body, model, check)))

    async def complete(self, body: Body) -> Response:
        """Complete prompts."""
        if self._mailbox is None:
            self._mailbox = Mailbox(asyncio.get_running_loop())
        model = self._models.named(body.text("model", None))
        prepared = await Prepared.of(body, model, self._workers, self._mailbox)
        return EventStream(prepared) if prepared.reply.request.stream else await whole(prepared)


def _listed(model: ServedModel) -> JsonObject:
    return {"id": model.name, "object": "model", "created": model.created, "owned_by": "charnn"}
