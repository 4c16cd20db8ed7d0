"""Request bodies: JSON objects with checked fields, and errors in OpenAI's shape."""

import difflib
import json
import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from charnn.errors import CharnnError, in_terms_of_arguments
from charnn.files import JsonObject
from charnn.serving.fields import HARMLESS

Value = TypeVar("Value")
MAX_SHOWN = 60
EMPTY: tuple[object, ...] = (False, "", [], {})
"""Values by which a client may say that it does not use a field; 0 is one of them."""


class RequestError(CharnnError):
    """A request that cannot be answered.

    Args:
        message: what was found, and what is wanted.
        status: the HTTP status.
        param: the field of the body, if it is to blame.
    """

    def __init__(self, message: str, *, status: int = 400, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param = status, param


def error_content(message: str, *, status: int, param: str | None = None) -> JsonObject:
    """Return the body of an error, as OpenAI's clients read it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


@dataclass(frozen=True)
class Body:
    """The object of a request. Each method reads a field, null being as good as absent.

    Raises:
        RequestError: naming the field, what was found and what is wanted.
    """

    fields: Mapping[str, Any]

    @classmethod
    def of(cls, value: object) -> "Body":
        """Return a body, if it is a JSON object."""
        if not isinstance(value, dict):
            raise RequestError(f"found {shown(value)}, but the body must be a JSON object")
        return cls(value)

    def refuse_unknown(self, known: Collection[str], without_effect: Mapping[str, object]) -> None:
        """Refuse fields that would be ignored.

        Args:
            known: fields that are read.
            without_effect: fields that need not be read, and their only value that changes nothing; None for any value.
        """
        for name, value in self.fields.items():
            if name in known or value is None or name in HARMLESS:
                continue
            if name not in without_effect:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}" if close else f"the fields are {', '.join(sorted(known))}"
                raise RequestError(
                    f"{name if _is_plain(name) else shown(name)}: there is no such field; {hint}",
                    param=name if _is_plain(name) else None,
                )
            neutral = without_effect[name]
            if neutral is not None and value != neutral and value not in EMPTY:
                raise RequestError(f"{name}: found {shown(value)}, but it is not supported; leave it out", param=name)

    def refused(self, error: CharnnError) -> RequestError:
        """Return an error of the library as one of this request, with the field that its message begins with."""
        message = in_terms_of_arguments(str(error))
        name = message.partition(":")[0].split(" ")[0]
        return RequestError(message, param=name if name in self.fields else None)

    def number(
        self, name: str, default: Value, *, at_least: float = -math.inf, at_most: float = math.inf
    ) -> float | Value:
        """Return a number."""
        value = self.fields.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_within(value, at_least, at_most):
            raise self._wrong(name, f"a number{_range(at_least, at_most)}")
        return float(value)

    def integer(
        self, name: str, default: Value, *, at_least: int | None = None, at_most: int | None = None
    ) -> int | Value:
        """Return an integer."""
        value = self.fields.get(name)
        if value is None:
            return default
        lowest = -math.inf if at_least is None else at_least
        highest = math.inf if at_most is None else at_most
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise self._wrong(name, f"an integer{_range(lowest, highest)}")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return true or false."""
        value = self.fields.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def text(self, name: str, default: Value) -> str | Value:
        """Return a string."""
        value = self.fields.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        return self._valid(name, value)

    def texts(self, name: str, *, at_most: int) -> tuple[str, ...]:
        """Return a string or a list of strings."""
        value = self.fields.get(name)
        if value is None:
            return ()
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or len(values) > at_most or not all(isinstance(each, str) for each in values):
            raise self._wrong(name, f"a string, or a list of at most {at_most} strings")
        return tuple(self._valid(name, each) for each in values)

    def ids(self, name: str, *, below: int) -> list[int]:
        """Return a list of token ids."""
        value = self.fields.get(name)
        if not isinstance(value, list) or not all(_is_id(each, below) for each in value):
            raise self._wrong(name, f"a list of token ids, from 0 to {below - 1}")
        return cast(list[int], value)

    def object(self, name: str) -> "Body | None":
        """Return an object."""
        value = self.fields.get(name)
        if value is not None and not isinstance(value, dict):
            raise self._wrong(name, "an object")
        return None if value is None else Body(value)

    def choice(self, name: str, default: Value, allowed: Sequence[Value]) -> Value:
        """Return one of some values."""
        value = self.fields.get(name)
        if value is None:
            return default
        for each in allowed:
            if value == each:
                return each
        raise self._wrong(name, f"one of {', '.join(map(str, allowed))}")

    def biases(self, name: str, *, below: int) -> dict[int, float]:
        """Return biases by token id, whose keys are strings in JSON."""
        value = self.fields.get(name)
        if value is None:
            return {}
        wanted = f"an object of token ids (from 0 to {below - 1}) and numbers"
        if not isinstance(value, dict):
            raise self._wrong(name, wanted)
        biases: dict[int, float] = {}
        for key, bias in value.items():
            is_number = isinstance(bias, (int, float)) and not isinstance(bias, bool) and _is_finite(bias)
            if not (key.isascii() and key.isdigit() and len(key) < 10 and int(key) < below and is_number):
                raise self._wrong(name, wanted)
            biases[int(key)] = float(bias)
        return biases

    def prompts(self, name: str, *, below: int, at_most: int) -> list[str | list[int]]:
        """Return prompts: a string, token ids, or a list of either."""
        value = self.fields.get(name, "")
        wanted = f"a string, token ids from 0 to {below - 1}, or a list of at most {at_most} of either"
        if value is None:
            return [""]
        if isinstance(value, str):
            return [self._valid(name, value)]
        if not isinstance(value, list) or not value:
            raise self._wrong(name, wanted)
        if all(_is_id(each, below) for each in value):
            return [value]
        if len(value) > at_most:
            raise self._wrong(name, wanted)
        if all(isinstance(each, str) for each in value):
            return [self._valid(name, each) for each in value]
        if all(isinstance(each, list) and all(_is_id(id, below) for id in each) for each in value):
            return list(value)
        raise self._wrong(name, wanted)

    def _valid(self, name: str, text: str) -> str:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise self._wrong(name, "text without lone surrogates") from None
        return text

    def _wrong(self, name: str, wanted: str) -> RequestError:
        return RequestError(f"{name}: found {shown(self.fields.get(name))}, but it must be {wanted}", param=name)


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isidentifier() and len(name) <= MAX_SHOWN


def _is_id(value: object, below: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < below


def _is_within(value: float, at_least: float, at_most: float) -> bool:
    return _is_finite(value) and at_least <= value <= at_most


def _is_finite(value: float) -> bool:
    """Return whether a number, possibly an integer of any size, is a finite floating-point number."""
    return abs(value) <= sys.float_info.max


def _range(at_least: float, at_most: float) -> str:
    if at_least > -math.inf and at_most < math.inf:
        return f" from {_number(at_least)} to {_number(at_most)}"
    if at_least > -math.inf:
        return f" of at least {_number(at_least)}"
    return f" of at most {_number(at_most)}" if at_most < math.inf else ""


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def shown(value: object) -> str:
    """Return a value as it is quoted in a message: in JSON."""
    text = json.dumps(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
