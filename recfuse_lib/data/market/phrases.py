"""The wordings that the simulated shop and its shoppers choose from; `language` does the choosing.

The first index of a table is a code: of a category, a material, an occasion, a price tier, a look, a tag, or the stars.

Taught in notebook 01.
"""

TITLE_NOUNS = (
    "T-shirt", "trousers", "pullover", "dress", "coat", "sandals", "shirt", "sneakers", "bag", "ankle boots",
)  # fmt: skip
SERIES = (
    "Arc", "Brio", "Cleo", "Delta", "Echo", "Fable", "Gamma", "Indigo", "Juno", "Karo", "Lento", "Mira",
    "Nova", "Opal", "Presto", "Quarz", "Rondo", "Sierra", "Tempo", "Una", "Vega", "Zenit",
)  # fmt: skip

# Each begins with a consonant, so that "a" fits.
NOUNS = (
    ("T-shirt", "tee", "short-sleeved top"),
    ("pair of trousers", "pair of slacks", "pair of pants"),
    ("pullover", "jumper", "sweater"),
    ("dress", "frock", "gown"),
    ("coat", "long coat", "buttoned coat"),
    ("pair of sandals", "pair of open shoes", "pair of strappy shoes"),
    ("shirt", "button-down shirt", "blouse"),
    ("pair of sneakers", "pair of trainers", "pair of rubber-soled shoes"),
    ("bag", "handbag", "carry-all"),
    ("pair of ankle boots", "pair of short boots", "pair of booties"),
)

# Each follows "made of".
OF_MATERIAL = (
    (
        "soft cotton", "combed jersey", "crisp poplin", "brushed flannel from the cotton field",
        "jersey that is soft as wool without a hair of it", "cool percale", "thick terry cloth",
    ),
    (
        "full-grain leather", "supple calfskin", "vegetable-tanned hide", "smooth nappa", "soft suede",
        "tanned skin that darkens with the years", "saddler's hide, stitched by hand",
    ),
    (
        "pure new wool", "fine merino", "boiled lambswool", "warm tweed", "yarn from Shetland flocks",
        "felt from the sheep's back", "thick yarn that scratches a little and warms a lot",
    ),
    (
        "washed linen", "woven flax", "a flax weave that creases with grace", "cool, slubby linen",
        "airy fabric that is not cotton but flax", "cloth from the blue-flowering field", "sun-bleached flax",
    ),
    (
        "raw denim", "twill dyed with indigo", "stonewashed denim", "rugged jeans cloth",
        "selvedge from a shuttle loom", "blue twill, the stuff of cowboys", "cotton twill that fades like old jeans",
    ),
    (
        "recycled polyester", "yarn spun from old bottles", "reclaimed plastic fibre", "what once was a fishing net",
        "fleece that no sheep ever wore", "quick-drying fibre with a second life",
        "polyester, melted down and spun anew",
    ),
)  # fmt: skip

# Each follows "for".
FOR_OCCASION = (
    (
        "the office", "long days at the desk", "meetings and presentations", "the nine-to-five", "a job interview",
        "Monday mornings with the boss", "conference rooms and client calls", "business, not pleasure",
    ),
    (
        "parties", "dancing until late", "a night out", "weddings and birthdays", "the hours after the office closes",
        "evenings with champagne", "clubs, bars and the way home at dawn", "the moment the music gets loud",
    ),
    (
        "sport", "the gym", "your daily run", "training hard", "match day", "working up a sweat", "personal bests",
        "the last lap and the one after it",
    ),
    (
        "travel", "long flights", "a suitcase with little room", "city breaks and train rides",
        "airports and time zones", "three countries in a week", "living out of hand luggage",
        "business class and backpacks alike",
    ),
    (
        "lazy Sundays", "leisure", "the sofa and a good book", "brunch with friends", "doing nothing in particular",
        "slow days at home", "days without a meeting", "the opposite of a marathon",
    ),
    (
        "the outdoors", "mountain trails", "rain, wind and mud", "nights by the campfire", "walks in the woods",
        "moor and meadow", "weather that keeps others at home", "a tent far from any hotel",
    ),
)  # fmt: skip

PRICE = (
    (
        "It costs little.", "Easy on the purse.", "Dear it is not.", "The price leaves change for lunch.",
        "A bargain, we think.", "Expensive is something else.",
    ),
    (
        "Fairly priced.", "Neither cheap nor dear.", "You pay for what you get.", "It sits in the middle of our range.",
        "A sensible sum.", "Not a bargain, not a luxury.",
    ),
    (
        "An investment for years.", "One to save up for.", "Cheap it is not.", "The price is that of a luxury.",
        "Our most exclusive line.", "Bargain hunters will look elsewhere.",
    ),
)  # fmt: skip

VISIBLE_PHRASES = (
    ("",),
    (", in a dark shade", ", deep in tone", ", close to black"),
    (", in a light shade", ", pale and bright", ", close to white"),
    (", plain and calm", ", in one even tone", ", without any print"),
    (", with a pattern", ", in a lively print", ", anything but plain"),
)

DESCRIPTIONS = (
    "A {noun} made of {material}{visible}, good for {occasion}. {price}",
    "A {noun}{visible}, made of {material}. We had {occasion} in mind. {price}",
    "Made for {occasion}: a {noun} of {material}{visible}. {price}",
    "{brand} took {material}, and made a {noun}{visible}. Take it out for {occasion}. {price}",
    "{price} This {noun}, made of {material}{visible}, is meant for {occasion}.",
    "This {noun} is for {occasion}. {brand} makes it of {material}{visible}. {price}",
    "Think of {occasion}, then of {material}: here is the {noun} that {brand} made of it{visible}. {price}",
    "What suits {occasion}? A {noun} of {material}{visible}, says {brand}. {price}",
    "{price} {brand} shows a {noun} of {material}{visible}: just the thing for {occasion}.",
    "For {occasion} and for people who like {material}: this {noun}{visible} by {brand}. {price}",
    "The {noun} that you take out for {occasion}{visible}. Made of {material}. {price}",
    "Ready for {occasion}, this {noun} by {brand} is cut from {material}{visible}. {price}",
)

SUBJECTS = (
    ("the look of it", "the way it looks", "the appearance", "the design"),
    ("the fabric", "the material", "what it is made of", "the way it feels on the skin"),
    ("the occasion it is meant for", "what it is meant for", "the use it was made for", "where one can wear it"),
    ("the price", "what I paid", "the cost", "what they charge"),
    ("the brand", "the label", "the maker", "the name on the tag"),
    ("the jingle", "the tune", "the music on the page", "the sound that goes with it"),
    ("the clip", "the video", "the little film", "the way it turns on the screen"),
    ("this type of article", "this sort of thing", "the category as such", "this kind of piece"),
    ("the style everybody follows", "the trend it belongs to", "the taste of my friends", "the fashion of our circle"),
)
LIKED = (
    "is just right", "is lovely", "is better than I had hoped", "is nothing to complain about", "won me over",
    "could not be better",
)  # fmt: skip
DISLIKED = (
    "is a disappointment", "is not what I had hoped for", "leaves a lot to be desired", "could be better",
    "puts me off", "is anything but right",
)  # fmt: skip

# Tag -> (what one says who liked it, what one says who did not). Each is a clause that can stand alone.
SAYINGS = (
    (
        (
            "it is a joy to look at", "it looks even better than in the picture", "people keep saying how pretty it is",
            "I cannot take my eyes off it", "nothing ugly about it", "it is beautiful", "it flatters me in the mirror",
            "a feast for the eyes",
        ),
        (
            "it is rather ugly", "it is not much to look at", "the picture promised more beauty",
            "I would not call it pretty", "it does not flatter me at all", "my mirror was not amused",
            "in daylight it is an eyesore", "beautiful is another thing",
        ),
    ),
    (
        (
            "nothing wrong with the fabric", "it feels good to the touch", "soft where it should be soft",
            "it is well woven and sturdy", "no itching, no scratching", "I love to touch it", "you feel the quality",
            "this is stuff that lasts",
        ),
        (
            "it scratches", "it feels like a plastic bag", "I do not like to touch it", "the stuff is thin and stiff",
            "my skin does not agree with it", "not the quality of cloth I like", "soft it is not",
            "I would choose other cloth",
        ),
    ),
    (
        (
            "it is perfect for what I do", "I have worn it on just such days", "it fits right into my life",
            "I have plenty of chances to wear it", "it did its job on the day", "it is made for days like mine",
            "I was never better dressed for the event", "no better companion for such plans",
        ),
        (
            "I never have a chance to wear it", "it is no use for what I do", "it felt out of place",
            "my life has no such days", "I was the wrong one in the room with it", "I do not know when to wear it",
            "it stays in the wardrobe for want of an event", "not made for days like mine",
        ),
    ),
    (
        (
            "it is a bargain", "it is worth every cent", "not expensive at all", "good value for money",
            "I expected to pay more", "my purse is happy", "you will not find it cheaper", "a fair deal",
        ),
        (
            "it is not exactly cheap", "it is far too dear", "too much money for what it is", "it is a rip-off",
            "I expected to pay less", "my purse is empty now", "not worth the money", "nobody would call it a bargain",
        ),
    ),
    (
        (
            "I trust this house", "they never let me down", "I would buy from them blindly",
            "one more for my collection of theirs", "nobody does it like them", "I am a fan of theirs",
            "it is good to see their logo", "they have not disappointed me yet",
        ),
        (
            "I do not trust this house", "they have let me down again", "I would not buy from them again",
            "others do it better than they do", "I am no fan of theirs", "I cut their logo off",
            "they live on their name", "I should have bought from somebody else",
        ),
    ),
    (
        (
            "I still hum the melody", "I turned the volume up", "it sounds just like my mood", "what a melody",
            "I played the notes again and again", "not a wrong note in it", "music to my ears",
            "it sounds as one feels in it",
        ),
        (
            "I turned the volume down", "my ears hurt", "it sounds not at all like my mood",
            "nobody wants to hear those notes", "it is no music to my ears", "the melody gets on my nerves",
            "silence would have been better", "I reached for the mute button",
        ),
    ),
    (
        (
            "I watched it turn again and again", "I like how it moves on the turntable", "well filmed",
            "seeing it in motion convinced me", "nothing shaky about the camera", "it moves at my pace",
            "one sees it from every side, nicely done", "the animation made me buy it",
        ),
        (
            "it made me dizzy to watch", "badly filmed", "the camera work is poor", "I stopped watching at once",
            "I do not like how it moves on the turntable", "it moves at the wrong pace for me",
            "seeing it in motion nearly kept me from buying", "the animation is no help",
        ),
    ),
    (
        (
            "I can never have enough of these", "I own ten of these and want more", "this is what I always wear",
            "I wear such things every day", "one more for the row in my wardrobe", "just my kind of article",
            "I never say no to one of those", "these are what I shop for",
        ),
        (
            "I hardly ever wear such things", "it is not my kind of article", "I do not need another one of these",
            "I am not one who wears those", "such things do not suit me", "I should stick to other articles",
            "I had forgotten that I do not wear these", "these are not what I shop for",
        ),
    ),
    (
        (
            "all my friends wear it", "it is what people like me wear", "everyone I know asked where I got it",
            "it is so much me and my crowd", "my crowd approves", "we all dress like that",
            "nobody in my group would disagree", "I blend right in with my friends",
        ),
        (
            "none of my friends would wear it", "it is not what people like me wear", "my crowd shook their heads",
            "it is so not me and my crowd", "I stick out among my friends", "nobody I know dresses like that",
            "it is for another crowd", "others may like such looks, we do not",
        ),
    ),
)  # fmt: skip

OPENINGS = (
    (
        "A mistake.", "I am very unhappy with it.", "I sent it back.", "One star is one too many.", "Never again.",
        "What a let-down.", "I regret this purchase.", "Not at all what I wanted.", "Awful.", "This was a waste.",
    ),
    (
        "Not for me.", "I had expected more.", "Rather disappointing.", "I would not buy it again.", "Hm, no.",
        "I am not happy with it.", "Below average.", "It could have been nice.", "Meh.", "Somewhat sad about this one.",
    ),
    (
        "It is all right.", "So-so.", "Neither good nor bad.", "I am of two minds.", "An average purchase.", "Okay.",
        "It will do.", "Not bad, not great.", "I can live with it.", "Mixed feelings.",
    ),
    (
        "I like it.", "A good buy.", "I am happy with it.", "Well done.", "Very nice.",
        "Good, with small reservations.", "I would buy it again.", "Nearly perfect.", "I am glad I chose it.",
        "Better than average.",
    ),
    (
        "I love it.", "Wonderful.", "Could not be happier.", "My best purchase this year.", "Perfect.", "Five stars.",
        "I will never take it off.", "What a find.", "Exactly what I wanted.", "I am delighted.",
    ),
)  # fmt: skip
CLOSINGS = (
    (
        "Stay away.", "I want my money back.", "I would give zero stars if I could.", "I am done.",
        "Save yourself this.", "It went straight to the bin.",
    ),
    (
        "I do not recommend it.", "I will give it away.", "Next time I look elsewhere.", "A pity.", "Two stars.",
        "It rarely leaves the drawer.",
    ),
    (
        "Three stars.", "I may keep it.", "Take it or leave it.", "I am not sure yet.", "All in all fair enough.",
        "Nothing special.",
    ),
    (
        "I recommend it.", "I shall keep it.", "Four stars.", "All in all a pleasure.", "Worth a try.",
        "I wear it often.",
    ),
    (
        "Buy it.", "I have ordered another one.", "Highly recommended.", "Thank you.", "I would give six stars.",
        "I tell everyone about it.",
    ),
)  # fmt: skip
# Said in passing; no tag, though some name an occasion or a look.
FILLERS = tuple(
    f"{happening}{moment}."
    for happening in (
        "It arrived quickly", "It came late", "The box was a little battered", "It was a present for my brother",
        "I ordered it on my phone", "The courier made no sound", "I paid by card", "My neighbour took the parcel in",
        "I took one size up", "My sister looked over my shoulder", "I ordered two sizes", "I picked the parcel up",
    )
    for moment in (
        "", " on Monday", " last week", " at noon", " in the rain", " the other day", " on a Friday",
        " before breakfast", " on the day of a party", " right before a trip",
    )
)  # fmt: skip
SAME = (", and ", ". ", "; ", ", ", " and ")
CONTRAST = (", but ", ". Still, ", "; yet ", ", although ", ". On the other hand, ")
