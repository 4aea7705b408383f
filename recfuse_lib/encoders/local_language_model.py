"""A language model that writes and judges on this machine: a causal model of KerasHub, its tokenizer, its template.

Three things come out of it: answers (`generate`), the likelihood of given words (`log_likelihood`), and hidden states
as encodings (`encode`). Keys and values of what was read are kept in a cache; what all texts begin with is read once.

Taught in notebook 03.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recfuse_lib.encoders.language_model import beginnings
from recfuse_lib.encoders.text import Encodings, masked_mean

ROWS_AT_ONCE = 32
TOKENS_AT_ONCE = 1_024
GROWTH = 32
"""Places that the cache grows by."""
FEW_BATCHES = 8
"""As many batches are read as quickly as a graph is made."""


class LocalLanguageModel:
    """A causal language model of KerasHub, with its tokenizer and chat template.

        P(w_1 … w_n | prompt) = Π_t P(w_t | prompt, w_1 … w_{t−1}),   P(w | context) = softmax(E h)_w

    h is the last hidden state of the context, E the token embeddings. Keys and values of all that was read are kept
    (the *cache*), so a step reads one token, and what several texts begin with is read once.

    Args:
        model: A `keras_hub.models.CausalLM`.
        tokenizer: `encode(text, special)` → token ids, `decode(ids)` → text, and `end`, the id that ends an answer.
        template: The chat template in Jinja; None for a model that was not trained to chat: it goes on from the prompt.
        name: See `LanguageModel`.

    Example:
        >>> from recfuse_lib.encoders import language_model
        >>> model = language_model.load("smollm2")
        >>> model.generate(["What is the capital of France?"], max_tokens=12)
        ['The capital of France is Paris.']
        >>> paris, rome = model.log_likelihood(["What is the capital of France?"], ["Paris", "Rome"])[0]
        >>> bool(paris > rome)
        True

    References:
        Radford et al. (2019), Language Models are Unsupervised Multitask Learners.
    """

    def __init__(self, model: Any, tokenizer: Any, template: str | None, name: str) -> None:
        self.model, self.tokenizer, self.template, self.name = model, tokenizer, template, name
        self.dimensions = int(model.backbone.hidden_dim)
        self._template = None
        if template is not None:
            # The template comes with the weights: it is data, and runs in a sandbox.
            from jinja2.sandbox import ImmutableSandboxedEnvironment

            self._template = ImmutableSandboxedEnvironment().from_string(template)
        tokens, place = (None, None), ()
        kept = self._empty(1, 1).shape
        cache = (None, *kept[1:3], None, *kept[4:])
        # Making a graph of all layers takes longer than most answers, so one serves for all that is read with a cache.
        self._forward = _compiled(self.model.call_with_cache, tokens, cache, place)
        self._pool = _compiled(self._pool_states, tokens)

    def prompt_text(self, message: str) -> str:
        """What the model reads when a user says `message`: the chat template filled in, up to where the answer begins.

        Args:
            message: A user's message. Marks of the template in it lose their force, so that nobody can end his own
                message and speak for the system: "<|" becomes "< |".
        """
        if self._template is None:
            return message
        safe = message.replace("<|", "< |")
        return str(self._template.render(messages=[{"role": "user", "content": safe}], add_generation_prompt=True))

    def count_tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Number of tokens of each text, without a template, (N,)."""
        return np.array([len(self.tokenizer.encode(text, False)) for text in texts], np.int64)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 64,
        stop: str | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        answer: str | Sequence[str] = "",
    ) -> list[str]:
        """See `LanguageModel.generate`. Draws depend on the seed and on the other prompts of the call.

        Raises:
            TypeError: `prompts` is one string.
            ValueError: `max_tokens` or `temperature` is out of range, or there is not one `answer` a prompt.
        """
        prompts = _checked(prompts)
        if max_tokens < 1 or temperature < 0:
            raise ValueError(f"max_tokens is {max_tokens} (at least 1), temperature {temperature} (at least 0)")
        generator = np.random.default_rng(seed)
        answers = [""] * len(prompts)
        begun = zip(prompts, beginnings(answer, len(prompts)), strict=True)
        tokens = [self._read(self.prompt_text(prompt) + beginning) for prompt, beginning in begun]
        order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        for start in range(0, len(order), ROWS_AT_ONCE):
            rows = order[start : start + ROWS_AT_ONCE]
            written = self._go_on([tokens[row] for row in rows], max_tokens, stop, temperature, generator)
            for row, text in zip(rows, written, strict=True):
                answers[row] = text
        return answers

    def log_likelihood(self, prompts: Sequence[str], continuations: Sequence[str]) -> npt.NDArray[np.float64]:
        """See `LanguageModel.log_likelihood`. What the prompts begin with is read once, and each prompt once.

        Raises:
            TypeError: `prompts` or `continuations` is one string.
            ValueError: A continuation is empty.
        """
        before = [self._read(self.prompt_text(prompt)) for prompt in _checked(prompts)]
        after = [self.tokenizer.encode(text, False) for text in _checked(continuations)]
        if not all(after):
            raise ValueError("a continuation is empty; there is nothing whose likelihood could be told")
        result = np.empty((len(before), len(after)))
        if not result.size:
            return result
        shared, beginning = self._shared([tokens[:-1] for tokens in before])
        by_length = sorted(range(len(after)), key=lambda column: len(after[column]))
        for columns in (by_length[start : start + ROWS_AT_ONCE] for start in range(0, len(after), ROWS_AT_ONCE)):
            width = len(after[columns[-1]])
            padded = np.array([after[column] + [0] * (width - len(after[column])) for column in columns], np.int32)
            real = np.arange(width) < np.array([len(after[column]) for column in columns])[:, None]
            for rows in _equal_lengths(before, max(1, TOKENS_AT_ONCE // padded.size)):
                # The prompt's last token is read with the continuation: its logits judge the first token of that.
                end = len(before[rows[0]]) - 1
                cache = _widened(_repeated(beginning, len(rows)), end + 1 + width)
                if end > shared:
                    cache = self._fill(np.array([before[row][shared:end] for row in rows], np.int32), cache, shared)
                last = np.repeat(np.array([before[row][-1:] for row in rows], np.int32), len(columns), axis=0)
                asked = np.concatenate([last, np.tile(padded, (len(rows), 1))], axis=1)
                told = self._judge(asked, _repeated(cache, len(columns)), end).reshape(len(rows), len(columns), width)
                result[np.ix_(rows, columns)] = (told * real).sum(axis=2)
        return result

    def encode(self, texts: Sequence[str], pooling: str = "mean") -> Encodings:
        """Hidden states of the last layer, pooled over the tokens of each text (no chat template).

        Args:
            texts: N strings.
            pooling: `"mean"` of all tokens, or the `"last"` one, which alone has read the whole text.

        Returns:
            float32 (N, D), every row of length 1.

        Raises:
            TypeError: `texts` is one string.
            ValueError: Another pooling.
        """
        if pooling not in ("mean", "last"):
            raise ValueError(f"pooling {pooling!r} does not exist; there are 'mean' and 'last'")
        tokens = [self.tokenizer.encode(text, False) or [self.tokenizer.end] for text in _checked(texts)]
        encodings = np.empty((len(tokens), self.dimensions), np.float32)
        batches = list(_equal_lengths(tokens, ROWS_AT_ONCE))
        pool = self._pool if len(batches) > FEW_BATCHES else self._pool_states
        for rows in batches:
            mean, last = pool(np.array([tokens[row] for row in rows], np.int32))
            encodings[rows] = _numpy(mean if pooling == "mean" else last)
        return np.asarray(encodings / np.linalg.norm(encodings, axis=1, keepdims=True), np.float32)

    def logits(self, text: str) -> npt.NDArray[np.float32]:
        """What the model expects after each token of a text, without a template, (T, vocabulary)."""
        tokens = np.array([self._read(text)], np.int32)
        return np.asarray(_numpy(self._forward(tokens, self._empty(1, tokens.size), 0)[0])[0])

    def _fill(self, token_ids: Any, cache: Any, start: Any) -> Any:
        """The cache after some tokens more, from place `start`."""
        for first in range(0, token_ids.shape[1], width := max(1, TOKENS_AT_ONCE // len(token_ids))):
            cache = self._forward(token_ids[:, first : first + width], cache, start + first)[2]
        return cache

    def _next(self, token_ids: Any, cache: Any, start: Any) -> Any:
        """Logits after one token more, (B, vocabulary), and the cache with it."""
        logits, _, cache = self._forward(token_ids, cache, start)
        return logits[:, -1], cache

    def _judge(self, token_ids: Any, cache: Any, start: Any) -> npt.NDArray[np.float64]:
        """log P(token t + 1 | up to token t) for each token but the first, (B, T − 1)."""
        from keras import ops

        told = []
        # Row by row: the logits are by far the largest of all arrays.
        for row, logits in zip(token_ids, self._forward(token_ids, cache, start)[0], strict=True):
            chosen = ops.take_along_axis(logits[:-1], row[1:, None], axis=-1)
            told.append(_numpy(chosen)[:, 0] - _numpy(ops.logsumexp(logits[:-1], axis=-1)))
        return np.array(told, np.float64)

    def _pool_states(self, token_ids: Any) -> Any:
        from keras import ops

        token_ids = ops.convert_to_tensor(token_ids)
        states = self.model.backbone({"token_ids": token_ids, "padding_mask": ops.ones_like(token_ids)})
        return masked_mean(states), states[:, -1]

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

    def _go_on(
        self,
        prompts: list[list[int]],
        max_tokens: int,
        stop: str | None,
        temperature: float,
        generator: np.random.Generator,
    ) -> list[str]:
        """Answers to some prompts of about the same length, written side by side.

        All rows read the same place at once; a row whose prompt is longer than that is told its next token.
        """
        shortest = min(map(len, prompts))
        shared, cache = self._shared([tokens[: shortest - 1] for tokens in prompts])
        cache = _widened(_repeated(cache, len(prompts)), shortest + GROWTH)
        if shortest - 1 > shared:
            cache = self._fill(np.array([tokens[shared : shortest - 1] for tokens in prompts], np.int32), cache, shared)
        rows, answers = [list(tokens) for tokens in prompts], [""] * len(prompts)
        going, place = list(range(len(prompts))), shortest
        while going:
            if place > cache.shape[3]:
                cache = _widened(cache, place + GROWTH)
            read = np.array([[rows[row][place - 1]] for row in going], np.int32)
            following, cache = self._next(read, cache, place - 1)
            logits = _numpy(following)
            staying = []
            for position, row in enumerate(going):
                if place == len(rows[row]):
                    rows[row].append(_chosen(logits[position], temperature, generator))
                own = rows[row][len(prompts[row]) :]
                ended = bool(own) and own[-1] == self.tokenizer.end
                answers[row], stopped = _before(self.tokenizer.decode(own[: len(own) - ended]), stop)
                if not (ended or stopped or len(own) == max_tokens):
                    staying.append(position)
            if len(staying) < len(going):
                going = [going[position] for position in staying]
                cache = _rows(cache, staying)
            place += 1
        return answers


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError("expected a list of texts, got one text; put it into a list: [text]")
    return list(texts)


def _equal_lengths(tokens: list[list[int]], at_once: int) -> Iterator[list[int]]:
    """Rows with the same number of tokens, `at_once` of them at most, longest first."""
    order = sorted(range(len(tokens)), key=lambda row: -len(tokens[row]))
    for _, group in itertools.groupby(order, key=lambda row: len(tokens[row])):
        same = list(group)
        yield from (same[start : start + at_once] for start in range(0, len(same), at_once))


def _numpy(tensor: Any) -> npt.NDArray[Any]:
    from keras import ops

    return np.asarray(ops.convert_to_numpy(tensor))


def _chosen(logits: Any, temperature: float, generator: np.random.Generator) -> int:
    values = np.asarray(logits, np.float64)
    if temperature:
        # The largest of logits / τ + Gumbel noise is a draw from softmax(logits / τ).
        values = values / temperature + generator.gumbel(size=len(values))
    return int(values.argmax())


def _before(text: str, stop: str | None) -> tuple[str, bool]:
    place = text.find(stop) if stop else -1
    return (text, False) if place < 0 else (text[:place], True)


def _repeated(cache: Any, times: int) -> Any:
    from keras import ops

    return ops.repeat(cache, times, axis=0)


def _widened(cache: Any, length: int) -> Any:
    from keras import ops

    return ops.pad(cache, [(0, 0)] * 3 + [(0, length - cache.shape[3])] + [(0, 0)] * 2)


def _rows(cache: Any, rows: list[int]) -> Any:
    from keras import ops

    return ops.take(cache, np.array(rows, np.int32), axis=0)


def _compiled(function: Any, *shapes: tuple[int | None, ...]) -> Any:
    """`function` as one graph for every batch and length where the backend can, else without gradients.

    Args:
        function: Of tensors; the second is float32 (a cache), the others are int32.
        shapes: Of its arguments.
    """
    import keras
    from keras import ops

    types = ("int32", "float32", "int32")
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow

        signature = [tensorflow.TensorSpec(shape, kind) for shape, kind in zip(shapes, types, strict=False)]
        function = tensorflow.function(function, input_signature=signature, autograph=False)
    elif backend == "torch":
        import torch

        function = torch.inference_mode()(function)
    return lambda *arguments: function(
        *(ops.convert_to_tensor(argument, kind) for argument, kind in zip(arguments, types, strict=False))
    )
