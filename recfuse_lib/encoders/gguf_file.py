"""A language model from a GGUF file: weights unpacked into KerasHub's Llama, and the tokenizer stored beside them.

GGUF, the format of llama.cpp, holds settings, vocabulary and weights, most of them quantised (32 weights share a
scale). The package `gguf` unpacks them to float32. The one file in use is SmolLM2 (Allal et al., 2025).
Taught in notebook 03.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ARCHITECTURE = "llama"


def load(path: Path | str) -> tuple[Any, BytePairTokenizer, str]:
    """Read a GGUF file: a `keras_hub.models.LlamaBackbone` in float32, its tokenizer, and its chat template."""
    import gguf

    # To list tokens and merges takes seconds, so all comes from one reader.
    reader = gguf.GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    if architecture != ARCHITECTURE:
        raise ValueError(f"{path}: the architecture is {architecture}; only {ARCHITECTURE} is read")
    return _backbone(reader), *_tokenizer(reader)


def _backbone(reader: Any) -> Any:
    import gguf
    import keras_hub

    setting = {name: field.contents() for name, field in reader.fields.items() if name.startswith(ARCHITECTURE)}
    weights = {tensor.name: tensor for tensor in reader.tensors}
    heads, key_heads = setting["llama.attention.head_count"], setting["llama.attention.head_count_kv"]
    width = setting["llama.embedding_length"]
    model = keras_hub.models.LlamaBackbone(
        vocabulary_size=int(weights["token_embd.weight"].shape[-1]),
        num_layers=setting["llama.block_count"],
        num_query_heads=heads,
        num_key_value_heads=key_heads,
        hidden_dim=width,
        intermediate_dim=setting["llama.feed_forward_length"],
        rope_max_wavelength=setting["llama.rope.freq_base"],
        layer_norm_epsilon=setting["llama.attention.layer_norm_rms_epsilon"],
        tie_word_embeddings="output.weight" not in weights,
        dtype="float32",
    )

    def take(name: str) -> np.ndarray:
        tensor = weights.pop(f"{name}.weight")
        return np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), "float32")

    model.token_embedding.embeddings.assign(take("token_embd"))
    if "output.weight" in weights:
        model.token_embedding.reverse_embeddings.assign(take("output").T)
    for number, layer in enumerate(model.transformer_layers):
        attention, block = layer._self_attention_layer, f"blk.{number}"
        attention._query_dense.kernel.assign(_by_head(_half_split(take(f"{block}.attn_q"), heads), heads))
        attention._key_dense.kernel.assign(_by_head(_half_split(take(f"{block}.attn_k"), key_heads), key_heads))
        attention._value_dense.kernel.assign(_by_head(take(f"{block}.attn_v"), key_heads))
        attention._output_dense.kernel.assign(take(f"{block}.attn_output").T.reshape(heads, width // heads, width))
        layer._feedforward_gate_dense.kernel.assign(take(f"{block}.ffn_gate").T)
        layer._feedforward_intermediate_dense.kernel.assign(take(f"{block}.ffn_up").T)
        layer._feedforward_output_dense.kernel.assign(take(f"{block}.ffn_down").T)
        layer._self_attention_layernorm.scale.assign(take(f"{block}.attn_norm"))
        layer._feedforward_layernorm.scale.assign(take(f"{block}.ffn_norm"))
    model.layer_norm.scale.assign(take("output_norm"))
    assert not weights, f"the model has no place for {', '.join(sorted(weights))}"
    return model


class BytePairTokenizer:
    """A `tokenizers.Tokenizer` for `LocalLanguageModel`; `end` is the token that ends an answer."""

    def __init__(self, tokenizer: Any, end: int) -> None:
        self.end, self._tokenizer = end, tokenizer

    def encode(self, text: str, special: bool) -> list[int]:
        """Return token ids; marks such as `<|im_end|>` become the special tokens only where `special` says so."""
        self._tokenizer.encode_special_tokens = not special
        return list(self._tokenizer.encode(text).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens left out."""
        return str(self._tokenizer.decode(ids))


def _tokenizer(reader: Any) -> tuple[BytePairTokenizer, str]:
    """Byte-level BPE with every digit a token of its own, and the chat template."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    field = {
        name.removeprefix("tokenizer."): field.contents()
        for name, field in reader.fields.items()
        if name.startswith("tokenizer.")
    }
    if (kind := (field["ggml.model"], field["ggml.pre"])) != ("gpt2", "smollm"):
        raise ValueError(f"the tokenizer is {kind}; only byte-level BPE with single digits is read")
    tokens = field["ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in field["ggml.merges"]]
    found = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    found.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    found.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, field["ggml.token_type"], strict=True) if kind == 3]
    found.add_special_tokens([AddedToken(token, special=True) for token in special])
    return BytePairTokenizer(found, int(field["ggml.eos_token_id"])), str(field["chat_template"])


def _half_split(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows in KerasHub's order of rotation: llama.cpp pairs neighbours, KerasHub the two halves of a head."""
    rows, width = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, width).swapaxes(1, 2).reshape(rows, width)


def _by_head(weight: np.ndarray, heads: int) -> np.ndarray:
    """(heads · d, D) → (D, heads, d)."""
    return weight.T.reshape(weight.shape[1], heads, len(weight) // heads)
