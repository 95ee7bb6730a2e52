"""`cache-manager serve`: the cache of this home for other processes, over HTTP."""

import contextlib
import os
import sys
from typing import Annotated

import typer

from serving.cli.console import command_errors

PORT = 8090

Host = Annotated[str, typer.Option(help="Where to listen; default: VOICEBOT_HOST, else this machine alone.")]
Port = Annotated[int, typer.Option(help="0: any that is free.", min=0, max=65_535)]


def serve(host: Host = "", port: Port = PORT) -> None:
    """Serve this home's cache over HTTP until it is stopped; other servers name it in VOICEBOT_CACHE_URL.

    Exit codes: 0 stopped, 2 others could ask without a token (VOICEBOT_CACHE_TOKEN), 4 the address is in use.
    """
    with command_errors():
        from serving.cache import open_cache
        from serving.cache.counting import read_counts
        from serving.language.encoder import use_one_thread
        from serving.services.cache_service import serve_cache, token_of
        from serving.services.sharing import open_cache_sharing
        from serving.settings import Settings
        from serving.telemetry.cache_metrics import CacheCounts
        from serving.telemetry.logs import configure_logs

        settings = Settings.load()
        settings = settings.model_copy(update={"host": host or settings.host, "port": port})
        token_of(settings)  # before models are loaded
        configure_logs(settings)
        use_one_thread()
        with contextlib.ExitStack() as opened:
            cache = opened.enter_context(contextlib.closing(open_cache(settings)))
            store = cache.writer.store

            def look() -> None:
                store.last_seq()

            def counts() -> CacheCounts | None:
                return read_counts(cache.folder, cache.refusals())

            checks = {"store": look}
            sharing = open_cache_sharing(settings, cache)
            if sharing is not None:
                opened.enter_context(sharing)
                checks["redis"] = sharing.check
            serve_cache(settings, cache, checks=checks, counts=counts, listening=_tell)


def _tell(url: str) -> None:
    """Say on stderr where it is; logs go to a file."""
    from rich.console import Console
    from rich.text import Text

    styled = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    console = Console(stderr=True, highlight=False, color_system="auto" if styled else None, soft_wrap=True)
    console.print(Text.assemble("The cache is served at ", (url, "bold"), " (Ctrl-C ends)."))
