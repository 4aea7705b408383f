"""A generator that learns from examples: LoRA on a local language model, for the answers that it should give.

What it is taught here is to judge candidates: shown what a person liked and disliked, does it say Yes or No? Its loss
is equation 9.3, in notebook 09.
"""

import numpy as np
import pandas as pd
from keras import ops

from course.lessons import definitions
from recfuse_lib.data.splits import POSITIVE, in_order
from recfuse_lib.encoders.local_language_model import LocalLanguageModel
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.pretrained import store

DISLIKED = 2.5
"""So many stars or fewer are shown to the model as disliked; `POSITIVE` or more as liked."""
LIKED_TITLES, DISLIKED_TITLES = 6, 3
"""How many titles a question shows, whatever the length of the history."""


class GeneratorTuning(definitions("09_fine_tune_on_gpu").AnswerTuning):
    """LoRA on a copy of a local language model, which others may hold under its name.

    Args:
        original: The model to start from. Its logits are the products of the last states and the token embeddings.
        rank: R of the two thin matrices beside each projection.
    """

    def __init__(self, original, rank=8):
        source = original.model.backbone
        # KerasHub's Llama leaves this one out of its configuration.
        tied = {"tie_word_embeddings": source.tie_word_embeddings} if hasattr(source, "tie_word_embeddings") else {}
        backbone = type(source).from_config({**source.get_config(), **tied})
        for new, old in zip(backbone.weights, source.weights, strict=True):
            new.assign(old)
        super().__init__(backbone, rank)
        self.original = original

    def examples(self, messages, answers):
        """What `fit` learns from: each message in the chat template, as `log_likelihood` reads it, and its answer.

        Returns:
            `token_ids` and `padding_mask` (N, length); and, (N, longest answer), the `answer` tokens, the `position` of
            the state that predicts each, and its `weight`, 0 for padding.
        """
        before = [self.original._read(self.original.prompt_text(message)) for message in messages]
        after = [self.original.tokenizer.encode(answer, False) for answer in answers]
        # The last token of an answer is predicted, never read.
        token_ids, padding_mask = padded([prompt + answer[:-1] for prompt, answer in zip(before, after, strict=True)])
        answer, weight = padded(after)
        start = np.array([len(prompt) - 1 for prompt in before], "int32")[:, None]
        position = (start + np.arange(answer.shape[1], dtype="int32")) * weight
        read = {"token_ids": token_ids, "padding_mask": padding_mask}
        return {**read, "answer": answer, "position": position, "weight": weight.astype("float32")}

    def tuned(self):
        """The language model as it is now; ask again after more training: its name says which weights it has."""
        digest = store.sha256(*(np.asarray(ops.convert_to_numpy(weight)) for weight in self.trainable_weights))
        name = f"{self.original.name} + LoRA {digest}"
        model = type(self.original.model)(self.backbone, self.original.model.preprocessor)
        return LocalLanguageModel(model, self.original.tokenizer, self.original.template, name)


def padded(rows):
    """Token ids side by side, zeros behind, (N, longest), and which of them are real."""
    longest = max(map(len, rows))
    ids = np.array([[*row, *[0] * (longest - len(row))] for row in rows], "int32")
    real = np.arange(longest) < np.array([len(row) for row in rows])[:, None]
    return ids, real.astype("int32")


def judge_prompt(liked, disliked, candidate):
    """The question whether a person will like a candidate, from the titles that they liked and disliked, newest first.

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


def judge_prompts(history, asked, titles):
    """A `judge_prompt` for each row of `asked` (`user`, `item`), from the person's other ratings."""
    newest_first = in_order(history[history["user"].isin(asked["user"])])[::-1]
    own = dict(iter(newest_first.groupby("user")))
    prompts = []
    for user, item in zip(asked["user"], asked["item"], strict=True):
        others = own.get(user, newest_first[:0]).query("item != @item")
        groups = (others[others["rating"] >= POSITIVE], others[others["rating"] <= DISLIKED])
        liked, disliked = ([titles[other] for other in group["item"]] for group in groups)
        prompts.append(judge_prompt(liked, disliked, titles[item]))
    return prompts


def judgement(model, prompts):
    """log P(Yes) − log P(No) for each prompt, (N,): the higher, the more the model expects a like."""
    told = model.log_likelihood(prompts, ["Yes", "No"])
    return np.asarray(told[:, 0] - told[:, 1])


def auc_shares(scores, liked):
    """What each rating adds to the AUC, so that the bootstraps of `recfuse_lib.evaluation.significance` serve for it.

        AUC = P(s_liked > s_other) + ½ P(s_liked = s_other),   share_n = AUC + (N / N_g) (won_n − AUC)

    won_n is the share of the ratings of the other group that n stands on the right side of, N_g the size of n's own
    group. The mean of the shares is the AUC; how they vary tells how sure it is, to first order (DeLong, DeLong and
    Clarke-Pearson, 1988, Biometrics 44, 837–845).
    """
    scores, liked = np.asarray(scores, "float64"), np.asarray(liked, bool)
    ahead = scores[liked][:, None] - scores[~liked]
    won = (ahead > 0) + 0.5 * (ahead == 0)
    auc, shares = won.mean(), np.empty(len(liked))
    shares[liked] = auc + len(liked) / liked.sum() * (won.mean(axis=1) - auc)
    shares[~liked] = auc + len(liked) / (~liked).sum() * (won.mean(axis=0) - auc)
    return shares


def auc_table(scores, liked, people, baselines):
    """The AUC of several judges of the same ratings, and how far each is above some of them, with 95 % intervals.

    Args:
        scores: Judge → (N,).
        liked: Who liked, bool (N,).
        people: Whose the ratings are, (N,); people are resampled.
        baselines: Judges that all others are compared with, rating by rating.

    Returns:
        A row a judge; columns "judge", "AUC", and "− X" for each baseline X, each with " low" and " high".
    """
    shares, groups = {name: auc_shares(one, liked) for name, one in scores.items()}, np.asarray(people)
    rows = []
    for name, own in shares.items():
        intervals = {"AUC": bootstrap(own, groups)}
        intervals |= {
            f"− {other}": paired_bootstrap(own, shares[other], groups) for other in baselines if other != name
        }
        ends = (("", "mean"), (" low", "low"), (" high", "high"))
        cells = {f"{column}{end}": getattr(one, part) for column, one in intervals.items() for end, part in ends}
        rows.append({"judge": name, **cells})
    return pd.DataFrame(rows)
