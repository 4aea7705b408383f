"""The simulated shop's words: true to their codes, varied, the same from one seed; to be read and not searched."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from recfuse_lib.data.market import language

quick = settings(deadline=None, max_examples=60, derandomize=True)
NONE = -1
WORDS = language.phrases()


def some_reviews(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stars, none to three different tags, and their polarities, all at random."""
    random = np.random.default_rng(seed)
    tags = random.random((n, len(language.TAGS))).argsort(axis=1)[:, :3]
    tags[np.arange(3) >= random.integers(0, 4, n)[:, None]] = NONE
    return random.integers(1, 6, n), tags, random.choice([-1, 1], (n, 3))


def some_products(n: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    sizes = {"category": 10, "brand": 12, "material": 6, "occasion": 6, "price_tier": 3, "looks": 5}
    return {name: random.integers(0, size, n) for name, size in sizes.items()}


def held(tags: np.ndarray, polarities: np.ndarray) -> np.ndarray:
    """Opinion on each tag: +1, −1, or 0 for none, (R, tags)."""
    opinions = np.zeros((len(tags), len(language.TAGS)), int)
    for place in range(tags.shape[1]):
        there = np.flatnonzero(tags[:, place] != NONE)
        opinions[there, tags[there, place]] = polarities[there, place]
    return opinions


def test_vocabularies_have_the_sizes_that_the_market_counts_on():
    vocabularies = (language.CATEGORIES, language.MATERIALS, language.OCCASIONS, language.BRANDS, language.TAGS)
    assert [len(set(words)) for words in vocabularies] == [10, 6, 6, 12, 9]
    sizes = {"title_nouns": 10, "nouns": 10, "materials": 6, "occasions": 6, "prices": 3, "looks": 5}
    sizes |= {"subjects": 9, "sayings": 9, "openings": 5, "closings": 5}
    assert {name: len(WORDS[name]) for name in sizes} == sizes


def test_no_wording_means_two_things():
    for table in ("nouns", "materials", "occasions", "prices", "subjects"):
        wordings = [wording for row in WORDS[table] for wording in row]
        assert len(set(wordings)) == len(wordings)
    opinions = [set(language.opinions(tag, polarity)) for tag in range(9) for polarity in (1, -1)]
    assert sum(map(len, opinions)) == len(set().union(*opinions))
    assert min(map(len, opinions)) >= 30
    assert min(len(sayings) for tag in WORDS["sayings"] for sayings in tag) >= 8


def test_the_same_seed_gives_the_same_texts_and_another_seed_others():
    products, reviews = some_products(200, 0), some_reviews(200, 0)

    def texts(seed: int) -> list[str]:
        generator = np.random.default_rng(seed)
        titled = {name: products[name] for name in ("category", "brand", "material")}
        return [
            *language.titles(generator, **titled),
            *language.descriptions(generator, *products.values()),
            *language.comments(generator, *reviews),
        ]

    assert texts(3) == texts(3)
    assert texts(3) != texts(4)


def test_a_title_names_brand_and_category_and_half_of_them_the_material():
    products = some_products(1000, 1)
    titled = {name: products[name] for name in ("category", "brand", "material")}
    titles = language.titles(np.random.default_rng(0), **titled)
    named = 0
    for title, category, brand, material in zip(titles, *titled.values(), strict=True):
        assert title.startswith(language.BRANDS[brand] + " ")
        assert title.endswith(" " + WORDS["title_nouns"][category])
        named += f" {language.MATERIALS[material]} " in title
    assert 0.4 < named / len(titles) < 0.6


def test_a_description_says_every_property_in_one_of_its_wordings():
    products = some_products(2000, 2)
    texts = language.descriptions(np.random.default_rng(0), *products.values())
    tables = {
        "category": WORDS["nouns"],
        "material": WORDS["materials"],
        "occasion": WORDS["occasions"],
        "price_tier": WORDS["prices"],
        "looks": WORDS["looks"],
    }
    for row, text in enumerate(texts):
        for name, table in tables.items():
            assert any(wording in text for wording in table[products[name][row]]), (name, text)
        if not products["looks"][row]:
            assert not any(wording in text for looks in WORDS["looks"][1:] for wording in looks)
        assert text[0].isupper() and text[-1] in ".?" and "{" not in text and "  " not in text
    assert len(set(texts)) > 0.95 * len(texts)


def test_the_name_of_a_material_does_not_tell_the_material():
    products = some_products(3000, 3)
    texts = language.descriptions(np.random.default_rng(0), *products.values())
    for code, name in enumerate(language.MATERIALS):
        named = np.array([name in text for text in texts])
        assert named[products["material"] == code].mean() < 0.7
    for word in ("cotton", "wool"):  # named where it is not the material
        other = products["material"] != language.MATERIALS.index(word)
        assert np.array([word in text for text in texts])[other].any()


@quick
@given(
    seed=st.integers(0, 2**32),
    rating=st.integers(1, 5),
    opinions=st.dictionaries(st.integers(0, 8), st.sampled_from([1, -1]), max_size=3),
    padding=st.integers(0, 2),
)
def test_a_comment_says_every_opinion_no_other_and_a_feeling_of_its_stars(seed, rating, opinions, padding):
    tags = [*opinions, *[NONE] * padding]
    polarities = [*opinions.values(), *[0] * padding]
    shape = (1, len(tags))
    (comment,) = language.comments(
        np.random.default_rng(seed), np.array([rating]), np.reshape(tags, shape).astype(int), np.reshape(polarities, shape).astype(int)
    )  # fmt: skip
    found = longest_wordings(comment)
    assert found == {(tag, polarity) for tag, polarity in opinions.items()}
    feelings = [
        stars
        for stars in range(1, 6)
        if any(comment.startswith(opening) for opening in WORDS["openings"][stars - 1])
        or any(comment.endswith(closing) for closing in WORDS["closings"][stars - 1])
    ]
    assert rating in feelings


def longest_wordings(comment: str) -> set[tuple[int, int]]:
    """Every opinion whose wording stands in the comment; "could be better" within a longer wording does not count."""
    text = comment.lower()
    for table in (*WORDS["openings"], *WORDS["closings"]):
        for feeling in table:
            text = text.removeprefix(feeling.lower() + " ").removesuffix(" " + feeling.lower())
    wordings = {
        wording.lower(): (tag, polarity)
        for tag in range(len(language.TAGS))
        for polarity in (1, -1)
        for wording in language.opinions(tag, polarity)
    }
    found = set()
    for wording in sorted(wordings, key=len, reverse=True):
        if wording in text:
            text = text.replace(wording, "…")
            found.add(wordings[wording])
    return found


def test_comments_are_varied():
    comments = language.comments(np.random.default_rng(0), *some_reviews(5000, 0))
    assert len(set(comments)) > 0.95 * len(comments)


def test_a_bag_of_words_finds_tags_that_a_keyword_misses_and_cannot_always_tell_liked_from_disliked():
    generator = np.random.default_rng(0)
    train, test = some_reviews(3000, 5), some_reviews(1500, 6)
    words = CountVectorizer(binary=True, token_pattern=r"\b\w+\b")
    counted = words.fit_transform(language.comments(generator, *train))
    comments = language.comments(generator, *test)
    known, asked = held(*train[1:]), held(*test[1:])
    for tag, keyword in (("material", "fabric"), ("price", "price"), ("sound", "jingle")):
        code = language.TAGS.index(tag)
        said = LogisticRegression(max_iter=300).fit(counted, known[:, code]).predict(words.transform(comments))
        mentioned = asked[:, code] != 0
        assert f1_score(mentioned, said != 0) > 0.9
        assert 0.7 < (said == asked[:, code])[mentioned].mean() < 0.97  # two opinions share their words
        assert f1_score(mentioned, [keyword in comment.lower() for comment in comments]) < 0.6
