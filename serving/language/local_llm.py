"""A causal language model on this machine as an answering engine: transformers, with a merged LoRA adapter.

Answers are greedy, so the same dialogue gets the same answer. Generation runs in a thread of its own and
stops within one token of being told to: at the end of the answer, at the time limit, or when the reader
goes away. One answer at a time; others wait their turn inside their own time limit.
"""

import contextlib
import copy
import queue
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.errors import EngineError, EngineTimeoutError, InvalidInputError, UnavailableError
from serving.language.causal_lm import CausalLm, load_causal_lm
from serving.language.dialogue_adapter import BaseIdentity, adapted
from serving.language.prompt import messages_for, without_oldest
from serving.language.prompt_tokens import prompt_ids
from serving.language.protocols import LlmEvent, LlmRequest, Message, TextDelta, ToolSchema, Usage
from serving.language.tool_format import check_pairing, parse_calls
from serving.speech.protocols import EngineInfo

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_TIMEOUT_S = 30.0
_JOIN_S = 5.0
"""How long a closed stream waits for the token in progress; a thread that needs longer ends by itself."""
_HALF_CHARACTER = "�"


class _StoppedError(Exception):
    """Ends generation from inside: nobody reads any more."""


class LocalLlm:
    """A model folder with an optional dialogue adapter.

    Args:
        folder: a transformers folder (config.json, *.safetensors, tokenizer).
        adapter: a PEFT LoRA folder for it.
        four_bit: load with bitsandbytes in 4 bits; CUDA only.
        timeout_s: time limit of one answer, seconds; waiting and the reader's own pauses count.
        bank: the bank's name, for requests without a system message.

    Raises:
        MissingError: a folder, file, package or GPU is not there.
        IntegrityError: weights are incomplete or do not fit.
    """

    def __init__(
        self,
        folder: Path,
        adapter: Path | None = None,
        *,
        four_bit: bool = False,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        bank: str = "the bank",
    ) -> None:
        self._lm = load_causal_lm(folder, adapter, four_bit=four_bit)
        self._folder, self._merged = folder, adapter is not None
        self._identity: BaseIdentity | None = None
        self._timeout_s, self._bank = timeout_s, bank
        self._turn = threading.Lock()
        self.info = EngineInfo("local", self._lm.name, f"language model on {self._lm.model.device}")

    @property
    def lm(self) -> CausalLm:
        """The model that speaks; to be read, not to be changed."""
        return self._lm

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
        """See `serving.language.protocols.Llm.stream`.

        Raises:
            EngineTimeoutError: no whole answer within the time limit.
            UnavailableError: another answer was still in progress all that time.
            EngineError: the dialogue does not fit the model, or the answer is none.
        """
        deadline = time.monotonic() + self._timeout_s
        messages = messages_for(request, bank=self._bank)
        check_pairing(messages)
        prompt = self._prompt(messages, request)
        answer = _AnswerReader(self._lm)
        with contextlib.closing(self._tokens(prompt, max(request.max_tokens, 1), deadline)) as tokens:
            for token in tokens:
                if text := answer.take(token):
                    yield TextDelta(text)
        if rest := answer.rest():
            yield TextDelta(rest)
        if not answer.spoken and not answer.calls:
            raise EngineError("The language model gave an empty answer.")
        yield from parse_calls(answer.call_texts(), messages)
        yield Usage(len(prompt), answer.tokens)

    def with_adapter(self, adapter: Path, label: str) -> "LocalLlm":
        """An engine of its own on the same base, with a dialogue adapter; this one stays as it is.

        Both share weights, device and turn: one answer at a time. The first adapter takes the
        time to read the base's weights once more, to identify them.

        Args:
            adapter: a verified bundle of kind `dialogue`.
            label: of the version, such as `banking-dialogue-lora/3`.

        Raises:
            IntegrityError: it is for another base, does not fit, or answers otherwise than after training.
            InvalidInputError: this engine has an adapter in its weights already.
        """
        if self._merged:
            raise InvalidInputError(
                f"{self._lm.name} has an adapter in its weights already; another one cannot be put on top.",
                advice="Unset VOICEBOT_LOCAL_LLM_ADAPTER, or VOICEBOT_DIALOGUE_ADAPTER.",
            )
        self._identity = self._identity or BaseIdentity.of(self._folder)
        made = copy.copy(self)
        made._lm = adapted(self._lm, adapter, label, self._identity)
        made._merged = True
        made.info = EngineInfo("local", f"{self._lm.name} + {label}", self.info.note)
        return made

    def prompt_ids(self, messages: Sequence[Message], tools: Sequence[ToolSchema]) -> list[int]:
        """The tokens that a dialogue is put to the model as.

        Raises:
            EngineError: the model's chat template does not take such a dialogue.
        """
        return prompt_ids(self._lm, messages, tools)

    def _prompt(self, messages: tuple[Message, ...], request: LlmRequest) -> list[int]:
        """Tokens of the dialogue, its oldest exchanges left out where the model's context ends."""
        while True:
            ids = self.prompt_ids(messages, request.tools)
            if len(ids) + request.max_tokens <= self._lm.context:
                return ids
            messages = without_oldest(messages)
            if not messages:
                error = EngineError(
                    f"The prompt ({len(ids)} tokens) and the answer ({request.max_tokens}) do not fit into "
                    f"the model's context of {self._lm.context} tokens.",
                    advice="Use a model with a longer context.",
                )
                error.retryable = False
                raise error

    def _tokens(self, prompt: list[int], max_new: int, deadline: float) -> Generator[int]:
        """Generated tokens as they come, without the one that ended the answer."""
        late = EngineTimeoutError(f"The language model did not answer within {self._timeout_s:g} s.")
        if not self._turn.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise UnavailableError("The language model is busy with another call.")
        found: queue.SimpleQueue[int | Exception | None] = queue.SimpleQueue()
        stop = threading.Event()
        worker = threading.Thread(
            target=self._generate, args=(prompt, max_new, found, stop), name="local-llm", daemon=True
        )
        try:
            worker.start()
        except RuntimeError:
            self._turn.release()
            raise UnavailableError("No thread can be started for the language model.") from None
        try:
            while True:
                try:
                    item = found.get(timeout=max(deadline - time.monotonic(), 0.001))
                except queue.Empty:
                    raise late from None
                if isinstance(item, Exception):
                    raise item
                if item is None or item in self._lm.stop_ids:
                    return
                if time.monotonic() >= deadline:
                    raise late
                yield item
        finally:
            stop.set()
            worker.join(_JOIN_S)

    def _generate(
        self,
        prompt: list[int],
        max_new: int,
        found: "queue.SimpleQueue[int | Exception | None]",
        stop: threading.Event,
    ) -> None:
        """Body of the thread: fills `found` with tokens, then None or the error that ended it."""
        try:
            import torch
            from transformers import GenerationConfig

            lm = self._lm
            stops = list(lm.stop_ids)
            settings = GenerationConfig(
                max_new_tokens=max_new, do_sample=False, eos_token_id=stops, pad_token_id=stops[0]
            )
            ids = torch.tensor([prompt], device=lm.model.device)
            with torch.inference_mode():
                lm.model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=settings,
                    streamer=_TokenSink(found, stop),
                )
            found.put(None)
        except _StoppedError:
            pass
        except Exception as error:  # out of memory, a broken kernel: the call must hear of it
            found.put(EngineError(f"The language model failed while generating ({type(error).__name__})."))
        finally:
            self._turn.release()


class _TokenSink:
    """What `generate` calls with each token; the first call brings the prompt."""

    def __init__(self, found: "queue.SimpleQueue[int | Exception | None]", stop: threading.Event) -> None:
        self._found, self._stop, self._prompt_seen = found, stop, False

    def put(self, tokens: "Tensor") -> None:
        """Hand on new tokens; ends generation where nobody wants them."""
        if self._stop.is_set():
            raise _StoppedError
        if self._prompt_seen:
            for token in tokens.flatten().tolist():
                self._found.put(int(token))
        self._prompt_seen = True

    def end(self) -> None:
        """Nothing to do; the thread itself reports the end."""


class _AnswerReader:
    """Sorts tokens into speech and tool calls, and speech into whole characters."""

    def __init__(self, lm: CausalLm) -> None:
        self._lm = lm
        self._speech: list[int] = []
        self.calls: list[list[int]] = []
        self.spoken = ""
        self.tokens = 0

    def take(self, token: int) -> str:
        """Take one token; returns the speech that it completes."""
        self.tokens += 1
        if token == self._lm.calls_id:
            self.calls.append([])
        elif self.calls:
            self.calls[-1].append(token)
        else:
            self._speech.append(token)
            text = self._text(self._speech, skip_special=True)
            if not text.endswith(_HALF_CHARACTER):
                return self._new(text)
        return ""

    def rest(self) -> str:
        """Speech that was held back for a character which never became whole."""
        return self._new(self._text(self._speech, skip_special=True))

    def call_texts(self) -> list[str]:
        """What was written after each tool-call token."""
        return [self._text(ids, skip_special=False) for ids in self.calls]

    def _new(self, text: str) -> str:
        fresh = text[len(self.spoken) :]
        self.spoken += fresh
        return fresh

    def _text(self, ids: list[int], *, skip_special: bool) -> str:
        options: dict[str, Any] = {
            "skip_special_tokens": skip_special,
            "clean_up_tokenization_spaces": False,
        }
        return str(self._lm.tokenizer.decode(ids, **options))
