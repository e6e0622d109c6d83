"""What a visitor is told when something cannot be done: a status, and one line as JSON."""

import logging
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from unmingle.errors import InputError, UnmingleError
from unmingle.web.uploads import NO_ROOM, Refused

RETRY_S = 10  # after which a visitor whom a limit keeps out is told to come back [s]
MISSING = "nothing of yours is at this address, or it was removed; load the page again"
log = logging.getLogger(__name__)


async def say_error(_: Request, error: Exception) -> Response:
    """Its own line; where a limit is reached, also when to come back."""
    if isinstance(error, Refused):
        return JSONResponse({"error": str(error)}, 503, {"retry-after": str(RETRY_S)})
    return JSONResponse({"error": str(error)}, 422 if isinstance(error, InputError) else 400)


async def say_full(request: Request, error: Exception) -> Response:
    """A file could not be written; the log says more."""
    log.error("a file could not be written: %s", error)
    return await say_error(request, Refused(NO_ROOM))


async def say_missing(_: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse({"error": MISSING}, code)


async def say_nothing(_: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody is there to read it


#: Who answers which error.
ERRORS: dict[Any, Any] = {
    UnmingleError: say_error,
    HTTPException: say_missing,
    ClientDisconnect: say_nothing,
    OSError: say_full,
}
