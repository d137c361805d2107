"""Refusals as HTTP tells them: to scripts by their status, to the app's own page as an answer that it can read."""

import json
from typing import Any

import pytest

from ui.errors import size_text
from ui.http_errors import LoginRequired, OriginNotAllowed, RateLimited, Refusal, RequestTooLarge, refusal

ACT = "/gradio_api/component_server/"


@pytest.mark.parametrize(
    ("error", "path", "status"),
    [
        (RateLimited(seconds=2.5), "/config", 429),
        (RateLimited(seconds=2.5), ACT, 200),
        (LoginRequired(), "/gradio_api/queue/join", 401),
        (LoginRequired(), ACT.rstrip("/"), 200),
        (RequestTooLarge(limit=size_text(1000)), ACT, 200),
        (OriginNotAllowed(), ACT, 403),  # another site's page, to which nothing is told
    ],
)
def test_a_page_is_answered_where_its_script_would_throw_the_refusal_away(
    error: Refusal, path: str, status: int
) -> None:
    answer = refusal(error, {"type": "http", "method": "POST", "path": path, "headers": []})
    told: dict[str, Any] = json.loads(bytes(answer.body))
    assert (answer.status_code, told["error"]["code"]) == (status, error.code)
    assert told["error"]["sentence"]["ru"] and told["error"]["remedy"]["en"]
    limited = isinstance(error, RateLimited)
    assert told["retry_after"] == (2.5 if limited else None) and ("retry-after" in answer.headers) == limited
