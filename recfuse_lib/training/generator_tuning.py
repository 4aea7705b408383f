"""A generator that learns from examples: LoRA on a local language model, for the answers that it should give.

One thing that it can be taught is to judge candidates: shown what a person liked and disliked, does it say Yes or No?

Taught in notebook 09.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
from keras import ops

from recfuse_lib.data.splits import POSITIVE, in_order
from recfuse_lib.encoders.language_model import LanguageModel
from recfuse_lib.encoders.local_language_model import LocalLanguageModel
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.pretrained import store
from recfuse_lib.training import snapshots

DISLIKED = 2.5
"""So many stars or fewer are shown to the model as disliked; `POSITIVE` or more as liked."""
LIKED_TITLES, DISLIKED_TITLES = 6, 3
"""How many titles a question shows, whatever the length of the history."""


class GeneratorTuning(keras.Model):
    """LoRA on the query and value projections of a copy of a local language model; all else is frozen.

        L = −(1 / Σ_n T_n) Σ_n Σ_t log P(w_{n,t} | chat(x_n), w_{n,1} … w_{n,t−1})

    with x_n a message and w_n the T_n tokens of the answer to it (Equation 9.3). Prompts and padding are not counted,
    and logits are computed only where a token of an answer is predicted. An answer is taught without a mark of its end:
    one that `generate` is to end at a `stop` is taught with that text at its end.

    Args:
        original: The model to start from; it is left as it is, because others may hold it under its name. Its logits
            are the products of the last states and the token embeddings, as in Llama and GPT-2.
        rank: R of the two thin matrices beside each projection.

    Raises:
        ValueError: The rank is below 1, the model has LoRA already, or none of its projections is named as KerasHub's.

    Example:
        >>> tuning = GeneratorTuning(language_model.load("smollm2"), rank=8)  # doctest: +SKIP
        >>> tuning.compile(optimizer("adamw", 1e-3))  # doctest: +SKIP
        >>> tuning.fit(tuning.examples(["Is water wet?"], ["Yes"]), verbose=0)  # doctest: +SKIP
        >>> tuning.tuned().log_likelihood(["Is water wet?"], ["Yes", "No"])  # doctest: +SKIP

    References:
        Hu et al. (2021), LoRA: Low-Rank Adaptation of Large Language Models.
    """

    def __init__(self, original: LocalLanguageModel, rank: int = 8) -> None:
        if rank < 1:
            raise ValueError(f"rank {rank}; LoRA needs at least 1")
        super().__init__()
        source = original.model.backbone
        if any(getattr(layer, "lora_enabled", False) for layer in source._flatten_layers()):
            raise ValueError(f"{original.name} has LoRA already; start from the model without it")
        # KerasHub's Llama leaves this one out of its configuration.
        tied = {"tie_word_embeddings": source.tie_word_embeddings} if hasattr(source, "tie_word_embeddings") else {}
        backbone = type(source).from_config({**source.get_config(), **tied})
        for new, old in zip(backbone.weights, source.weights, strict=True):
            new.assign(old)
        backbone.enable_lora(rank)
        if not backbone.trainable_weights:
            raise ValueError(f"{original.name} has no layer named {' or '.join(backbone.default_lora_layer_names())}")
        self.original, self.rank, self.backbone = original, rank, backbone
        self.built = True

    def examples(self, messages: Sequence[str], answers: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """What `fit` learns from: each message in the chat template, as `log_likelihood` reads it, and its answer.

        Args:
            messages: Of a user, (N,).
            answers: What the model should answer, (N,).

        Returns:
            `token_ids` and `padding_mask` (N, length); and, (N, longest answer), the `answer` tokens, the `place` of
            the state that predicts each, and its `weight`, 0 for padding.

        Raises:
            ValueError: There are not as many of each, there are none, or an answer is empty.
        """
        if not len(messages) or len(messages) != len(answers):
            raise ValueError(
                f"{len(messages)} messages, {len(answers)} answers; as many of each are needed, at least one"
            )
        before = [self.original._read(self.original.prompt_text(message)) for message in messages]
        after = [self.original.tokenizer.encode(answer, False) for answer in answers]
        if not all(after):
            empty = [not tokens for tokens in after].index(True)
            raise ValueError(f"answer {empty} is empty; leave the example out, nothing is learnt from it")
        # The last token of an answer is predicted, never read.
        read = [prompt + answer[:-1] for prompt, answer in zip(before, after, strict=True)]
        token_ids, padding_mask = _padded(read)
        answer, weight = _padded(after)
        start = np.array([len(prompt) - 1 for prompt in before], "int32")[:, None]
        place = (start + np.arange(answer.shape[1], dtype="int32")) * weight
        return {
            "token_ids": token_ids, "padding_mask": padding_mask,
            "answer": answer, "place": place, "weight": weight.astype("float32"),
        }  # fmt: skip

    def call(self, inputs: dict[str, Any]) -> Any:
        """log P of each token of the answers, (N, longest answer); what stands at padding means nothing."""
        states = self.backbone({name: inputs[name] for name in ("token_ids", "padding_mask")})
        states = ops.take_along_axis(states, ops.expand_dims(inputs["place"], -1), axis=1)
        logits = ops.cast(self.backbone.token_embedding(states, reverse=True), "float32")
        chosen = ops.take_along_axis(logits, ops.expand_dims(inputs["answer"], -1), axis=-1)
        return ops.squeeze(chosen, -1) - ops.logsumexp(logits, axis=-1)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """L over a batch: Equation 9.3."""
        return -ops.sum(ops.multiply(y_pred, x["weight"])) / ops.sum(x["weight"])

    def tuned(self) -> LocalLanguageModel:
        """The language model as it is now; ask anew after more training, because its name says which weights it has."""
        digest = store.sha256(*(np.asarray(ops.convert_to_numpy(weight)) for weight in self.trainable_weights))
        name = f"{self.original.name} + LoRA {digest}"
        model = type(self.original.model)(self.backbone, self.original.model.preprocessor)
        return LocalLanguageModel(model, self.original.tokenizer, self.original.template, name)

    def save_lora(self, path: Path | str) -> int:
        """Keeps LoRA's weights alone in one file, and says how many bytes it has.

        KerasHub's own `load_lora_weights` takes a file for a deeper model and one with damaged numbers; so the file is
        a snapshot, which knows its model and what was written.
        """
        arrays = {weight.path: np.asarray(ops.convert_to_numpy(weight)) for weight in self.trainable_weights}
        return snapshots.write(path, arrays, {"model": self.original.name, "rank": self.rank})

    def load_lora(self, path: Path | str) -> None:
        """Puts the weights of a file in place; if it does not fit, nothing is changed.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It belongs to another language model, or to another rank.
            recfuse_lib.training.snapshots.SnapshotError: It is damaged.
        """
        arrays, record = snapshots.read(path)
        if (model := record.get("model")) != self.original.name:
            raise ValueError(f"{Path(path).name} is LoRA for {model!r}; this model is {self.original.name!r}")
        if (rank := record.get("rank")) != self.rank:
            raise ValueError(f"{Path(path).name} has rank {rank}, this model {self.rank}; make it with rank={rank}")
        own = {weight.path: weight for weight in self.trainable_weights}
        if {name: tuple(weight.shape) for name, weight in own.items()} != {k: v.shape for k, v in arrays.items()}:
            raise ValueError(f"{Path(path).name} has LoRA for other layers than {self.original.name!r} has")
        for name, weight in own.items():
            weight.assign(arrays[name])


def judge_prompt(liked: Sequence[str], disliked: Sequence[str], candidate: str) -> str:
    """The question whether a person will like a candidate.

    Args:
        liked: Titles, newest first; the first `LIKED_TITLES` are shown.
        disliked: Titles, newest first; the first `DISLIKED_TITLES` are shown.
        candidate: A title.

    Example:
        >>> print(judge_prompt(["Alien", "Brazil"], [], "Blade Runner"))
        A person liked: Alien; Brazil.
        The person disliked: nothing yet.
        Will the person like "Blade Runner"? Answer Yes or No.
    """
    shown = ["; ".join(titles) or "nothing yet" for titles in (liked[:LIKED_TITLES], disliked[:DISLIKED_TITLES])]
    return (
        f"A person liked: {shown[0]}.\nThe person disliked: {shown[1]}.\n"
        f'Will the person like "{candidate}"? Answer Yes or No.'
    )


def judge_prompts(history: pd.DataFrame, asked: pd.DataFrame, titles: Sequence[str]) -> list[str]:
    """A `judge_prompt` for each row of `asked`, from the person's other ratings.

    Args:
        history: Columns `user`, `item`, `rating`, `timestamp`.
        asked: Columns `user` and `item`; what `history` holds of the item itself is not shown.
        titles: Of each item, (I,).

    Example:
        >>> history = pd.DataFrame({"user": 0, "item": [0, 1, 2], "rating": [5.0, 4, 1], "timestamp": [1, 2, 3]})
        >>> print(*judge_prompts(history, history[:1], ["Alien", "Brazil", "Cats"]))
        A person liked: Brazil.
        The person disliked: Cats.
        Will the person like "Alien"? Answer Yes or No.
    """
    newest_first = in_order(history[history["user"].isin(asked["user"])])[::-1]
    own = dict(iter(newest_first.groupby("user")))
    prompts = []
    for user, item in zip(asked["user"], asked["item"], strict=True):
        others = own.get(user, newest_first[:0]).query("item != @item")
        groups = (others[others["rating"] >= POSITIVE], others[others["rating"] <= DISLIKED])
        liked, disliked = ([titles[other] for other in group["item"]] for group in groups)
        prompts.append(judge_prompt(liked, disliked, titles[item]))
    return prompts


def judgement(model: LanguageModel, prompts: Sequence[str]) -> npt.NDArray[np.float64]:
    """log P(Yes) − log P(No) for each prompt, (N,): the higher, the more the model expects a like."""
    told = model.log_likelihood(prompts, ["Yes", "No"])
    return np.asarray(told[:, 0] - told[:, 1])


def auc_shares(scores: npt.ArrayLike, liked: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """What each rating adds to the AUC, so that the bootstraps of `recfuse_lib.evaluation.significance` serve for it.

        AUC = P(s_liked > s_other) + ½ P(s_liked = s_other),   share_n = AUC + (N / N_g) (won_n − AUC)

    won_n is the share of the ratings of the other group that n stands on the right side of, N_g the size of n's own
    group. The mean of the shares is the AUC; how they vary tells how sure it is, to first order.

    Args:
        scores: s, (N,).
        liked: Who liked, bool (N,).

    Raises:
        ValueError: All liked, or none did.

    Example:
        >>> float(auc_shares([3, 1, 2, 0], [True, True, False, False]).mean())
        0.75

    References:
        DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44, 837–845.
    """
    scores, liked = np.asarray(scores, "float64"), np.asarray(liked, bool)
    if liked.all() or not liked.any():
        raise ValueError(f"{liked.sum()} of {len(liked)} are liked; an AUC needs some that are and some that are not")
    ahead = scores[liked][:, None] - scores[~liked]
    won = (ahead > 0) + 0.5 * (ahead == 0)
    auc, shares = won.mean(), np.empty(len(liked))
    shares[liked] = auc + len(liked) / liked.sum() * (won.mean(axis=1) - auc)
    shares[~liked] = auc + len(liked) / (~liked).sum() * (won.mean(axis=0) - auc)
    return shares


def auc_table(
    scores: Mapping[str, npt.ArrayLike], liked: npt.ArrayLike, people: npt.ArrayLike, against: Sequence[str]
) -> pd.DataFrame:
    """Several judges of the same ratings: their AUC, and how far each is above some of them, with 95 % intervals.

    Args:
        scores: Of each judge, (N,).
        liked: Who liked, bool (N,).
        people: Whose the ratings are, (N,); people are resampled.
        against: Judges that all others are compared with, rating by rating.

    Returns:
        A row a judge; columns "judge", "AUC", and "− X" for each X of `against`, each with " low" and " high".

    Raises:
        ValueError: All liked, or none did.

    Example:
        >>> table = auc_table({"a": [3, 1, 2, 0], "b": [3, 2, 1, 0]}, [True, True, False, False], np.arange(4), ["b"])
        >>> print(table[["judge", "AUC", "− b"]].round(2).to_string(index=False, na_rep=""))
        judge  AUC   − b
            a 0.75 -0.25
            b 1.00
    """
    shares, groups = {name: auc_shares(one, liked) for name, one in scores.items()}, np.asarray(people)
    rows = []
    for name, own in shares.items():
        found = {"AUC": bootstrap(own, groups)}
        found |= {f"− {other}": paired_bootstrap(own, shares[other], groups) for other in against if other != name}
        ends = (("", "mean"), (" low", "low"), (" high", "high"))
        cells = {f"{column}{end}": getattr(one, part) for column, one in found.items() for end, part in ends}
        rows.append({"judge": name, **cells})
    return pd.DataFrame(rows)


def _padded(rows: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Token ids side by side, zeros behind, (N, longest), and which of them are real."""
    longest = max(map(len, rows))
    padded = np.array([[*row, *[0] * (longest - len(row))] for row in rows], "int32")
    real = np.arange(longest) < np.array([len(row) for row in rows])[:, None]
    return padded, real.astype("int32")
