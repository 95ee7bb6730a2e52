"""The written report: complete, escaped, free of personal data, whole or not there."""

import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from evaluation.kpi import KpiReport, kpis
from evaluation.kpi_definitions import definitions
from evaluation.kpi_latency import Medium
from evaluation.kpi_report import KpiFiles, percent, render_page, seconds, write_kpi_report
from serving.call.machine import Ending
from serving.call.record import CacheRecord, CallRecord, Decision, ToolRecord, TurnRecord
from serving.errors import InvalidInputError, UnavailableError

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
EVIL = "<script>alert('x')</script>&\"$\\frac$"
SAID = "my card number is <card> and my dog is called rover"
CALLER = "4f9d1c7e2b"


def turn(call_id: str, index: int, decision: Decision, **more: object) -> TurnRecord:
    stages = {"end_of_turn": 0.7, "stt": 0.05 * index, "tts": 0.1}
    base = TurnRecord(
        call_id=call_id,
        index=index,
        started_at=NOW,
        text=SAID,
        stt_engine="pocketsphinx",
        confidence=0.8,
        audio_s=2.0,
        decision=decision,
        answer=SAID,
        spoken=SAID,
        interrupted=False,
        stages=stages,
        voice_to_voice_s=sum(stages.values()),
        reply_s=3.0,
        intent="loan_payment_quote",
        values=("money:20000",),
    )
    return replace(base, **more)  # type: ignore[arg-type]  # keywords of the record


def calls(count: int = 40) -> list[CallRecord]:
    found = []
    for place in range(count):
        name = f"call{place:04d}"
        turns = (
            turn(name, 1, Decision.CACHE_HIT, cache=CacheRecord("hit", "semantic", detail=SAID)),
            turn(
                name, 2, Decision.TOOL, tools=(ToolRecord("calculate_payment", {"principal": 20000}, True),)
            ),
            turn(name, 3, Decision.ANSWER, cache=CacheRecord("miss", "expired"), intent="card_arrival"),
            turn(name, 4, Decision.REPROMPT, intent="", stt_engine="typed"),
        )
        found.append(
            CallRecord(
                call_id=name,
                started_at=NOW - timedelta(hours=9 * place),
                transport="wav",
                adapter=f"banking-lora {1 + place % 2}",
                cache_scope="scope",
                engines={"stt": "pocketsphinx", "tts": "espeak"},
                caller=f"{CALLER}{place}",
                ending=Ending.TRANSFERRED if place % 7 == 3 else Ending.COMPLETED,
                duration_s=61.5 + place,
                talk_s=40.0,
                confirmed=None if place % 7 == 3 else place % 5 != 0,
                survey=(5, 4, 2, None)[place % 4],
                turns=turns,
            )
        )
    return found


@pytest.fixture(scope="module")
def records() -> list[CallRecord]:
    return calls()


@pytest.fixture(scope="module")
def report(records: list[CallRecord]) -> KpiReport:
    return kpis(records, now=NOW)


@pytest.fixture(scope="module")
def page(report: KpiReport) -> str:
    return render_page(report, title="Harbour Bank")


@pytest.fixture(scope="module")
def files(report: KpiReport, records: list[CallRecord], tmp_path_factory: pytest.TempPathFactory) -> KpiFiles:
    return write_kpi_report(report, records, tmp_path_factory.mktemp("out") / "deep" / "kpi")


class Page(HTMLParser):
    """Collects what the tests ask of a page."""

    VOID = frozenset({"meta", "img", "source", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.figures: Counter[str] = Counter()
        self.text: dict[str, str] = {}
        self.values: dict[str, str] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self._figure: tuple[str, int] | None = None
        self._in_value = False
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        known = dict(attrs)
        self.ids.update([known["id"] or ""] if known.get("id") else [])
        if tag not in self.VOID:
            self.open.append(tag)
        self._in_value = (known.get("class") or "").startswith("value")
        if known.get("data-figure"):
            self.figures[known["data-figure"] or ""] += 1
            self._figure = (known["data-figure"] or "", len(self.open))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._in_value = False
        if self._figure and len(self.open) < self._figure[1]:
            self._figure = None

    def handle_data(self, data: str) -> None:
        if self._figure:
            self.text[self._figure[0]] = self.text.get(self._figure[0], "") + data
        if self._figure and self._in_value:
            self.values[self._figure[0]] = self.values.get(self._figure[0], "") + data


def test_each_figure_stands_on_the_page_once_with_its_number(page: str, report: KpiReport) -> None:
    found = Page(page)

    assert set(found.figures.values()) == {1}
    assert {"engaged", *report.rates} <= set(found.figures)
    for key, rate in report.rates.items():
        if rate.interval is None:
            assert found.values[key].strip() == rate.status.value
        else:
            assert found.values[key].strip() == percent(rate.value)
            assert found.text[key].count(f"{rate.numerator:,} of {rate.denominator:,} ") == 1
    waits = report.latency.of(Medium.SPOKEN)
    for name in ("p50", "p90", "p95", "p99"):
        assert f"{name} {seconds(getattr(waits, name))}" in found.text["voice_to_voice"]
    assert seconds(report.means["handle_time"].seconds) in found.text["handle_time"]


def test_every_definition_is_printed_beside_its_figure(page: str) -> None:
    found = Page(page)
    titles = {value for tag, name, value in found.attributes if (tag, name) == ("article", "title")}

    for item in definitions():
        assert found.ids[f"about-{item.key}"] == 1
        assert item.meaning in titles or item.key.startswith("typed")


def test_ids_are_unique_and_links_lead_somewhere(page: str) -> None:
    found = Page(page)

    assert set(found.ids.values()) == {1}
    for tag, name, value in found.attributes:
        if (tag, name) == ("a", "href"):
            assert value.removeprefix("#") in found.ids
        if name == "aria-labelledby":
            assert value in found.ids


def test_the_page_loads_nothing_and_runs_nothing(page: str) -> None:
    found = Page(page)

    assert found.tags["script"] == found.tags["link"] == found.tags["iframe"] == 0
    for _, name, value in found.attributes:
        if name in {"src", "srcset"}:
            assert value.startswith("data:image/svg+xml;base64,")
        assert not name.startswith("on")
    assert "@import" not in page
    assert not re.search(r"url\(\s*['\"]?http", page)


def test_every_plot_has_words_and_a_dark_twin_and_tables_stand_beside(page: str) -> None:
    found = Page(page)
    alts = [value for tag, name, value in found.attributes if (tag, name) == ("img", "alt")]

    # Containment, calls, waiting and stages twice (spoken, typed), cache, intents.
    assert len(alts) == found.tags["img"] == found.tags["source"] == found.tags["picture"] == 8
    assert all(len(alt) > 20 for alt in alts)
    assert found.tags["table"] >= len(alts)
    assert found.tags["caption"] == found.tags["table"]


def test_hostile_names_are_escaped_everywhere(records: list[CallRecord], tmp_path: Path) -> None:
    evil_turn = replace(
        records[0].turns[0],
        intent=EVIL,
        cache=CacheRecord(EVIL, EVIL),
        tools=(ToolRecord(EVIL, {}, False),),
        stages={EVIL: 1.0, "\x00": 0.0},
        voice_to_voice_s=1.0,
    )
    evil = replace(records[0], call_id="evil", adapter=EVIL, ending=Ending.TRANSFERRED, turns=(evil_turn,))
    written = write_kpi_report(kpis([evil], now=NOW), [evil], tmp_path, title=EVIL)
    text = written.page.read_text(encoding="utf-8")

    assert "<script" not in text
    assert "&lt;script&gt;" in text
    Page(text)


def test_neither_page_nor_files_hold_words_or_callers(files: KpiFiles) -> None:
    for path in (files.page, files.figures, files.calls, files.turns):
        text = path.read_text(encoding="utf-8")
        assert CALLER not in text
        assert "rover" not in text
        assert "20000" not in text


def test_the_figures_file_says_what_the_report_says(files: KpiFiles, report: KpiReport) -> None:
    table = pd.read_csv(files.figures, keep_default_na=False)
    overall = table[table["scope"] == "all"].set_index("figure")

    assert overall.index.is_unique
    for key, rate in report.rates.items():
        row = overall.loc[key]
        assert row["status"] == rate.status.value
        assert row["definition"]
        if rate.interval is None:
            assert row["value"] == ""
        else:
            assert float(row["value"]) == pytest.approx(rate.value)
            assert (int(float(row["numerator"])), int(float(row["denominator"]))) == (
                rate.numerator,
                rate.denominator,
            )
            assert float(row["low"]) <= float(row["value"]) <= float(row["high"])
    assert float(overall.loc["voice_to_voice_p95"]["value"]) == pytest.approx(
        report.latency.of(Medium.SPOKEN).p95
    )
    days = table[(table["scope"] == "day") & (table["figure"] == "calls")]
    assert days["value"].astype(float).sum() == report.engaged


def test_calls_and_turns_files_hold_a_row_each(files: KpiFiles, records: list[CallRecord]) -> None:
    found_calls, found_turns = pd.read_csv(files.calls), pd.read_csv(files.turns)

    assert len(found_calls) == len(records)
    assert len(found_turns) == sum(len(item.turns) for item in records)
    assert list(found_calls["started_at"]) == sorted(found_calls["started_at"])
    stages = found_turns[[name for name in found_turns.columns if name.startswith("stage_")]]
    assert stages.sum(axis=1).to_numpy() == pytest.approx(found_turns["voice_to_voice_s"].to_numpy())


def test_a_text_that_a_spreadsheet_would_run_is_defused(records: list[CallRecord], tmp_path: Path) -> None:
    evil = replace(records[0], script="=HYPERLINK(1)", adapter="@sum")
    written = write_kpi_report(kpis([evil], now=NOW), [evil], tmp_path)

    row = pd.read_csv(written.calls).iloc[0]
    assert (row["script"], row["adapter"]) == ("'=HYPERLINK(1)", "'@sum")


def test_the_period_holds_for_the_files_too(records: list[CallRecord], tmp_path: Path) -> None:
    since = NOW - timedelta(days=2)
    found = kpis(records, now=NOW, since=since)
    written = write_kpi_report(found, records, tmp_path)

    assert len(pd.read_csv(written.calls)) == found.connected < len(records)


def test_no_calls_give_a_page_that_says_so_and_files_with_columns(tmp_path: Path) -> None:
    written = write_kpi_report(kpis([], now=NOW), [], tmp_path)
    page = written.page.read_text(encoding="utf-8")

    assert "No engaged calls in this period" in page
    assert Page(page).tags["img"] == 0
    assert pd.read_csv(written.calls).columns[0] == "call_id"
    assert pd.read_csv(written.turns).columns[0] == "call_id"
    assert set(pd.read_csv(written.figures, keep_default_na=False)["status"]) == {"no data", "not measured"}


def test_one_call_of_one_silent_answer_is_enough_for_a_page(records: list[CallRecord]) -> None:
    only = replace(
        records[0], turns=(replace(records[0].turns[0], voice_to_voice_s=None, stages={}, cache=None),)
    )
    page = render_page(kpis([only], now=NOW))

    assert "1 turn ended before any sound was played" in page
    assert "No turn asked the cache" in page


def test_young_and_nameless_calls_are_pointed_out_at_the_top(records: list[CallRecord]) -> None:
    nameless = replace(records[-1], caller="")
    page = render_page(kpis([*records[:3], nameless], now=NOW))

    assert "3 calls are not mature" in page
    assert "1 call carries no caller hash" in page


def test_a_second_report_replaces_the_first_and_leaves_other_files(
    records: list[CallRecord], report: KpiReport, tmp_path: Path
) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("mine", encoding="utf-8")
    write_kpi_report(report, records, tmp_path)
    written = write_kpi_report(kpis(records[:2], now=NOW), records[:2], tmp_path)

    assert len(pd.read_csv(written.calls)) == 2
    assert other.read_text(encoding="utf-8") == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "calls.csv",
        "kpis.csv",
        "kpis.html",
        "notes.txt",
        "turns.csv",
    ]


def test_a_report_that_fails_half_way_leaves_the_old_files(
    records: list[CallRecord], report: KpiReport, tmp_path: Path
) -> None:
    written = write_kpi_report(report, records, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    with pytest.raises(AttributeError):
        write_kpi_report(report, [None], tmp_path)  # type: ignore[list-item]  # breaks after the first file

    assert written.page in before
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_in_place_of_the_folder_is_refused(report: KpiReport, tmp_path: Path) -> None:
    taken = tmp_path / "kpi"
    taken.write_text("x", encoding="utf-8")

    with pytest.raises(InvalidInputError, match="is a file"):
        write_kpi_report(report, [], taken)


def test_a_folder_that_cannot_be_made_says_so(report: KpiReport, tmp_path: Path) -> None:
    taken = tmp_path / "kpi"
    taken.write_text("x", encoding="utf-8")

    with pytest.raises(UnavailableError, match="cannot be written"):
        write_kpi_report(report, [], taken / "deeper")


def test_text_that_is_no_valid_unicode_costs_a_mark_and_not_the_report(
    records: list[CallRecord], tmp_path: Path
) -> None:
    odd = replace(
        records[0], adapter="lora \ud800", turns=(replace(records[0].turns[0], intent="in\ud800tent"),)
    )
    written = write_kpi_report(kpis([odd], now=NOW), [odd], tmp_path)

    assert "lora ?" in written.page.read_text(encoding="utf-8")
    assert pd.read_csv(written.calls).iloc[0]["adapter"] == "lora ?"


def test_the_same_report_is_written_byte_for_byte_again(report: KpiReport, page: str) -> None:
    assert render_page(report, title="Harbour Bank") == page


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0 ms"),
        (0.0001, "<1 ms"),
        (0.4567, "457 ms"),
        (0.9996, "1.00 s"),
        (12.34, "12.3 s"),
        (99.96, "1:40 min"),
        (125.0, "2:05 min"),
    ],
)
def test_times_are_written_in_the_unit_a_reader_expects(value: float | None, text: str) -> None:
    assert seconds(value) == text
