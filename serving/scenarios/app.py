"""Scenario testing, as `chainlit run serving/scenarios/app.py` starts it; see docs/scenarios.md.

Chainlit loads this file and nothing else does: loading it is what puts the page in place.
"""

import chainlit as cl
from chainlit.config import config
from chainlit.server import app

from serving.scenarios.configuration import configure
from serving.scenarios.page import CALL, HANG_UP, RETRY, RUN_SCRIPT, ScenarioPage
from serving.scenarios.private_page import PrivatePage
from serving.scenarios.workbench import Workbench

bench = Workbench()
page = ScenarioPage(bench)

configure(config)
app.add_middleware(PrivatePage)
cl.data_layer(lambda: None)  # none at all, whatever the environment names
cl.on_app_shutdown(bench.close)
cl.on_chat_start(page.begin)
cl.on_message(page.message)
cl.on_stop(page.hang_up)
cl.on_chat_end(page.leave)
cl.action_callback(RUN_SCRIPT)(page.run_script)
cl.action_callback(CALL)(page.call_the_bot)
cl.action_callback(HANG_UP)(page.hang_up)
cl.action_callback(RETRY)(page.try_again)
