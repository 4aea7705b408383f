"""Words as vectors in a process without Keras: the bundle's tokenizer and its text encoder.

Taught in notebook 18.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.graph_session import GraphSession


class Words:
    """Encodes texts as `recfuse_lib.encoders.text.TextEncoder` does, which a test holds it to.

    Args:
        bundle: A bundle that has a text encoder.

    Raises:
        recfuse_lib.serving.bundle.BundleError: It has none.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        from tokenizers import Tokenizer

        self._graph = GraphSession(bundle, "text_encoder", threads)
        self._tokenizer = Tokenizer.from_file(str(bundle.folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._longest = int(bundle.schema["max_tokens"])

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (N, width), rows of length 1. A longer text than the encoder reads loses its end."""
        return np.concatenate([self._one(text) for text in texts])

    def _one(self, text: str) -> np.ndarray:
        ids = self._tokenizer.encode(text).ids
        if len(ids) > self._longest:
            ids = [*ids[: self._longest - 1], ids[-1]]
        tokens = np.array([ids], "int32")
        return np.asarray(self._graph(token_ids=tokens, attention=np.ones(tokens.shape, "float32"))["encoding"])
