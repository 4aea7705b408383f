"""The checker of profiles finds what a text claims, and says of each claim whether the history bears it out."""

import dataclasses
import functools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recfuse_lib.data import movielens, splits
from recfuse_lib.stated import profiles
from recfuse_lib.stated.faithfulness import CONTRADICTED, SUPPORTED, UNSUPPORTED, Claim, claims, judge
from recfuse_lib.stated.histories import RatingHistory, histories
from recfuse_lib.stated.vocabulary import Vocabulary

# Sentences such as a small language model writes, with the claims that a reader finds in them: + liked, - disliked,
# a genre, a decade or year, or a title in its normal form. The rules were made with the first list in view ...
SEEN = {
    "This person enjoys comedies and dramas.": "+Comedy +Drama",
    "A fan of horror but not of comedy.": "+Horror -Comedy",
    "Likes not only comedies but also thrillers.": "+Comedy +Thriller",
    "Dislikes nothing and loves science fiction.": "+Sci-Fi",
    "The film Heat is a favourite.": "+heat",
    "They prefer films from the 80s and 90s.": "+1980 +1990",
    "This person hates horror, romance and musicals.": "-Horror -Romance -Musical",
    "Does not enjoy or like scary films.": "-Horror",
    "Prefers comedies over dramas, and also enjoys westerns.": "+Comedy -Drama +Western",
    'Loves "Alien" and "The Matrix", avoids romantic films.': "+alien +the_matrix -Romance",
    "This person has a taste for big explosions and loud action.": "+Action",
    "Horror films are avoided, while documentaries are loved.": "-Horror +Documentary",
    "Likes everything except war films and westerns.": "-War -Western",
    "Fond of funny films from 1994.": "+Comedy +1994",
    "Favourites are Pulp Fiction and The Usual Suspects.": "+pulp_fiction +the_usual_suspects",
    "Rather than horror, this person likes mysteries.": "-Horror +Mystery",
    "This person does not dislike fantasy.": "+Fantasy",
    "This person is drawn to stories with heart.": "",
    "They enjoy a wide variety of genres.": "",
    'This person loved "The Midnight Clockmaker".': "+the_midnight_clockmaker",
    "This person is a huge sci-fi fan who has little interest in romance.": "+Sci-Fi -Romance",
    "The viewer's taste leans towards suspenseful thrillers and gangster stories.": "+Thriller +Crime",
    "It is clear that the person enjoys animated films, particularly those for kids.": "+Animation +Children",
    "This person did not like Titanic, but Toy Story was a hit.": "-titanic +toy_story",
    "This person is a fan of the 1970s, especially The Godfather.": "+1970 +the_godfather",
    "While action is fine, musicals bore this person.": "+Action -Musical",
    "This person likes the science-fiction classics Alien and Blade Runner.": "+Sci-Fi +alien +blade_runner",
    "They never miss a good western.": "+Western",
    "Comedies don't work for this person.": "-Comedy",
    "This person loves romantic comedies, but can't stand slasher films.": "+Romance +Comedy -Horror",
    "A lover of film noir and crime dramas of the forties.": "+Film-Noir +Crime +Drama +1940",
    'This person likes "Schindler\'s List," "Braveheart," and other war dramas.': "+schindler_s_list +braveheart +War +Drama",
    "The person enjoys movies like Die Hard and Speed.": "+die_hard +speed",
    "They have no interest in documentaries and avoid anything made before 1960.": "-Documentary -before_1960",
    "This person gives high ratings to fantasy and low ratings to horror.": "+Fantasy -Horror",
    "This person enjoys dark humor and dislikes cartoons.": "+Comedy -Animation",
    "This person is not particularly fond of musicals or love stories.": "-Musical -Romance",
    "Instead of blockbusters, quiet dramas from the nineties appeal to this person.": "+Drama +1990",
    "This person likes films by Quentin Tarantino.": "+quentin_tarantino",
    "The person is into mysteries, less so into adventure.": "+Mystery -Adventure",
    "Big is one of the favourites of this person, and so is E.T. the Extra-Terrestrial.": "+big +e_t_the_extra_terrestrial",
    "They are in their thirties and like to laugh.": "",
    "This person likes movies that are both thrilling and funny, such as Men in Black.": "+Thriller +Comedy +men_in_black",
    "Neither war films nor westerns appeal to this person.": "-War -Western",
    "This person is interested in crime and mystery films, with a particular focus on the 1940s.": "+Crime +Mystery +1940",
    "They seem to appreciate dramas, although they are not keen on anything musical.": "+Drama -Musical",
    "The person's favourite films are Fargo, The Big Lebowski, and Raising Arizona.": "+fargo +the_big_lebowski +raising_arizona",
    "Gangster films and westerns are this person's favourites; children's films are not.": "+Crime +Western -Children",
    "This person rarely watches horror and never finishes a musical.": "-Horror -Musical",
    "A person who loves adventure and hates to be scared by horror.": "+Adventure -Horror",
    "This person has watched Jaws, a thriller from 1975, and liked it.": "+jaws +Thriller +1975",
    "Unlike most people, this person finds comedies dull.": "-Comedy",
    "This person enjoys action more than romance.": "+Action",
    "They like movies that make them laugh, and movies from before 1950.": "+before_1950",
    "This person isn't interested in sci-fi or fantasy, preferring documentaries.": "-Sci-Fi -Fantasy +Documentary",
    "This person liked “Fight Club” and “Seven” but disliked “Grease”.": "+fight_club +seven -grease",
    "The user prefers animated movies to live action dramas.": "+Animation -Action -Drama",
    "This person is a fan of Star Wars: Episode IV - A New Hope and other futuristic adventures.": "+star_wars_episode_iv_a_new_hope +Sci-Fi +Adventure",
    "No one could call this person a fan of romance.": "-Romance",
    "This person likes 80s action and has mixed feelings about comedy.": "+1980 +Action",
    "This person is a fan of both Forrest Gump and Apollo 13, two dramas with Tom Hanks.": "+forrest_gump +apollo_13 +Drama +tom_hanks",
    "This person would rather watch a western than a war film.": "+Western -War",
    "This person likes the old and the new, the happy and the sad.": "",
    "This person loves suspense, yet avoids gore and slashers.": "+Thriller -Horror",
}
# ... and none was changed for a sentence of the second.
UNSEEN = {
    "This person is a fan of classic Western films, particularly those from the 1950s and 1960s.": "+Western +1950 +1960",
    'This person likes Drama, War and Crime films, and they loved "Coming Home" and "No Man\'s Land".': "+Drama +War +Crime +coming_home +no_man_s_land",
    "They do not like Horror and Musical films, such as Kangaroo Jack.": "-Horror -Musical -kangaroo_jack",
    "This person enjoys a mix of genres, including action, comedy, and drama, with a preference for films that are well-made.": "+Action +Comedy +Drama",
    "This person is drawn to films with complex characters and a strong sense of mystery.": "+Mystery",
    "This person likes The Shawshank Redemption (1994), but dislikes Clerks (1994).": "+the_shawshank_redemption -clerks",
    "This person loves the Lord of the Rings trilogy and other fantasies.": "+Fantasy",
    "The person tends to avoid romantic comedies and prefers edgy thrillers instead.": "-Romance -Comedy +Thriller",
    "This person is fond of movies that make them think, like The Matrix and Inception.": "+the_matrix +inception",
    "Their favorite decade is the eighties, and they find westerns boring.": "+1980 -Western",
    "This person likes sci-fi, but only when it is funny.": "+Sci-Fi +Comedy",
    "They liked Aliens, Predator and The Terminator; they didn't care for Sleepless in Seattle.": "+aliens +predator +the_terminator -sleepless_in_seattle",
    "This person is someone who likes watching old movies.": "",
    "Animation is a favourite, and so are adventure films for children.": "+Animation +Adventure +Children",
    "This person is not a fan of the horror genre, and does not like movies that are too scary or violent.": "-Horror",
    "This person appreciates documentaries about war without liking war films.": "+Documentary -War",
    "This person dislikes romance but not comedy.": "-Romance +Comedy",
    'Rated "Fargo" and "Psycho" highly, "Batman & Robin" poorly.': "+fargo +psycho -batman_robin",
}
# Written by SmolLM2-135M (greedy), labelled afterwards.
WRITTEN = {
    "This person is a fan of the 1970s and 1980s, with a love for the 1970s and 1980s, and a love for the 1970s and 1980s.": "+1970 +1980",
    'This person is a fan of "The X-Files: Fight the Future" and has a fondness for "The Ice Pirates." They also enjoy "The Adventures of Priscilla, Queen of the Desert" and "The X-Files: Fight the Future."': "+the_x_files_fight_the_future +the_ice_pirates +the_adventures_of_priscilla_queen_of_the_desert",
    'This person is a fan of "The Shawshank Redemption" and has a fondness for "The Lion King" and "The Lion King II." They also enjoy "The Lion King" and "The Lion King II."': "+the_shawshank_redemption +the_lion_king +the_lion_king_ii",
    "This person is a fan of the 1990s, loves the 1990s, and loves the Lion King.": "+1990 +the_lion_king",
    "This person is a fan of the 1980s and 2010s, loves action and thriller, and dislikes animation and comedy.": "+1980 +2010 +Action +Thriller -Animation -Comedy",
    'This person is a fan of "The Shawshank Redemption" and has a fondness for "The Last Crusade." They also enjoy "The Last Crusade" and have a fondness for "The Shawshank Redemption."': "+the_shawshank_redemption +the_last_crusade",
    'This person is a fan of the 1970s, loves the 2012 film "Serpico", and dislikes the 2012 film "25th Hour" and the 2012 film "25th Hour" and the 20': "+1970 +serpico -25th_hour",
    'This person is a fan of "Road to Perdition" and has a fondness for "Monster\'s Ball." They also enjoy "Blazing Saddles" and "All or Nothing."': "+road_to_perdition +monster_s_ball +blazing_saddles +all_or_nothing",
}
quick = settings(deadline=None, max_examples=60, derandomize=True)


@functools.cache
def films() -> Vocabulary:
    return Vocabulary.of(movielens.load())


def found_in(text: str) -> set[str]:
    return {label(claim) for claim in claims(text, films())}


def label(claim: Claim) -> str:
    sign = "+" if claim.liked else "-"
    if isinstance(claim.value, str):
        return sign + claim.value.replace(" ", "_")
    first, last = claim.value
    return sign + (f"before_{last + 1}" if first < 1850 else f"after_{first - 1}" if last > 2050 else str(first))


def precision_and_recall(sentences: dict[str, str]) -> tuple[float, float, list[str]]:
    right = made = wanted = 0
    wrong = []
    for sentence, labels in sentences.items():
        found, expected = found_in(sentence), set(labels.split())
        right, made, wanted = right + len(found & expected), made + len(found), wanted + len(expected)
        if found != expected:
            wrong.append(f"{sentence}\n    read {sorted(found)}\n    wanted {sorted(expected)}")
    return right / made, right / wanted, wrong


@pytest.mark.parametrize(
    ("sentences", "precision", "recall"), [(SEEN, 0.9, 0.9), (UNSEEN, 0.8, 0.8), (WRITTEN, 0.8, 0.8)]
)
def test_claims_of_labelled_sentences(sentences: dict[str, str], precision: float, recall: float) -> None:
    is_precise, is_complete, wrong = precision_and_recall(sentences)
    report = f"precision {is_precise:.3f}, recall {is_complete:.3f}\n" + "\n".join(wrong)
    print(report)
    assert is_precise >= precision and is_complete >= recall, report


def past(*rated: tuple[float, str, int]) -> RatingHistory:
    """A history of (stars, genre, year); item codes count from 0."""
    return RatingHistory(
        0,
        tuple(range(len(rated))),
        tuple(stars for stars, _, _ in rated),
        tuple(frozenset({("genre", genre)}) for _, genre, _ in rated),
        tuple(year for _, _, year in rated),
    )


PERSON = past(
    (5.0, "Comedy", 1994), (4.0, "Comedy", 1999), (1.0, "Horror", 1981), (2.0, "Horror", 1989), (3.0, "War", 1994)
)  # fmt: skip
JUDGED = [
    (Claim("genre", "Comedy", True, ""), SUPPORTED),
    (Claim("genre", "Comedy", False, ""), CONTRADICTED),
    (Claim("genre", "Horror", True, ""), CONTRADICTED),
    (Claim("genre", "Horror", False, ""), SUPPORTED),
    (Claim("genre", "War", True, ""), UNSUPPORTED),
    (Claim("genre", "War", False, ""), UNSUPPORTED),
    (Claim("genre", "Western", True, ""), UNSUPPORTED),
    (Claim("years", (1990, 1999), True, ""), SUPPORTED),
    (Claim("years", (1980, 1989), True, ""), CONTRADICTED),
    (Claim("years", (1800, 1959), True, ""), UNSUPPORTED),
    (Claim("title", "big", True, "", (0,)), SUPPORTED),
    (Claim("title", "saw", True, "", (2,)), CONTRADICTED),
    (Claim("title", "saw", False, "", (2,)), SUPPORTED),
    (Claim("title", "saw or big", True, "", (0, 2)), SUPPORTED),
    (Claim("title", "war", True, "", (4,)), UNSUPPORTED),
    (Claim("title", "not seen", True, "", (99,)), UNSUPPORTED),
    (Claim("title", "does not exist", True, ""), UNSUPPORTED),
]


@pytest.mark.parametrize(("claim", "outcome"), JUDGED)
def test_a_claim_is_judged_by_the_history(claim: Claim, outcome: str) -> None:
    assert judge([claim], PERSON).verdicts[0].outcome == outcome


def test_the_score_is_the_share_supported_and_a_text_without_claims_has_none() -> None:
    result = judge([claim for claim, _ in JUDGED], PERSON)
    counts = [result.count(outcome) for outcome in (SUPPORTED, CONTRADICTED, UNSUPPORTED)]
    assert counts == [6, 4, 7] and result.score == 6 / 17
    assert math.isnan(judge([], PERSON).score)
    assert len(str(result).splitlines()) == 17


RATINGS = st.lists(
    st.tuples(
        st.integers(1, 10).map(lambda stars: stars / 2), st.sampled_from(["Comedy", "Horror"]), st.integers(1950, 2015)
    ),
    max_size=12,
)


@quick
@given(RATINGS, st.sampled_from(["Comedy", "Horror", "War"]))
def test_a_claim_and_its_opposite_are_never_both_supported(rated: list[tuple[float, str, int]], genre: str) -> None:
    claim = Claim("genre", genre, True, genre)
    for_it, against_it = (
        judge([dataclasses.replace(claim, liked=liked)], past(*rated)).verdicts[0].outcome for liked in (True, False)
    )
    assert {for_it, against_it} in ({SUPPORTED, CONTRADICTED}, {UNSUPPORTED})
    assert for_it != against_it or for_it == UNSUPPORTED


def test_brands_are_found_and_judged_like_anything_else() -> None:
    vocabulary = Vocabulary.of_words({("brand", name): [name] for name in ("Halven", "Ostrel")})
    found = claims("Great fan of Halven, but I hate Ostrel.", vocabulary)
    assert [(claim.value, claim.liked) for claim in found] == [("Halven", True), ("Ostrel", False)]
    bought = dataclasses.replace(PERSON, groups=tuple(frozenset({("brand", "Halven")}) for _ in PERSON.items))
    assert [verdict.outcome for verdict in judge(found, bought).verdicts] == [SUPPORTED, UNSUPPORTED]


def test_a_claim_counts_once_and_words_of_a_title_claim_nothing() -> None:
    assert found_in("Likes horror. Loves scary horrors.") == {"+Horror"}
    assert found_in('Liked "Not Another Teen Movie" and "Scary Movie".') == {"+not_another_teen_movie", "+scary_movie"}
    assert found_in("Liked Bad Boys and War Horse.") == {"+bad_boys", "+war_horse"}


def test_a_title_has_several_names() -> None:
    names = [
        "Pirates of the Caribbean: The Curse of the Black Pearl",
        "The Curse of the Black Pearl",
        "La Haine",
        "Hate",
        "Birdcage",
        "The Phantom Menace",
    ]
    items = [claim.items for name in names for claim in claims(f'Likes "{name}".', films())]
    assert items[0] == items[1] and items[2] == items[3] and len(items) == 6 and all(items)


def test_a_full_stop_in_the_quotes_ends_the_sentence() -> None:
    assert found_in('They dislike "Heat." Comedies next.') == {"-heat", "+Comedy"}


def test_a_word_is_no_title_for_being_one() -> None:
    assert found_in("It is big, the heat of May is in her, and they go up.") == set()
    assert found_in("Loves \"Her\", the film Heat, and 'Big'.") == {"+her", "+heat", "+big"}


@pytest.mark.parametrize(
    ("text", "years"),
    [("from 1994 to 1999", (1994, 1999)), ("between 1980 and 1995", (1980, 1995)), ("the 2000s", (2000, 2009)), ("the '60s", (1960, 1969)),
     ("after 2005", (2006, 2100)), ("since the nineties", (1990, 2100)), ("pre-1950", (1800, 1949)), ("late 1970s", (1970, 1979)), ("00s pop", (2000, 2009))],
)  # fmt: skip
def test_years_are_read(text: str, years: tuple[int, int]) -> None:
    assert [claim.value for claim in claims(f"Likes films {text}.", films())] == [years]


@quick
@given(st.text(max_size=200))
def test_any_text_is_read_without_error_and_found_words_stand_in_it(text: str) -> None:
    for claim in claims(text, films()):
        assert claim.words in text


def faithful_share(n_people: int) -> None:
    dataset = movielens.load()
    queries = splits.warm(dataset).test.queries[:n_people]
    results = [
        judge(claims(text, films()), history)
        for text, history in zip(profiles.profiles(dataset, queries), histories(dataset, queries), strict=True)
    ]
    assert all(result.count(SUPPORTED) == len(result.verdicts) for result in results), "\n".join(map(str, results))
    assert sum(len(result.verdicts) for result in results) > 5 * n_people


def test_the_template_says_nothing_false() -> None:
    faithful_share(60)


@pytest.mark.slow
def test_the_template_says_nothing_false_of_many() -> None:
    faithful_share(300)
