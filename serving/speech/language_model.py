"""The bank's own language model for pocketsphinx: from the project's text to files it can load.

`project_text` gathers what callers say (training utterances, questions, answers, number phrases) and
never opens `data/calls`, which is test material. `build_language_model` turns lines into a trigram and
its pronunciation dictionary, once per text: the folder is named by the text's hash and appears
complete or not at all.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import InvalidInputError, MissingError, UnavailableError
from serving.files import make_folder, new_folder, writing_to
from serving.speech.espeak_tts import espeak_library
from serving.speech.ngram import NgramModel, train_ngram
from serving.speech.number_phrases import standalone_phrases, with_other_values
from serving.speech.pronunciation import pronounce, read_dictionary, write_dictionary
from serving.speech.sentences import speakable_sentences
from serving.spoken.verbalise import verbalise

_VERSION = 1
"""Part of every hash; raise it when the same text must give another model."""
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class LanguageModelFiles:
    """A language model on disk.

    Attributes:
        lm: ARPA trigram.
        dictionary: pronunciations of its words.
        vocabulary: number of words.
        sha256: of the text that it was made from.
    """

    lm: Path
    dictionary: Path
    vocabulary: int
    sha256: str


def project_text(data_dir: Path, currency: str = "USD") -> list[str]:
    """What callers say to this bank, one utterance a line, figures in words.

    The training utterances of every intent, the questions and approved answers of the knowledge base
    (callers repeat its terms), the questions of the cache pairs, those lines that say a value again
    with other values, and number phrases by themselves.

    Args:
        data_dir: the project's data folder.
        currency: ISO 4217 code of amounts.

    Raises:
        MissingError: the folder holds no intents.
        InvalidInputError: a file is not what the data card says.
    """
    intents = sorted((data_dir / "intents").glob("*.yaml"))
    if not intents:
        raise MissingError(
            f"There is no text for a language model in {data_dir / 'intents'}.",
            advice="Point VOICEBOT_DATA_DIR to the project's data folder.",
        )
    lines = [line for path in intents for line in _training_utterances(path)]
    answers = data_dir / "knowledge" / "answers.yaml"
    if answers.is_file():
        lines += _knowledge(answers)
    pairs = data_dir / "cache_pairs" / "pairs.jsonl"
    if pairs.is_file():
        lines += _pair_questions(pairs)
    spoken = [verbalise(line, currency=currency) for line in lines]
    return [*spoken, *with_other_values(spoken, currency), *standalone_phrases(currency)]


def words_of(line: str) -> list[str]:
    """The words of a line as the language model knows them: lower case, letters and apostrophes.

    A word written in capitals or with dots between letters stays one word ("A.P.R." is `apr`).
    """
    text = line.replace("’", "'").replace("‘", "'").lower()
    text = re.sub(r"\b(?:[a-z]\.){2,}", lambda match: match.group().replace(".", "") + " ", text)
    return _WORD.findall(text)


def build_language_model(lines: Iterable[str], folder: Path) -> LanguageModelFiles:
    """Build a trigram and its dictionary, or find them where the same text was built before.

    Args:
        lines: utterances, figures already in words. A word that nobody can pronounce is left out.
        folder: where models are kept; each text has a folder of its own in it.

    Raises:
        InvalidInputError: no line holds a word.
        MissingError: pocketsphinx or espeak-ng is not installed.
        UnavailableError: the folder cannot be written.
    """
    sentences = [words for words in map(words_of, lines) if words]
    if not sentences:
        raise InvalidInputError("The text for the language model holds no words.")
    digest = _text_hash(sentences)
    target = folder / digest[:16]
    found = _load(target, digest)
    if found is not None:
        return found
    known = read_dictionary(bundled_dictionary())
    pronunciations = pronounce(
        {word for sentence in sentences for word in sentence}, known, espeak_library().phonemes
    )
    model = train_ngram([[word for word in sentence if word in pronunciations] for sentence in sentences])
    with writing_to(folder), _alone(folder):
        # Another process may have put the same model there first; that one is as good.
        if _load(target, digest) is None:
            shutil.rmtree(target, ignore_errors=True)
            with new_folder(target) as temporary:
                _write(model, pronunciations, digest, temporary)
    built = _load(target, digest)
    if built is None:
        raise UnavailableError(
            f"The language model {target} could not be put in place, or disappeared again.",
            advice=f"Remove {target} and start again.",
        )
    return built


def _write(model: NgramModel, pronunciations: dict[str, list[str]], digest: str, folder: Path) -> None:
    """Write the three files of a model; the n-gram's name tells records which text it is from."""
    lm, dictionary = folder / f"bank-{digest[:8]}.arpa", folder / f"bank-{digest[:8]}.dict"
    with lm.open("w", encoding="utf-8") as stream:
        model.write(stream)
    dictionary.write_text(write_dictionary(pronunciations), encoding="utf-8")
    manifest = {
        "text_sha256": digest,
        "vocabulary": len(model.vocabulary),
        "lm": [lm.name, _file_hash(lm)],
        "dictionary": [dictionary.name, _file_hash(dictionary)],
    }
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder, so that no two processes look and remove at once; the kernel frees it at an end."""
    make_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _load(folder: Path, digest: str) -> LanguageModelFiles | None:
    """The model in a folder, if it is complete, unaltered and of this text."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        paths = []
        for part in ("lm", "dictionary"):
            name, expected = manifest[part]
            paths.append(folder / Path(name).name)
            if _file_hash(paths[-1]) != expected:
                return None
        if manifest["text_sha256"] != digest:
            return None
        return LanguageModelFiles(paths[0], paths[1], int(manifest["vocabulary"]), digest)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def bundled_dictionary() -> Path:
    """The pronunciation dictionary inside the pocketsphinx wheel.

    Raises:
        MissingError: pocketsphinx is not installed.
    """
    try:
        from pocketsphinx import get_model_path
    except ImportError as error:
        raise MissingError(
            "Speech-to-text pocketsphinx is not installed.", advice="Install the package pocketsphinx."
        ) from error
    return Path(get_model_path("en-us/cmudict-en-us.dict"))


def _training_utterances(path: Path) -> list[str]:
    content = _yaml(path)
    try:
        lines = [line for intent in content.values() for line in intent["train"]]
    except (AttributeError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{path} is not a file of intents; each needs a list `train`.") from error
    return _texts(lines, path)


def _knowledge(path: Path) -> list[str]:
    """Questions, and answers sentence by sentence."""
    content = _yaml(path)
    try:
        questions = [line for entry in content["answers"] for line in entry["questions"]]
        answers = [entry["answer"] for entry in content["answers"]]
    except (KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{path} is not a knowledge file; each answer needs `questions` and `answer`."
        ) from error
    sentences = [sentence for text in _texts(answers, path) for sentence in speakable_sentences(text)]
    return [*_texts(questions, path), *sentences]


def _pair_questions(path: Path) -> list[str]:
    """Every different question once; a pair's two sides are both things that callers say."""
    lines: list[object] = []
    for number, row in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not row.strip():
            continue
        try:
            pair = json.loads(row)
            lines += [pair["stored"], pair["probe"]]
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(f"{path}, line {number}, is not a pair of questions.") from error
    return list(dict.fromkeys(_texts(lines, path)))


def _texts(lines: Sequence[object], path: Path) -> list[str]:
    texts = [line for line in lines if isinstance(line, str)]
    if len(texts) != len(lines):
        raise InvalidInputError(f"{path} holds an utterance that is not text.", advice="Put it in quotes.")
    return texts


def _yaml(path: Path) -> Any:
    import yaml

    # The parser in C is ten times faster; the wheels have it, a source build may not.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 (both are safe loaders)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInputError(f"{path} cannot be read as YAML.") from error


def _text_hash(sentences: Sequence[Sequence[str]]) -> str:
    text = "\n".join(" ".join(sentence) for sentence in sentences)
    return hashlib.sha256(f"{_VERSION}\n{text}".encode()).hexdigest()


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
