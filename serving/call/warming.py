"""Sound that most calls need, made before the first one: phrases, notices, approved answers."""

from collections.abc import Iterator

from serving.call.runtime import Runtime
from serving.speech.sentences import speakable_sentences
from serving.spoken import verbalise


def warm_voice(runtime: Runtime) -> int:
    """Make the sentences that hold nothing of a caller's; returns how many. Takes seconds to minutes.

    What is needed first comes first: the greeting, phrases, then answers.
    """
    if runtime.kept is None:
        return 0
    return runtime.kept.warm(dict.fromkeys(_sentences(runtime)))


def _sentences(runtime: Runtime) -> Iterator[str]:
    box = runtime.box
    opening = runtime.opening(voice=True, recorded=runtime.settings.keep_recordings)
    named = [text.replace("{bank_name}", box.bank_name) for text in box.knowledge.prompts.values()]
    phrases = [text for text in named if "{" not in text]
    answers = [answer.text for answer in box.knowledge.answers if "{" not in answer.text]
    for text in (f"{opening} {box.greeting}", *phrases, *answers):
        yield from map(verbalise, speakable_sentences(text))
