"""A server with a split: both arms in service, each call on one, the champion alone where anything fails."""

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from loguru import logger

from serving.adapters.live import LiveAdapter, ServedAdapter
from serving.adapters.live_arms import LiveArms, Placed
from serving.adapters.loader import LocalCopy, load_tagger
from serving.adapters.pin import Reference, write_pin
from serving.adapters.promotion import promote
from serving.adapters.registry import AdapterRegistry
from serving.adapters.splits import SPLIT_TAG
from serving.adapters.splitting import Terms, alter_plan, carry_out, start_plan, stop_plan
from serving.arms.assignment import arm_of, caller_key
from serving.arms.split import Arm, Split
from serving.language.encoder import SentenceEncoder

NAME = "banking-lora"
KEY = b"0123456789abcdef"
CALLS = 100
TEXTS = ("i lost my card", "what would a loan cost", "my pin is blocked", "tell me a joke")
MakeArms = Callable[..., LiveArms]


def start(registry: AdapterRegistry, percent: int = 50, *, cold: bool = False) -> Split:
    plan = partial(start_plan, registry, NAME, 3, percent, by="ann", reason="why", terms=Terms(cold=cold))
    split = carry_out(registry, NAME, plan, seen=None)
    assert split is not None
    return split


def stop(registry: AdapterRegistry, seen: Split) -> None:
    carry_out(registry, NAME, partial(stop_plan, registry, NAME, by="bob", reason="enough"), seen=seen)


def key_of(caller: int) -> str:
    return caller_key(f"1555000{caller}", "", KEY)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "home" / "adapters"


@pytest.fixture
def live(challenged: AdapterRegistry, tiny_encoder: SentenceEncoder, store: Path) -> Iterator[LiveAdapter]:
    with LiveAdapter(challenged, tiny_encoder, store, poll_s=1e6) as live:
        yield live


@pytest.fixture
def make_arms(
    challenged: AdapterRegistry, live: LiveAdapter, tiny_encoder: SentenceEncoder, store: Path
) -> MakeArms:
    def make(warm: Callable[[ServedAdapter], int] = lambda _served: 7) -> LiveArms:
        return LiveArms(live, challenged, tiny_encoder, store, warm=warm, poll_s=0.0)

    return make


@pytest.fixture
def errors() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="ERROR", format="{message}")
    yield lines
    logger.remove(sink)


def test_without_a_split_every_call_gets_the_champion_and_no_label(make_arms: MakeArms) -> None:
    arms = make_arms()
    arms.check()
    placed = arms.place(partial(key_of, 1))
    assert (placed.served.version, placed.arm) == ("banking-lora/2", "champion")
    assert (placed.split, placed.caller_key) == ("", "")


def test_a_split_places_each_caller_on_the_arm_of_the_key(
    challenged: AdapterRegistry, make_arms: MakeArms
) -> None:
    arms, split = make_arms(), start(challenged)
    arms.check()
    for caller in range(60):
        placed = arms.place(partial(key_of, caller))
        arm = arm_of(split, key_of(caller))
        assert placed.arm == arm
        assert placed.served.version == (split.challenger if arm is Arm.CHALLENGER else split.champion)
        assert (placed.split, placed.caller_key) == (split.id, key_of(caller))


def test_a_server_that_starts_in_the_middle_of_a_split_takes_part(
    challenged: AdapterRegistry, make_arms: MakeArms
) -> None:
    start(challenged, 100)
    arms = make_arms()
    arms.check()
    assert arms.place(partial(key_of, 1)).served.version == "banking-lora/3"


def test_a_larger_share_is_followed_without_loading_again(
    challenged: AdapterRegistry, make_arms: MakeArms
) -> None:
    arms, split = make_arms(), start(challenged, 0)
    arms.check()
    loaded = arms.standing.challenger
    carry_out(
        challenged, NAME, partial(alter_plan, challenged, NAME, 100, by="ann", reason="more"), seen=split
    )
    arms.check()
    assert arms.standing.challenger is loaded
    assert arms.place(partial(key_of, 1)).served is loaded


def test_after_its_end_new_calls_get_the_champion_and_those_in_progress_keep_their_arm(
    challenged: AdapterRegistry, make_arms: MakeArms
) -> None:
    arms, split = make_arms(), start(challenged, 100)
    arms.check()
    held = arms.place(partial(key_of, 1))
    stop(challenged, split)
    arms.check()
    assert arms.place(partial(key_of, 1)).served.version == "banking-lora/2"
    assert held.served.tagger.tag(TEXTS[0]).version == "banking-lora/3"
    assert arms.standing.challenger is None  # nothing keeps its weights but the calls that use it


def test_a_challenger_that_fails_to_load_means_champion_for_all_and_an_error_told_once(
    challenged: AdapterRegistry, make_arms: MakeArms, errors: list[str]
) -> None:
    arms = make_arms()
    start(challenged, 100)
    (challenged.get(NAME, 3).bundle / "card.md").write_text("altered")
    for _ in range(3):
        arms.check()
    placed = arms.place(partial(key_of, 1))
    assert (placed.served.version, placed.arm, placed.split) == ("banking-lora/2", "champion", "")
    assert "cannot be loaded" in arms.standing.trouble
    assert len(errors) == 1
    assert "every call gets the champion" in errors[0]
    assert "card.md was altered" in errors[0]


def test_a_challenger_that_can_be_loaded_later_takes_part_then(
    challenged: AdapterRegistry, make_arms: MakeArms
) -> None:
    arms, card = make_arms(), challenged.get(NAME, 3).bundle / "card.md"
    start(challenged, 100)
    text = card.read_text()
    card.write_text("altered")
    arms.check()
    card.write_text(text)
    arms.check()
    assert arms.place(partial(key_of, 1)).arm == "challenger"


def test_a_cold_scope_holds_a_split_back_until_it_is_built_and_says_how(
    challenged: AdapterRegistry, make_arms: MakeArms, errors: list[str]
) -> None:
    entries = {"banking-lora/2": 7, "banking-lora/3": 0}
    arms = make_arms(lambda served: entries[served.version])
    start(challenged, 100)
    arms.check()
    assert arms.place(partial(key_of, 1)).arm == "champion"
    assert "`voicebot build-cache --ref 3` fills it" in errors[0]
    entries["banking-lora/3"] = 7
    arms.check()
    assert arms.place(partial(key_of, 1)).arm == "challenger"


def test_a_split_that_may_start_cold_does(challenged: AdapterRegistry, make_arms: MakeArms) -> None:
    arms = make_arms(lambda _served: 0)
    start(challenged, 100, cold=True)
    arms.check()
    assert arms.place(partial(key_of, 1)).arm == "challenger"


def test_a_home_that_is_pinned_elsewhere_takes_no_part(
    challenged: AdapterRegistry, live: LiveAdapter, make_arms: MakeArms, store: Path
) -> None:
    arms = make_arms()
    start(challenged, 100)
    arms.check()
    write_pin(store, Reference(NAME, 1), enabled=True, by="ann", reason="here")
    live.check()
    assert arms.place(partial(key_of, 1)).served.version == "banking-lora/1"
    assert "serves banking-lora/1, not banking-lora/2" in arms.standing.trouble
    write_pin(store, Reference(NAME), enabled=False, by="ann", reason="here")
    live.check()
    assert arms.place(partial(key_of, 1)).arm == "champion"


def test_a_promotion_leaves_no_moment_in_which_a_call_gets_a_stale_pair(
    challenged: AdapterRegistry, live: LiveAdapter, make_arms: MakeArms
) -> None:
    arms = make_arms()
    start(challenged, 100)
    arms.check()
    promote(challenged, NAME, 3, by="ann", reason="it won")
    live.check()  # the champion moved, and the arms have not looked yet
    placed = arms.place(partial(key_of, 1))
    assert (placed.served.version, placed.arm, placed.split) == ("banking-lora/3", "champion", "")
    arms.check()
    assert arms.standing.split is None


def test_a_registry_that_goes_away_changes_nothing_and_a_suspended_split_gives_champions(
    challenged: AdapterRegistry, make_arms: MakeArms, errors: list[str]
) -> None:
    arms, split = make_arms(), start(challenged, 100)
    arms.check()
    shutil.move(challenged.folder / "mlflow.db", challenged.folder / "away.db")
    (challenged.folder / "mlflow.db").write_text("no database")
    arms.check()
    arms.check()
    assert arms.place(partial(key_of, 1)).arm == "challenger"
    assert len(errors) == 1
    arms.suspend(split.id)
    assert arms.place(partial(key_of, 1)).arm == "champion"


def test_a_split_that_is_damaged_while_it_runs_gives_champions_as_its_error_says(
    challenged: AdapterRegistry, make_arms: MakeArms, errors: list[str]
) -> None:
    arms, split = make_arms(), start(challenged, 100)
    arms.check()
    with challenged.writing():
        challenged.set_model_tag(NAME, SPLIT_TAG, "{no split")
    arms.check()
    arms.check()
    assert arms.place(partial(key_of, 1)).arm == "champion"
    assert len(errors) == 1
    assert "until then the champion takes all calls" in errors[0]
    with challenged.writing():
        challenged.set_model_tag(NAME, SPLIT_TAG, split.to_json())
    arms.check()
    assert arms.place(partial(key_of, 1)).arm == "challenger"


def test_a_hundred_calls_at_once_across_a_split_each_answer_wholly_of_their_arm(
    challenged: AdapterRegistry,
    make_arms: MakeArms,
    sealed: Callable[[int], Path],
    tiny_encoder: SentenceEncoder,
) -> None:
    arms = make_arms()
    expected = {
        f"{NAME}/{number}": load_tagger(LocalCopy(NAME, number, sealed(number)), tiny_encoder).logits(TEXTS)
        for number in (2, 3)
    }
    assert np.abs(expected[f"{NAME}/2"] - expected[f"{NAME}/3"]).max(axis=1).min() > 1
    go, started = threading.Semaphore(0), threading.Semaphore(0)

    def call(caller: int) -> tuple[Placed, bool]:
        """Takes its arm once, and answers while the split starts, grows and ends around it."""
        go.acquire()
        placed, right = arms.place(partial(key_of, caller)), True
        started.release()
        for _ in range(3):
            for text, wanted in zip(TEXTS, expected[placed.served.version], strict=True):
                right &= bool(np.allclose(placed.served.tagger.logits([text])[0], wanted, atol=1e-4))
                right &= placed.served.tagger.tag(text).version == placed.served.version
        return placed, right

    with ThreadPoolExecutor(CALLS) as pool:
        calls = [pool.submit(call, caller) for caller in range(CALLS)]
        go.release(20)
        split = start(challenged, 30)
        arms.check()
        go.release(30)
        [started.acquire() for _ in range(50)]
        plan = partial(alter_plan, challenged, NAME, 80, by="ann", reason="more")
        grown = carry_out(challenged, NAME, plan, seen=split)
        assert grown is not None
        arms.check()
        go.release(30)
        [started.acquire() for _ in range(30)]
        stop(challenged, grown)
        arms.check()
        go.release(20)
        outcomes = [done.result() for done in calls]
    assert all(right for _, right in outcomes)
    assert all(
        (placed.served.version == split.challenger) == (placed.arm == "challenger") for placed, _ in outcomes
    )
    counts = Counter(placed.arm for placed, _ in outcomes)
    assert min(counts["champion"], counts["challenger"]) > CALLS // 10
