"""Language models that write and judge, behind one small interface, loaded by name. Taught in notebook 03."""

import functools
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from recfuse_lib import pretrained
from recfuse_lib.data.committed import read_verified
from recfuse_lib.pretrained import store

COMMITTED = Path(__file__).resolve().parents[2] / "data" / "generated"
ANSWERS_AT_ONCE = 64
SECONDS_BETWEEN_REPORTS = 5.0


class LanguageModel(Protocol):
    """What every language model of the course can do. Texts go in and out; a model applies its own chat template."""

    name: str
    """Which model with which weights; part of every cache key."""

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
        """Answer each message of a user, (P,), in at most `max_tokens` tokens, ending before `stop`.

        At `temperature` τ = 0 each step takes the likeliest token; otherwise it draws from softmax(logits / τ), by
        `seed`. `answer` holds words put into the model's mouth, none or one text a prompt; they are not returned.
        """

    def log_likelihood(self, prompts: Sequence[str], continuations: Sequence[str]) -> npt.NDArray[np.float64]:
        """Compute ln P(continuation | prompt) of beginnings of an answer, (C,), to each message, (P,): (P, C)."""


def generate_texts(
    prompts: Sequence[str],
    model: LanguageModel,
    *,
    max_tokens: int = 64,
    stop: str | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    answer: str | Sequence[str] = "",
) -> list[str]:
    """Ask `model.generate`, each answer kept on disk under what it was made from.

    Some greedy answers come with the course, in `data/generated`, because hundreds of them take minutes. They are found
    by the same key, so that a changed prompt, weight or setting is answered again.
    """
    settings = {"model": model.name, "max_tokens": max_tokens, "stop": stop, "temperature": temperature}
    begun = [answer] * len(prompts) if isinstance(answer, str) else list(answer)

    def key(row: int) -> str:
        # A greedy answer depends on its prompt alone; what is drawn depends on the seed and the company.
        company = {"seed": seed, "row": row, "prompts": [*prompts, "", *begun]} if temperature else {}
        return store.content_key([prompts[row]], {**settings, **company, "answer": begun[row]})

    keys = [key(row) for row in range(len(prompts))]
    committed = _committed()
    answers: list[Any] = [committed[one] if one in committed else store.fetch(one, "texts") for one in keys]
    missing = [row for row, found in enumerate(answers) if found is None]
    if temperature and missing:
        missing = list(range(len(prompts)))
    started = time.monotonic()
    at_once = len(missing) if temperature else ANSWERS_AT_ONCE
    for start in range(0, len(missing), max(1, at_once)):
        rows = missing[start : start + at_once]
        written = model.generate(
            [prompts[row] for row in rows],
            max_tokens=max_tokens, stop=stop, temperature=temperature, seed=seed, answer=[begun[row] for row in rows],
        )  # fmt: skip
        for row, text in zip(rows, written, strict=True):
            answers[row] = text
            store.keep(keys[row], text, "texts")
        passed = time.monotonic() - started
        if passed > SECONDS_BETWEEN_REPORTS and start + at_once < len(missing):
            print(f"{start + len(rows):,} of {len(missing):,} answers in {passed:.0f} s", flush=True)
    return ["" if found is None else str(found) for found in answers]


@functools.cache
def committed_likelihoods() -> dict[str, npt.NDArray[np.float32]]:
    """Return key → log-likelihoods that come with the course, float32, as lesson 03 keeps them."""
    if not (COMMITTED / "likelihoods.npz").exists():
        return {}
    content = read_verified(COMMITTED, "generated", "likelihoods.npz", "likelihoods")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


@functools.cache
def _committed() -> dict[str, str]:
    if not (COMMITTED / "answers.jsonl").exists():
        return {}
    lines = read_verified(COMMITTED, "generated", "answers.jsonl", "answers").decode("utf-8").splitlines()
    return {entry["key"]: entry["answer"] for entry in map(json.loads, lines)}


@functools.cache
def load(name: str = "smollm2") -> LanguageModel:
    """Load the language model behind a name, once.

    `name` is `"smollm2"`; a causal language model of KerasHub (`"gpt2_base_en"`, a folder, `"hf://…"`), which continues
    text without a chat template; or a server that speaks the OpenAI protocol, as `"http://127.0.0.1:8080/v1#model"`,
    with the key in `$OPENAI_API_KEY` if it wants one. Raises `PretrainedError`: the weights cannot be had.
    """
    if name.startswith(("http://", "https://")):
        from recfuse_lib.encoders.openai_compatible import OpenAICompatible

        address, _, model = name.partition("#")
        if not model:
            raise ValueError(f"{name!r} names no model; write the address, #, and the model: {name}#model")
        return OpenAICompatible(address, model)
    import keras_hub

    from recfuse_lib.encoders.local_language_model import LocalLanguageModel, PresetTokenizer

    if name not in pretrained.MODELS:
        preset = keras_hub.models.CausalLM.from_preset(name)
        return LocalLanguageModel(preset, PresetTokenizer(preset.preprocessor.tokenizer), None, name)
    from recfuse_lib.encoders import gguf_file

    (file,) = pretrained.load(name).glob("*.gguf")
    backbone, tokenizer, template = gguf_file.load(file)
    model = keras_hub.models.LlamaCausalLM(backbone)
    (pinned,) = pretrained.MODELS[name].files.values()
    return LocalLanguageModel(model, tokenizer, template, f"{name} {pinned.sha256}")
