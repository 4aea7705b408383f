"""A sentence encoder in KerasHub: texts in, unit vectors out.

The vectors equal those of sentence-transformers on the same weights (tested to 1e-4). For speed on a CPU, the texts of
a batch have equally many tokens, so nothing is padded; batches fit the processor's cache and run two at a time.
Taught in notebook 02.
"""

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from recfuse_lib import pretrained
from recfuse_lib.pretrained import store

TOKENS_PER_BATCH = 1536
SECONDS_BETWEEN_REPORTS = 5.0
BATCHES_AT_ONCE = 2

Encodings = npt.NDArray[np.float32]


class TextEncoder:
    """A BERT-type encoder with its tokenizer, mean pooling and L2 normalisation.

        e = m / ‖m‖,   m = (1/T) Σ_t h_t

    with h_t the last hidden state of token t, [CLS] and [SEP] included. `backbone` is a
    `keras_hub.models.BertBackbone`, whose layers may be frozen, trained or inspected; `tokenizer` a
    `tokenizers.Tokenizer` that adds [CLS] and [SEP]. Texts longer than `max_tokens` lose their end but keep [SEP]; the
    weights were trained with 256.

    >>> encoder = TextEncoder.from_pretrained("minilm")
    >>> wish, comedy, horror = encoder.encode(["something funny", "A hilarious comedy.", "A cruel slasher film."])
    >>> bool(wish @ comedy > wish @ horror)
    True

    Source: Reimers and Gurevych (2019), Sentence-BERT, EMNLP, section 3 (mean pooling).
    """

    def __init__(self, backbone: Any, tokenizer: Any, max_tokens: int) -> None:
        import keras

        self.backbone = backbone
        self.dimensions = int(backbone.hidden_dim)
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        for layer in backbone.transformer_layers:
            # The weights were trained with the exact GELU; KerasHub's BERT takes the tanh approximation.
            layer._feedforward_intermediate_dense.activation = keras.activations.gelu
        self.recompile()

    @classmethod
    def from_pretrained(cls, name: str = "minilm", *, progress: bool = True) -> Self:
        """Load the encoder with the verified weights called `name` in `recfuse_lib.pretrained.MODELS`.
        Raises `PretrainedError`: the weights cannot be had.
        """
        import json

        folder = pretrained.load(name, progress=progress)
        import keras_hub
        from tokenizers import Tokenizer

        backbone = keras_hub.models.BertBackbone.from_preset(str(folder), dtype="float32")
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        settings = json.loads((folder / "sentence_bert_config.json").read_text("utf-8"))
        return cls(backbone, tokenizer, int(settings["max_seq_length"]))

    def recompile(self) -> None:
        """Discard the graph that `encode` made; needed when layers were changed, not just their weights."""
        self._forward = compiled(self.forward, ((None, None), "int32"))

    def tokenize(self, texts: Iterable[str]) -> list[list[int]]:
        """Return the token ids of each text, with [CLS] and [SEP], cut to `max_tokens`.

        >>> TextEncoder.from_pretrained().tokenize(["Heat", ""])
        [[101, 3684, 102], [101, 102]]
        """
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(listed(texts))]
        return [
            tokens if len(tokens) <= self.max_tokens else [*tokens[: self.max_tokens - 1], tokens[-1]] for tokens in ids
        ]

    def forward(self, token_ids: Any, mask: Any = None) -> Any:
        """Compute the encodings of token ids, (B, T), as a tensor (B, D), without dropout; mask as in `masked_mean`."""
        from keras import ops

        backbone = self.backbone
        states = backbone.token_embedding(token_ids)
        states = states + backbone.position_embedding(states) + backbone.segment_embedding(ops.zeros_like(token_ids))
        states = backbone.embeddings_layer_norm(states)
        batch, length = ops.shape(token_ids)
        allowed = None if mask is None else ops.expand_dims(ops.cast(mask, "bool"), 1)
        for layer in backbone.transformer_layers:
            attended = layer._self_attention_layer(states, states, attention_mask=allowed)
            # TensorFlow fuses a dense layer's product, bias and activation on a matrix, but not on (B, T, D).
            rows = layer._self_attention_layer_norm(ops.reshape(states + attended, (-1, self.dimensions)))
            fed = layer._feedforward_output_dense(layer._feedforward_intermediate_dense(rows))
            rows = layer._feedforward_layer_norm(rows + fed)
            states = ops.reshape(rows, (batch, length, self.dimensions))
        return ops.normalize(masked_mean(states, mask), axis=-1)

    def encode(self, texts: Iterable[str]) -> Encodings:
        """Encode N texts: float32 (N, D), every row of norm 1; see `encode_texts`, which keeps the result."""
        from keras import ops

        tokens = self.tokenize(texts)
        encodings = np.empty((len(tokens), self.dimensions), np.float32)
        started = reported = time.monotonic()
        done = 0

        def encode_batch(rows: list[int]) -> int:
            encodings[rows] = ops.convert_to_numpy(self._forward(np.array([tokens[row] for row in rows], np.int32)))
            return len(rows)

        with ThreadPoolExecutor(BATCHES_AT_ONCE) as pool:
            for count in pool.map(encode_batch, equal_lengths(tokens)):
                done += count
                if time.monotonic() - reported > SECONDS_BETWEEN_REPORTS:
                    reported = time.monotonic()
                    print(f"encoded {done:,} of {len(tokens):,} texts in {reported - started:.0f} s", flush=True)
        return encodings


def masked_mean(states: Any, mask: Any = None) -> Any:
    """Compute the mean over the tokens of each text, padding left out, (B, D):  m = Σ_t a_t h_t / Σ_t a_t.

    `states` are h, (B, T, D); `mask` is a, (B, T), 1 for a token and 0 for padding, None when nothing is padded.

    >>> states = np.array([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]], "float32")
    >>> np.asarray(masked_mean(states, np.array([[1, 1, 0]])))
    array([[2., 3.]], dtype=float32)
    """
    from keras import ops

    if mask is None:
        return ops.mean(states, axis=1)
    weights = ops.cast(ops.expand_dims(mask, -1), states.dtype)
    return ops.sum(states * weights, axis=1) / ops.sum(weights, axis=1)


def encode_texts(texts: Iterable[str], model: str = "minilm") -> Encodings:
    """Encode N texts with a `pretrained.MODELS` encoder: float32 (N, D), rows of norm 1, cached by texts and weights.
    Raises `PretrainedError`: the weights cannot be had.
    """
    texts = listed(texts)
    files = pretrained.MODELS[model].files if model in pretrained.MODELS else {}
    key = store.content_key(
        texts,
        {
            "files": {path: pinned.sha256 for path, pinned in files.items()},
            "pooling": "mean, L2-normalised",
            "activation": "exact GELU",
            "precision": "float32",
        },
    )
    encodings = store.fetch(key) if files else None
    if encodings is None:
        encodings = TextEncoder.from_pretrained(model).encode(texts)
        store.keep(key, encodings)
    return encodings


def listed(texts: Iterable[str]) -> list[str]:
    """Return texts as a list; raise a TypeError that names what is not a text."""
    if isinstance(texts, str):
        raise TypeError("texts is one string; put it into a list: [text]")
    texts = list(texts)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"text {row} is {text!r} ({type(text).__name__}), not a string; "
                'replace a missing text by "" or leave its item out'
            )
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise TypeError(f"text {row} holds half of a surrogate pair, which is no character: {text!r}")
    return texts


def equal_lengths(tokens: Sequence[Sequence[int]], rows: int | None = None) -> Iterator[list[int]]:
    """Yield rows of texts with equally many tokens, longest first, at most `rows` or `TOKENS_PER_BATCH` at once."""
    order = sorted(range(len(tokens)), key=lambda row: -len(tokens[row]))
    for width, group in itertools.groupby(order, key=lambda row: len(tokens[row])):
        same, size = list(group), max(1, TOKENS_PER_BATCH // width if rows is None else rows)
        yield from (same[start : start + size] for start in range(0, len(same), size))


def compiled(function: Any, *signature: tuple[tuple[int | None, ...], str]) -> Any:
    """Make `function`, of arrays of these shapes and types, one graph for every size where the backend can."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow

        specifications = [tensorflow.TensorSpec(shape, kind) for shape, kind in signature]
        function = tensorflow.function(function, input_signature=specifications, autograph=False)
    elif backend == "torch":
        import torch

        function = torch.no_grad()(function)
    kinds = [kind for _, kind in signature]
    return lambda *arrays: function(*map(keras.ops.convert_to_tensor, arrays, kinds))
