"""Golden logits of SmolLM2 from an independent implementation: transformers on PyTorch, reading the same GGUF file.

Run once, in an environment with torch, transformers, accelerate and gguf:
`python tests/golden/smollm2.py FOLDER_WITH_THE_GGUF` writes `tests/golden/smollm2.npz`.
"""

import sys
from pathlib import Path

import numpy as np

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
TEXTS = (
    "The capital of France is Paris.",
    "Somebody liked Alien (1979), Heat (1995) and Fargo (1996).\n\nThey'd say: it's  tense, isn't it?",
    "Ein Film über das Leben: 七人の侍 (1954), naïve café, 12345.67 €",
)
MESSAGE = "What is the capital of France?"


def main(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=FILE)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32).eval()
    golden = {"texts": np.array(TEXTS)}
    with torch.inference_mode():
        for number, text in enumerate(TEXTS):
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
            logits = model(ids).logits[0]
            golden[f"ids_{number}"] = ids[0].numpy().astype("int32")
            # Every 97th token of the vocabulary, and the likeliest one, of each place.
            golden[f"logits_{number}"] = logits[:, ::97].numpy()
            golden[f"likeliest_{number}"] = logits.argmax(-1).numpy().astype("int32")
        chat = tokenizer.apply_chat_template(
            [{"role": "user", "content": MESSAGE}], add_generation_prompt=True, tokenize=False
        )
        ids = tokenizer(chat, add_special_tokens=False, return_tensors="pt")["input_ids"]
        written = model.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :]
    golden["chat"], golden["message"] = np.array(chat), np.array(MESSAGE)
    golden["chat_ids"] = ids[0].numpy().astype("int32")
    golden["answer"] = np.array(tokenizer.decode(written, skip_special_tokens=True))
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **golden)
    print({name: value.shape for name, value in golden.items()}, golden["answer"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
