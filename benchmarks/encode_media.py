"""What the encoders of pictures, sounds and clips cost, what they keep, and whether pictures find their descriptions.

    python benchmarks/encode_media.py            # a few minutes on two cores

Each encoder learns in a process of its own from nine tenths of the default market's files, without any label, and
encodes all of them. A linear probe (ridge, five folds) then predicts the hidden properties that the files show. Those
of a picture are relative to its category, so the probe sees encodings that are standardised within the category; a
second probe gets the encodings as they are, with the category beside them, as a recommender has them. For comparison:
the network before it learned, a principal component analysis of the same width, and the same network trained as a
denoising autoencoder, alone and together with contrast.
"""

import argparse
import os
import resource
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

FOLDS = 5
RIDGE = 10.0
MODALITIES = ("image", "sound", "clip")


def r_squared(inputs, targets):
    """R² of a ridge regression on the standardised inputs, each row predicted by a model that has not seen it."""
    inputs, targets = np.asarray(inputs, "float64"), np.asarray(targets, "float64")
    fold = np.random.default_rng(0).permutation(len(inputs)) % FOLDS
    predicted = np.empty_like(targets)
    for held_out in range(FOLDS):
        known = fold != held_out
        mean, width = inputs[known].mean(axis=0), inputs[known].std(axis=0) + 1e-9
        left = (inputs[known] - mean) / width
        weights = np.linalg.solve(
            left.T @ left + RIDGE * np.eye(left.shape[1]), left.T @ (targets[known] - targets[known].mean(axis=0))
        )
        predicted[~known] = (inputs[~known] - mean) / width @ weights + targets[known].mean(axis=0)
    return 1 - ((targets - predicted) ** 2).mean(axis=0) / targets.var(axis=0)


def within(category, encodings):
    """Encodings standardised among the products of the same category."""
    encodings = np.array(encodings, "float64")
    for kind in np.unique(category):
        rows = category == kind
        encodings[rows] = (encodings[rows] - encodings[rows].mean(axis=0)) / (encodings[rows].std(axis=0) + 1e-9)
    return encodings


def principal_components(inputs, width=64):
    flat = inputs.reshape(len(inputs), -1)
    flat = flat - flat.mean(axis=0)
    values, vectors = np.linalg.eigh((flat @ flat.T).astype("float64"))
    return vectors[:, -width:] * np.sqrt(values[-width:])


def autoencoded(lesson, pictures, seen, contrast, epochs=15):
    """The lesson's network, trained to restore a noisy picture from its encoding, with some contrast or none."""
    import keras
    from keras import layers, ops

    weights, width = lesson.seeded(5), 64
    restore = keras.Sequential(
        [
            keras.Input((width,)),
            layers.Dense(7 * 7 * 32, activation="gelu", kernel_initializer=next(weights)),
            layers.Reshape((7, 7, 32)),
            layers.Conv2DTranspose(
                32, 3, strides=2, padding="same", activation="gelu", kernel_initializer=next(weights)
            ),
            layers.Conv2DTranspose(1, 3, strides=2, padding="same", kernel_initializer=next(weights)),
        ]
    )

    class Autoencoder(keras.Model):
        def __init__(self):
            super().__init__()
            self.network, self.restore = lesson.picture_network(dimensions=width), restore
            self.projection = layers.Dense(width, kernel_initializer=next(weights))
            self.random = keras.random.SeedGenerator(0)
            self.projection.build((None, width))

        def build(self, input_shape):
            self.built = True

        def call(self, inputs):
            return self.network(inputs)

        def compute_loss(self, x=None, *_, **__):
            first, second = (self.network(lesson.jittered(x, self.random)) for _ in range(2))
            noisy = x + 0.1 * keras.random.normal(ops.shape(x), seed=self.random)
            loss = 10 * ops.mean(ops.square(self.restore(self.network(noisy)) - x))
            left, right = (lesson.to_unit(self.projection(side)) for side in (first, second))
            return loss + contrast * lesson.info_nce(left, right, 10.0) if contrast else loss

    keras.utils.set_random_seed(0)
    model = Autoencoder()
    model.compile(keras.optimizers.Adam(2e-3), jit_compile=False)
    model.fit(pictures[seen], epochs=epochs, batch_size=128, verbose=0)
    return lesson.in_batches(model.network, pictures)


def measure(modality):
    """One encoder: seconds, memory, what it keeps."""
    from course.lessons import definitions
    from recfuse_lib.data.market.media import write
    from recfuse_lib.data.market.photographs import VISUAL
    from recfuse_lib.data.market.products import SLICES, make
    from recfuse_lib.data.media import read_all, read_clip, read_image, read_sound

    lesson = definitions("06_multimodal_tower")
    reader, network, view = {
        "image": (read_image, lesson.picture_network, lesson.jittered),
        "sound": (read_sound, lesson.sound_network, lesson.shifted),
        "clip": (read_clip, lesson.clip_network, lesson.jittered),
    }[modality]
    made, catalogue = make(0, 3_000)
    media = write(made, seed=0)
    begun = time.perf_counter()
    inputs, _ = read_all(media.files[modality], reader)
    read = time.perf_counter() - begun
    seen = np.random.default_rng(0).permutation(len(inputs)) >= len(inputs) // 10
    properties, names = {
        "image": (made.features[:, SLICES["visual"]], VISUAL),
        "sound": (made.mood, ("valence", "arousal")),
        "clip": (made.motion, ("speed", "sway")),
    }[modality]
    indicator = np.eye(10)[made.category]

    def report(name, encodings):
        row = encodings if modality != "image" else within(made.category, encodings)
        line = "  ".join(f"{value:.2f}" for value in r_squared(row, properties))
        if modality == "image":
            with_category = r_squared(np.hstack([encodings, indicator]), properties)
            line += "   with the category beside: " + "  ".join(f"{value:.2f}" for value in with_category)
        print(f"  {name:34}{line}", flush=True)

    begun = time.perf_counter()
    prepared = lesson.spectrograms(inputs) if modality == "sound" else inputs
    untrained = lesson.in_batches(network(), prepared)
    encodings = lesson.encode(network(), view, prepared[seen], prepared, epochs=15)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(
        f"{modality}: {len(inputs):,} files read in {read:.0f} s; learned and encoded in {seconds:.0f} s; "
        f"peak {peak:.1f} GiB\n  R² of {', '.join(names)}"
    )
    report("two views (ours)", encodings)
    report("the network before it learned", untrained)
    report("principal components", principal_components(inputs))
    if modality == "image":
        report("denoising autoencoder", autoencoded(lesson, inputs, seen, contrast=0.0))
        report("autoencoder and contrast", autoencoded(lesson, inputs, seen, contrast=0.1))
        align(inputs, catalogue, made.category)


def align(pictures, catalogue, category):
    """Does a description find its product among all of them, by the picture alone? Each product is held out once."""
    from course.lessons import definitions
    from recfuse_lib.encoders.text import encode_texts

    lesson = definitions("06_multimodal_tower")
    texts = encode_texts(catalogue["description"].tolist())
    fold = np.random.default_rng(0).permutation(len(pictures)) % FOLDS
    hits = {(kind, k): [] for kind in ("held-out products", "products learned from") for k in (1, 10)}
    seconds = 0.0
    for held_out in range(FOLDS):
        seen = fold != held_out
        encodings = lesson.encode(lesson.picture_network(), lesson.jittered, pictures[seen], pictures, epochs=15)
        begun = time.perf_counter()
        learned_from = {"image": encodings[seen], "text": texts[seen]}
        alignment = lesson.Alignment({"image": encodings.shape[1], "text": texts.shape[1]})
        for side, rows in learned_from.items():
            alignment.standardise[side].adapt(rows)
        lesson.fit_by_contrast(alignment, learned_from, epochs=40, seed=0)
        seconds += time.perf_counter() - begun
        items, wanted = alignment.project("image", encodings), alignment.project("text", texts)
        for kind, k in hits:
            rows = np.flatnonzero(seen if kind == "products learned from" else ~seen)
            hits[kind, k].append(lesson.finds(wanted[rows], items, rows, k))
    rivals = (category == category[:, None]).sum(axis=1)
    print(f"  alignment with the descriptions, {seconds / FOLDS:.0f} s; finding one product among {len(pictures):,}:")
    for (kind, k), hit in hits.items():
        hit = np.concatenate(hit)
        error = 1.96 * hit.std() / np.sqrt(len(pictures))
        known = np.minimum(1, k / rivals).mean()
        print(
            f"    {kind}, recall@{k}: {hit.mean():.4f} ± {error:.4f}; chance {k / len(pictures):.4f}, "
            f"by the right category alone {known:.4f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=MODALITIES)
    chosen = parser.parse_args().only
    if chosen:
        measure(chosen)
        return
    for modality in MODALITIES:
        subprocess.run([sys.executable, "-W", "ignore", __file__, "--only", modality], check=True)


if __name__ == "__main__":
    main()
