"""A language model that writes and judges on this machine: a causal model of KerasHub, its tokenizer, its template.
Taught in notebook 03.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recfuse_lib.encoders.text import compiled, equal_lengths, listed

ROWS_AT_ONCE = 32
TOKENS_AT_ONCE = 1_024


class LocalLanguageModel:
    """A causal language model of KerasHub, `keras_hub.models.CausalLM`, with its tokenizer and chat template.

        P(w_1 … w_n | prompt) = Π_t P(w_t | prompt, w_1 … w_{t−1}),   P(w | context) = softmax(E h)_w

    h is the last hidden state of the context, E the token embeddings. Keys and values of all that was read are kept
    (the *cache*), so a step reads one token. `tokenizer` has `encode(text, special)` → token ids, `decode(ids)` → text
    and `end`, the id that ends an answer; `template` is in Jinja, None for a model that was not trained to chat.

    >>> from recfuse_lib.encoders import language_model
    >>> model = language_model.load("smollm2")
    >>> model.generate(["What is the capital of France?"], max_tokens=12)
    ['The capital of France is Paris.']
    >>> paris, rome = model.log_likelihood(["What is the capital of France?"], ["Paris", "Rome"])[0]
    >>> bool(paris > rome)
    True

    Source: Radford et al. (2019), Language Models are Unsupervised Multitask Learners.
    """

    def __init__(self, model: Any, tokenizer: Any, template: str | None, name: str) -> None:
        self.model, self.tokenizer, self.template, self.name = model, tokenizer, template, name
        self.dimensions = int(model.backbone.hidden_dim)
        self._template = None
        if template is not None:
            # The template comes with the weights: it is data, and runs in a sandbox.
            from jinja2.sandbox import ImmutableSandboxedEnvironment

            self._template = ImmutableSandboxedEnvironment().from_string(template)
        # Making a graph of all layers takes longer than most answers, so one serves for all that is read.
        kept = self._empty(1, 1).shape
        cache = (None, *kept[1:3], None, *kept[4:])
        self._forward = compiled(model.call_with_cache, ((None, None), "int32"), (cache, "float32"), ((), "int32"))
        model.call_with_cache = self._forward

    def prompt_text(self, message: str) -> str:
        """Fill in the chat template with a user's message, up to where the answer begins.

        Marks of the template in the message lose their force ("<|" becomes "< |"), so that nobody can end their own
        message and write as the system.
        """
        if self._template is None:
            return message
        safe = message.replace("<|", "< |")
        return str(self._template.render(messages=[{"role": "user", "content": safe}], add_generation_prompt=True))

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 64,
        stop: str | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        answer: Sequence[str] = (),
    ) -> list[str]:
        """See `LanguageModel.generate`; draws depend on the seed and on the other prompts of the call."""
        from keras_hub import samplers

        prompts = listed(prompts)
        if max_tokens < 1 or temperature < 0:
            raise ValueError(f"max_tokens is {max_tokens} (at least 1), temperature {temperature} (at least 0)")
        begun = zip(prompts, answer or [""] * len(prompts), strict=True)
        tokens = [self._read(self.prompt_text(prompt) + beginning) for prompt, beginning in begun]
        random = samplers.RandomSampler(temperature=temperature or 1.0, seed=seed)
        self.model.sampler = random if temperature else samplers.GreedySampler()
        order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        at_once = max(1, 2 * TOKENS_AT_ONCE // (max(map(len, tokens), default=0) + max_tokens))
        answers = [""] * len(prompts)
        for rows in (order[start : start + at_once] for start in range(0, len(order), at_once)):
            written = self._continue([tokens[row] for row in rows], max_tokens, stop)
            for row, text in zip(rows, written, strict=True):
                answers[row] = text
        return answers

    def log_likelihood(self, prompts: Sequence[str], continuations: Sequence[str]) -> npt.NDArray[np.float64]:
        """See `LanguageModel.log_likelihood`; what all prompts begin with is read once, and each prompt once."""
        from keras import ops

        before = [self._read(self.prompt_text(prompt)) for prompt in listed(prompts)]
        after = [self.tokenizer.encode(text, False) for text in listed(continuations)]
        if not all(after):
            raise ValueError("a continuation is empty; there is nothing to score")
        result = np.empty((len(before), len(after)))
        if not result.size:
            return result
        shared, beginning = self._shared([tokens[:-1] for tokens in before])
        by_length = sorted(range(len(after)), key=lambda column: len(after[column]))
        for columns in (by_length[start : start + ROWS_AT_ONCE] for start in range(0, len(after), ROWS_AT_ONCE)):
            padded, real = _padded([after[column] for column in columns])
            for rows in equal_lengths(before, TOKENS_AT_ONCE // padded.size):
                # The prompt's last token is read with the continuation: its logits judge the first token of that.
                end = len(before[rows[0]]) - 1
                room = [(0, 0)] * 3 + [(0, end + 1 + padded.shape[1] - shared)] + [(0, 0)] * 2
                cache = ops.pad(ops.repeat(beginning, len(rows), axis=0), room)
                if end > shared:
                    cache = self._fill(np.array([before[row][shared:end] for row in rows], np.int32), cache, shared)
                last = np.repeat(np.array([before[row][-1:] for row in rows], np.int32), len(columns), axis=0)
                asked = np.concatenate([last, np.tile(padded, (len(rows), 1))], axis=1)
                scores = self._judge(asked, ops.repeat(cache, len(columns), axis=0), end)
                result[np.ix_(rows, columns)] = (scores.reshape(len(rows), *padded.shape) * real).sum(axis=2)
        return result

    def logits(self, text: str) -> npt.NDArray[np.float32]:
        """Compute the logits after each token of a text, without a template, (T, vocabulary)."""
        tokens = np.array([self._read(text)], np.int32)
        return np.asarray(_numpy(self._forward(tokens, self._empty(1, tokens.size), 0)[0])[0])

    def _continue(self, prompts: list[list[int]], max_tokens: int, stop: str | None) -> list[str]:
        """Answers to some prompts of about the same length, generated in one batch."""
        behind = ((0, 0), (0, max_tokens))
        ids, real = (np.pad(one, behind) for one in _padded(prompts))
        # A stop that is one token ends an answer where it is written; any stop is cut off below.
        of_stop = self.tokenizer.encode(stop, False) if stop else []
        ends = (self.tokenizer.end, *(of_stop if len(of_stop) == 1 else ()))
        # The filler where nothing is written yet must not look like an end.
        blank = next(token for token in itertools.count() if token not in ends)
        inputs = {"token_ids": np.where(real, ids, np.int32(blank)), "padding_mask": real}
        written = _numpy(self.model.generate_step(inputs, ends)["token_ids"])
        answers = []
        for tokens, prompt in zip(written.tolist(), prompts, strict=True):
            new = tokens[len(prompt) : len(prompt) + max_tokens]
            text = self.tokenizer.decode(list(itertools.takewhile(lambda token: token != self.tokenizer.end, new)))
            answers.append(text.partition(stop)[0] if stop else text)
        return answers

    def _fill(self, token_ids: Any, cache: Any, start: int) -> Any:
        for first in range(0, token_ids.shape[1], width := max(1, TOKENS_AT_ONCE // len(token_ids))):
            cache = self._forward(token_ids[:, first : first + width], cache, start + first)[2]
        return cache

    def _judge(self, token_ids: Any, cache: Any, start: Any) -> npt.NDArray[np.float64]:
        """log P(token t + 1 | up to token t) for each token but the first, (B, T − 1)."""
        from keras import ops

        scores = []
        # Row by row: the logits are by far the largest of all arrays.
        for row, logits in zip(token_ids, self._forward(token_ids, cache, start)[0], strict=True):
            chosen = ops.take_along_axis(logits[:-1], row[1:, None], axis=-1)
            scores.append(_numpy(chosen)[:, 0] - _numpy(ops.logsumexp(logits[:-1], axis=-1)))
        return np.array(scores, np.float64)

    def _read(self, text: str) -> list[int]:
        """Token ids of a prompt; an empty one is the end token alone, from which a model may begin."""
        return list(self.tokenizer.encode(text, self._template is not None)) or [self.tokenizer.end]

    def _empty(self, rows: int, length: int) -> Any:
        from keras import ops

        backbone = self.model.backbone
        heads = getattr(backbone, "num_key_value_heads", None) or backbone.num_heads
        query_heads = getattr(backbone, "num_query_heads", None) or backbone.num_heads
        width = getattr(backbone, "head_dim", None) or self.dimensions // query_heads
        return ops.zeros((rows, backbone.num_layers, 2, length, heads, width), "float32")

    def _shared(self, tokens: list[list[int]]) -> tuple[int, Any]:
        """How many tokens all texts begin with, and the cache of one row after them."""
        shortest = min(map(len, tokens))
        length = next((n for n in range(shortest) if len({row[n] for row in tokens}) > 1), shortest)
        cache = self._empty(1, length)
        return length, self._fill(np.array([tokens[0][:length]], np.int32), cache, 0) if length else cache


class PresetTokenizer:
    """A KerasHub tokenizer for `LocalLanguageModel`."""

    def __init__(self, tokenizer: Any) -> None:
        self.end, self._tokenizer = int(tokenizer.end_token_id), tokenizer

    def encode(self, text: str, special: bool) -> list[int]:
        """Return token ids; KerasHub decides what is special."""
        return [int(number) for number in np.asarray(self._tokenizer(text))]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids."""
        return str(self._tokenizer.detokenize(np.array(ids, np.int32)))


def _padded(tokens: list[list[int]]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Token ids padded with zeros, (B, T), and which are real."""
    width = max(map(len, tokens))
    real = np.arange(width) < np.array([len(row) for row in tokens])[:, None]
    return np.array([[*row, *[0] * (width - len(row))] for row in tokens], np.int32), real


def _numpy(tensor: Any) -> npt.NDArray[Any]:
    from keras import ops

    return np.asarray(ops.convert_to_numpy(tensor))
