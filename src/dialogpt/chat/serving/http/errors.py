"""What went wrong, as clients of OpenAI read it: {"error": {"message": ..., "type": ..., "code": status}}."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dialogpt.chat.serving.replier import ReplyError
from dialogpt.errors import DialoGPTError

KINDS = {401: "authentication_error", 429: "rate_limit_error"}  # of the others below 500: invalid_request_error
ONE_OBJECT = (
    "send one JSON object in UTF-8; if your shell changes quotes or letters, send it from a file: curl --data @FILE"
)
ROUTES = "a client's base URL ends in /v1; the routes are chat/completions, completions and models"


def add_handlers(app: FastAPI) -> None:
    """Have the application answer errors this way."""
    app.add_exception_handler(DialoGPTError, _explained)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _invalid)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _refused)  # type: ignore[arg-type]


async def _explained(request: Request, error: DialoGPTError) -> JSONResponse:
    """An error that the client can act upon."""
    status, message = status_of(error)
    after = {"Retry-After": error.retry_after} if isinstance(error, ReplyError) and error.retry_after else {}
    return JSONResponse(error_body(status, message), status_code=status, headers=after)


def status_of(error: Exception) -> tuple[int, str]:
    """The status of an error, and what clients may be told about it."""
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail)
    if not isinstance(error, DialoGPTError):
        return 500, "the reply failed"
    return error.status if isinstance(error, ReplyError) else 400, str(error)


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    """A malformed body."""
    faults = [_fault(fault) for fault in error.errors()]
    if isinstance(error.body, bytes):  # FastAPI reads it as JSON only if it is declared so
        faults = ["the body is not declared as JSON: send the header Content-Type: application/json"]
    return JSONResponse(error_body(422, "; ".join(faults)), status_code=422)


def _fault(fault: dict[str, Any]) -> str:
    if fault["type"] == "json_invalid":
        return f"the body is not JSON, at character {fault['loc'][-1]}: {fault['ctx']['error']} ({ONE_OBJECT})"
    if fault["loc"] == ("body",):
        if fault["type"] == "missing":
            return f"the body is empty ({ONE_OBJECT})"
        if fault["type"] == "value_error":  # our own message
            return str(fault["ctx"]["error"])
    where = ".".join(str(part) for part in fault["loc"] if part != "body")
    return f"{where or 'the body'}: {fault['msg'].removeprefix('Value error, ')}"  # pydantic's prefix to our messages


async def _refused(request: Request, error: HTTPException) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if error.status_code == 401 else error.headers
    message = str(error.detail)
    if error.status_code == 404:
        message = f"there is nothing at {request.url.path} ({ROUTES})"
    elif error.status_code == 405:
        message = f"{request.method} is not allowed at {request.url.path} (send {(headers or {}).get('Allow', 'GET')})"
    elif error.status_code == 400:  # FastAPI's error for text that is not UTF-8, or nested too deep
        message = f"the body cannot be read ({ONE_OBJECT})"
    return JSONResponse(error_body(error.status_code, message), status_code=error.status_code, headers=headers)


def error_body(status: int, message: str) -> dict[str, Any]:
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "code": status}}
