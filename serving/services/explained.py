"""Errors as answers: what was wrong, what to do, which family; never a word of what was sent."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serving.errors import Category, InvalidInputError, VoicebotError

_STATUS = {
    Category.INVALID_INPUT: 422,
    Category.REFUSED: 409,
    Category.MISSING: 404,
    Category.UNAVAILABLE: 503,
    Category.INTEGRITY: 500,
    Category.ENGINE: 502,
}


def add_error_answers(app: FastAPI) -> None:
    """Answer every error of ours, and every body that is not what a route takes, in one form."""

    @app.exception_handler(VoicebotError)
    async def explain(_request: Request, error: VoicebotError) -> JSONResponse:
        return explained(error)

    @app.exception_handler(RequestValidationError)
    async def explain_request(_request: Request, error: RequestValidationError) -> JSONResponse:
        # What was sent is not repeated: it may be personal, and it may be what no answer can hold.
        said = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}." for item in error.errors()]
        return explained(InvalidInputError(" ".join(said), advice="docs/operations.md shows what is sent."))

    @app.exception_handler(HTTPException)
    async def explain_status(_request: Request, error: HTTPException) -> JSONResponse:
        category = Category.MISSING if error.status_code == 404 else Category.INVALID_INPUT
        body = {"error": f"{error.detail}.", "advice": "", "category": category.value}
        return JSONResponse(body, status_code=error.status_code, headers=error.headers)


def explained(error: VoicebotError) -> JSONResponse:
    """The answer that tells of an error."""
    return JSONResponse(error_body(error), status_code=_STATUS[error.category])


def error_body(error: VoicebotError) -> dict[str, Any]:
    """An error as plain JSON values."""
    return {"error": error.message, "advice": error.advice, "category": error.category.value}
