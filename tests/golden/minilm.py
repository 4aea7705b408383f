"""Makes minilm.npz: what sentence-transformers computes from the pinned weights, for texts of every kind.

It was run once, in an environment of its own, and its result is committed:

    python -m venv golden && golden/bin/pip install torch==2.13.0 sentence-transformers==5.1.2
    golden/bin/python tests/golden/minilm.py FOLDER

with FOLDER as printed by `python -m recfuse_lib.pretrained minilm`.
"""

import json
import sys
from pathlib import Path

import numpy as np

TEXTS = [
    "The Hangover (2009). Comedy, Crime.",
    "Heat (1995). Action, Crime, Thriller.",
    "Toy Story (1995). Adventure, Animation, Children, Comedy, Fantasy.",
    "Amélie (Fabuleux destin d'Amélie Poulain, Le) (2001). Comedy, Romance.",
    "Léon: The Professional (a.k.a. The Professional) (Léon) (1994). Action, Crime, Drama, Thriller.",
    "Crouching Tiger, Hidden Dragon (Wo hu cang long) (2000). Action, Drama, Romance.",
    "8½ (8 1/2) (1963). Drama, Fantasy.",
    "Untitled film 108548.",
    "something funny for a rainy evening",
    "I want a slow, sad film about the sea, not a thriller!",
    "a",
    "A",
    "?",
    "",
    " ",
    "\t\n  surrounded by spaces \r\n",
    "two\nlines",
    "ALL CAPITALS, AND SHOUTING",
    "naïve café, Zürich, São Paulo, Ærøskøbing, Łódź",
    "e\u0301 is é in two characters",
    "卧虎藏龙",
    "多维度兴趣融合 and multi-dimensional interest fusion",
    "七人の侍 (Seven Samurai) (1954)",
    "올드보이 (Oldboy)",
    "Броненосец «Потёмкин» (1925)",
    "مرحبا بالعالم",
    "שלום",
    "😀",
    "a film with a 👍🏽 and a 👩‍👩‍👧 in it",
    "$9.99, 50% off: buy 2 & get 1 free @ shop.example #deal",
    "well-known state-of-the-art mother-in-law's",
    "https://example.org/a/very/long/path?with=arguments&and=more",
    "supercalifragilisticexpialidocious",
    "x" * 99,
    "x" * 101,
    "[CLS] special [SEP] tokens [MASK] typed [PAD] by a reader [UNK]",
    "zero\u200bwidth, non\u00a0breaking, control\u0007bell and a \ufffd replacement",
    "1 2 3 4 5 6 7 8 9 10 11 12 1234567890 3.14159 1e-4",
    "The same sentence again and again. " * 12,
    "word " * 253,
    "word " * 254,
    "word " * 255,
    "A long review that goes on far beyond what the encoder reads, first with praise, then with blame. " * 40,
    "多维度" * 200,
]


def main(folder: str) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    # One at a time, so that no text's value depends on its neighbours' padding.
    encodings = np.concatenate([model.encode([text], normalize_embeddings=True) for text in TEXTS])
    tokens = np.array([model.tokenize([text])["input_ids"].shape[1] for text in TEXTS])
    np.savez_compressed(
        Path(__file__).with_suffix(".npz"),
        # As JSON, because NumPy's own strings drop what is at their end.
        texts=np.array(json.dumps(TEXTS)),
        tokens=tokens,
        encodings=encodings.astype(np.float32),
    )


if __name__ == "__main__":
    main(sys.argv[1])
