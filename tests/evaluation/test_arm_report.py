"""The page of a comparison and its JSON: complete, self-contained, and silent where there is no verdict."""

import json
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from evaluation.arm_calls import observe, stretch_of
from evaluation.arm_metrics import METRICS
from evaluation.arm_report import (
    DATA,
    document,
    ratio_words,
    render_arms_page,
    rows,
    sentence,
    write_arms_report,
)
from evaluation.arms import ArmsReport, Observed, Stretch, Verdict, compare_arms
from serving.errors import VoicebotError
from tests.evaluation.arm_world import SPLIT, START, a_split, simulated

NOW = START + timedelta(days=40)


def compared(planned: float | None = None, callers: int = 700) -> ArmsReport:
    split = a_split(40)
    stretch = stretch_of(split)
    stretch = stretch if planned is None else replace(stretch, share=planned)
    return compare_arms(observe(simulated(callers, split), stretch, now=NOW), stretch, now=NOW)


@pytest.fixture(scope="module")
def report() -> ArmsReport:
    return compared()


class Reader(HTMLParser):
    """Text of each marked element, and whatever a page could load."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.metrics: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.loads += [found[name] or "" for name in ("src", "srcset", "href") if name in found]
        if found.get("data-metric"):
            self.metrics.append(found["data-metric"] or "")


def test_the_page_shows_every_metric_and_loads_nothing_from_anywhere(report: ArmsReport) -> None:
    page = render_arms_page(report, title="Harbour <Bank>")
    reader = Reader()
    reader.feed(page)
    assert set(reader.metrics) == {metric.key for metric in METRICS}
    assert reader.metrics[0] == report.primary.metric.key
    assert len(reader.loads) == 4
    assert all(address.startswith("data:image/svg+xml;base64,") for address in reader.loads)
    assert "Harbour &lt;Bank&gt;" in page
    assert "<script" not in page


def test_a_better_challenger_is_said_to_be_better_in_words_rows_and_data(report: ArmsReport) -> None:
    assert report.verdict is Verdict.BETTER
    assert "is better" in sentence(report)
    assert rows(report)[0][0] == "Resolved containment (primary)"
    assert rows(report)[0][-1] == "better"
    data = document(report)
    assert data["verdict"] == "better"
    assert data["metrics"][0]["metric"] == "resolved_containment"
    assert data["metrics"][0]["low"] == report.primary.low > 0
    assert "looks" not in data
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_after_a_sample_ratio_alarm_no_metric_is_called_better(tmp_path: Path) -> None:
    broken = compared(planned=0.2)
    assert broken.verdict is Verdict.REFUSED
    page = write_arms_report(broken, tmp_path).read_text(encoding="utf-8")
    assert "No verdict" in page
    assert "<td>better</td>" not in page
    assert "<td>worse</td>" not in page
    assert "ALARM" in ratio_words(broken.ratios[0])


def test_an_arm_without_callers_is_shown_as_no_data() -> None:
    stretch = Stretch(SPLIT, 0.5, START)
    empty = compare_arms(Observed((), ()), stretch, now=NOW)
    page = render_arms_page(empty)
    assert "no data" in page
    assert {row[-1] for row in rows(empty)} == {"no data"}
    assert "<img" not in page


def test_the_plots_are_drawings_that_a_browser_can_read(report: ArmsReport) -> None:
    from evaluation.arm_plots import arm_plots

    found = arm_plots(report)
    assert set(found) == {"primary", "ratio"}
    for plot in found.values():
        for svg in (plot.light, plot.dark):
            assert ET.fromstring(svg).tag.endswith("svg")


def test_the_data_beside_the_page_is_the_report(report: ArmsReport, tmp_path: Path) -> None:
    page = write_arms_report(report, tmp_path / "new")
    assert json.loads((page.parent / DATA).read_text(encoding="utf-8")) == document(report)
    text = page.read_text(encoding="utf-8") + (page.parent / DATA).read_text(encoding="utf-8")
    key = simulated(1, a_split(40))[0].caller_key
    assert key not in text
    assert "hash of" not in text


def test_a_folder_that_cannot_be_written_is_said(report: ArmsReport, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VoicebotError):
        write_arms_report(report, tmp_path / "file")
