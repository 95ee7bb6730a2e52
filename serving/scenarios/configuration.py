"""How Chainlit is set up for scenario testing, whatever `.chainlit/config.toml` says."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chainlit.config import ChainlitConfig

NAME = "Scenario testing"
SESSION_TIMEOUT_S = 60
"""How long Chainlit keeps what it knows of a tab that is gone, seconds."""


def configure(config: "ChainlitConfig") -> None:
    """Show steps in full and text as it is; take no files, keep nothing."""
    from chainlit.config import AudioFeature, McpFeature, SpontaneousFileUploadFeature

    config.root = str(Path(__file__).parent)  # where the page's readme lies
    config.ui.name = NAME
    config.ui.description = "Scripts and free turns through the real loop, every step shown."
    config.ui.cot = "full"
    config.ui.layout = "wide"
    config.ui.confirm_new_chat = False
    config.features.spontaneous_file_upload = SpontaneousFileUploadFeature(enabled=False)
    config.features.audio = AudioFeature(enabled=False)
    config.features.mcp = McpFeature(enabled=False)
    config.features.edit_message = False
    config.features.latex = False
    config.features.unsafe_allow_html = False
    config.features.user_message_markdown = False
    config.features.favorites = False
    config.features.allow_thread_sharing = False
    # A server that stops waits for open requests, and a long poll stays open for most of a minute.
    config.project.transports = ["websocket"]
    config.project.session_timeout = SESSION_TIMEOUT_S
    config.project.cache = False
