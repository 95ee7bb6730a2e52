"""MLflow's searches, page by page; what is searched and what the rows mean is the registry's business."""

from collections.abc import Callable
from typing import Any

_PAGE = 1_000
"""Versions a page: as many as one statement answers well; a page costs a statement of its own."""


def search_versions(client: Any, query: str, token: str | None) -> Any:
    """One page of versions that a query of MLflow's finds."""
    return client.search_model_versions(query, max_results=_PAGE, page_token=token)


def all_pages(search: Callable[[str | None], Any]) -> list[Any]:
    """Every row of a search that MLflow answers page by page."""
    rows, token = [], None
    while True:
        page = search(token)
        rows += list(page)
        token = page.token
        if not token:
            return rows
