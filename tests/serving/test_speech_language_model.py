"""From the project's text to files that pocketsphinx loads; and what must never get in."""

import shutil
import threading
from calendar import month_name
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving import files as files_module
from serving.errors import InvalidInputError, MissingError, UnavailableError
from serving.settings import default_data_dir
from serving.speech.language_model import (
    build_language_model,
    bundled_dictionary,
    project_text,
    words_of,
)
from serving.speech.number_phrases import ALONE, VARIANTS, standalone_phrases, with_other_values
from serving.speech.pocketsphinx_stt import PocketsphinxStt
from serving.speech.pronunciation import ipa_to_phones, pronounce, read_dictionary, spell
from serving.spoken.parser import parse
from tests.serving.permissions import folder_of_all, without_rights
from tests.serving.speech_fixtures import SENTENCES

CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
PHONES = frozenset(f"{CONSONANTS} {VOWELS}".split())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one sentence of each origin."""
    folder = tmp_path / "data"
    for name in ("intents", "knowledge", "cache_pairs", "calls"):
        (folder / name).mkdir(parents=True)
    (folder / "intents" / "cards.yaml").write_text(
        "lost_card:\n  description: x\n  kind: problem\n  train: [my card vanished, I owe $20]\n"
        "  validate: [validation words]\n  test: [testing words]\n",
        encoding="utf-8",
    )
    (folder / "knowledge" / "answers.yaml").write_text(
        "answers:\n  - {id: a, questions: [what is the zebra fee], answer: 'An answer.'}\n", encoding="utf-8"
    )
    (folder / "cache_pairs" / "pairs.jsonl").write_text(
        '{"stored": "is the pelican free", "probe": "does the pelican cost", "same": true}\n',
        encoding="utf-8",
    )
    (folder / "calls" / "secret.yaml").write_text("lines: [armadillo]\n", encoding="utf-8")
    return folder


# The project's text


def test_call_scripts_and_held_out_utterances_never_get_in(data: Path) -> None:
    text = "\n".join(project_text(data))
    for word in ("armadillo", "validation", "testing"):
        assert word not in text
    for word in ("vanished", "zebra", "pelican"):
        assert word in text


def test_figures_become_words(data: Path) -> None:
    lines = project_text(data)
    assert "I owe twenty dollars" in lines
    assert not any(character.isdigit() for line in lines for character in line)


def test_equal_folders_give_equal_text(data: Path) -> None:
    assert project_text(data) == project_text(data)


def test_the_shipped_text_covers_what_callers_say() -> None:
    vocabulary = {word for line in project_text(default_data_dir()) for word in words_of(line)}
    numbers = (
        "zero oh one twelve thirty ninety hundred thousand percent point months years dollars cents double"
    )
    assert set(numbers.split()) <= vocabulary
    assert {"loan", "card", "rate", "payment", "agent", "january", "first", "thirtieth"} <= vocabulary
    assert {month.lower() for month in month_name if month} <= vocabulary


def test_a_folder_without_intents_is_missing_text(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no text for a language model"):
        project_text(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("intents/cards.yaml", "a: ["),
        ("intents/cards.yaml", "- just\n- a list\n"),
        ("intents/cards.yaml", "a: {description: no utterances}\n"),
        ("intents/cards.yaml", "a: {train: [yes, 12]}\n"),
        ("knowledge/answers.yaml", "answers: 3\n"),
        ("cache_pairs/pairs.jsonl", '{"stored": "x"}\n'),
        ("cache_pairs/pairs.jsonl", "not json\n"),
    ],
)
def test_a_damaged_file_is_named(data: Path, name: str, content: str) -> None:
    (data / name).write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=Path(name).name):
        project_text(data)


def test_every_kind_of_number_is_said_and_can_be_read_back() -> None:
    phrases = standalone_phrases()
    assert len(phrases) == sum(ALONE.values())
    assert phrases == standalone_phrases()
    amounts = phrases[: ALONE["money"]]
    assert len(set(amounts)) > 100
    for phrase in amounts:
        assert parse(phrase), phrase


def test_a_line_with_a_value_returns_with_others_and_a_line_without_does_not() -> None:
    lines = with_other_values(["lend me five thousand dollars over two years", "good morning"])
    assert len(lines) == VARIANTS
    for line in lines:
        assert line.startswith("lend me ")
        assert len(parse(line)) == 2


# Files


def test_a_model_is_built_once_per_text(tmp_path: Path) -> None:
    first = build_language_model(SENTENCES, tmp_path)
    stamp = first.lm.stat().st_mtime_ns
    again = build_language_model(SENTENCES, tmp_path)
    assert again == first
    assert again.lm.stat().st_mtime_ns == stamp
    other = build_language_model([*SENTENCES, "one more"], tmp_path)
    assert other.sha256 != first.sha256
    assert other.lm.parent != first.lm.parent


@pytest.mark.parametrize("damage", ["lm", "dictionary", "manifest"])
def test_an_altered_model_is_built_anew(tmp_path: Path, damage: str) -> None:
    first = build_language_model(SENTENCES, tmp_path)
    good = first.lm.read_bytes()
    if damage == "manifest":
        (first.lm.parent / "manifest.json").write_text("{}", encoding="utf-8")
    else:
        getattr(first, damage).write_text("ruined", encoding="utf-8")
    assert build_language_model(SENTENCES, tmp_path).lm.read_bytes() == good


def test_a_build_that_was_killed_leaves_nothing_that_counts(tmp_path: Path) -> None:
    files = build_language_model(SENTENCES, tmp_path)
    half = tmp_path / files.lm.parent.name
    (half / "manifest.json").unlink()
    assert build_language_model(SENTENCES, tmp_path) == files
    assert [path.name for path in tmp_path.iterdir()] == [half.name]


@pytest.mark.parametrize("below", ["lm", "lm/deeper"])
def test_a_folder_that_cannot_be_written_is_told_with_advice(tmp_path: Path, below: str) -> None:
    (tmp_path / "lm").write_text("a file")
    with pytest.raises(UnavailableError, match="cannot be written") as raised:
        build_language_model(SENTENCES, tmp_path / below)
    assert "right to write" in raised.value.advice


def test_a_folder_of_somebody_else_is_told_with_advice() -> None:
    denied = pytest.raises(UnavailableError, match="Permission denied")
    with folder_of_all() as folder, without_rights(), denied:
        build_language_model(SENTENCES, folder / "lm")


def test_several_processes_may_build_the_same_model_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: build_language_model(SENTENCES, tmp_path), range(4)))
    assert len({files.sha256 for files in found}) == 1
    assert all(files.lm.is_file() for files in found)
    assert len(list(tmp_path.iterdir())) == 1


def test_what_another_process_has_just_put_in_place_is_not_taken_for_a_damaged_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, remove = threading.Event(), shutil.rmtree
    rename = files_module._rename

    def slowly(path: Path, *, ignore_errors: bool = False) -> None:
        if path.name.isalnum():  # where the model goes, and no temporary folder
            put.wait(0.3)  # time for the other one, where nothing holds it back
        remove(path, ignore_errors=ignore_errors)

    def told(folder: Path, destination: Path) -> None:
        rename(folder, destination)
        put.set()

    monkeypatch.setattr(shutil, "rmtree", slowly)
    monkeypatch.setattr(files_module, "_rename", told)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: build_language_model(SENTENCES, tmp_path), range(2)))
    assert found[0] == found[1]
    assert found[0].lm.is_file()


@pytest.mark.parametrize("lines", [[], [""], ["...", "123", "日本語"]])
def test_text_without_words_gives_no_model(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="no words"):
        build_language_model(lines, tmp_path)


def test_pocketsphinx_takes_strange_words_and_hears_them(tmp_path: Path) -> None:
    lines = [
        *SENTENCES,
        "my klarnazoid card and the A.P.R. of my e-mail",
        "l'été naïve '' o'clock",
        "zzz qqq",
    ]
    files = build_language_model(lines, tmp_path)
    PocketsphinxStt(files.lm, files.dictionary)
    words = read_dictionary(files.dictionary)
    assert {"klarnazoid", "apr", "o'clock"} <= set(words)
    assert set(" ".join(way for ways in words.values() for way in ways).split()) <= PHONES
    shutil.rmtree(files.lm.parent)


# Pronunciation


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("What's the A.P.R.?", ["what's", "the", "apr"]),
        ("I’d like e-mail", ["i'd", "like", "e", "mail"]),
        ("'quoted' words'", ["quoted", "words"]),
        ("42 % of $5", ["of"]),
        ("J. Smith", ["j", "smith"]),
    ],
)
def test_words_are_lower_case_letters_and_apostrophes(line: str, words: list[str]) -> None:
    assert words_of(line) == words


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [
        ("hˈɑːɹbɚ", "HH AA R B ER"),
        ("pɹɪpˈeɪmənt", "P R IH P EY M AH N T"),
        ("tʃˈɛk", "CH EH K"),
        ("", ""),
        ("ǂ?", ""),
    ],
)
def test_ipa_is_read_by_the_longest_match(ipa: str, phones: str) -> None:
    assert ipa_to_phones(ipa) == phones


def test_known_words_keep_all_their_pronunciations() -> None:
    known = read_dictionary(bundled_dictionary())
    found = pronounce(["either", "apr", "zelle", "b"], known, lambda word: {"zelle": "zˈɛl"}.get(word, ""))
    assert len(found["either"]) == 2
    assert found["apr"][0] == spell("apr") == "EY P IY AA R"
    assert found["zelle"] == ["Z EH L"]
    assert "B IY" in found["b"]


def test_a_word_that_nobody_can_say_is_left_out() -> None:
    assert pronounce(["aaoea"], {}, lambda _: "") == {}


def test_every_sound_that_the_voice_makes_has_a_phone() -> None:
    """A sign of espeak's IPA without a phone would drop a sound from every word that has it."""
    from serving.speech.espeak_tts import espeak_library

    words = (
        "judge thought this vision church sing yellow where onion boy out now bird father cot about measure"
    )
    for word in words.split():
        phones = ipa_to_phones(espeak_library().phonemes(word)).split()
        assert phones, word
        assert set(phones) <= PHONES, word


def test_a_missing_dictionary_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"absent\.dict"):
        read_dictionary(tmp_path / "absent.dict")
