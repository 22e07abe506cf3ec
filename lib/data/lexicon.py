"""The words of the generated world, what they belong to, and the form of its sentences: constants,
and nothing else.

`lib.data.worlds` draws facts and documents from them, `lib.data.gold` annotates, `lib.data.fewshot`
asks.
"""

from itertools import combinations, product

CATEGORIES: dict[str, str] = {
    "fruit": "apple plum pear fig lemon cherry mango grape",
    "animal": "fox hen wolf goat crow mouse horse frog",
    "month": "January February March April June July August October",
    "furniture": "table chair sofa bed desk shelf bench stool",
    "profession": "baker judge nurse pilot farmer poet miner tailor",
    "tool": "hammer saw drill file chisel spade rake broom",
    "vehicle": "car bus train boat tram lorry sledge bicycle",
    "instrument": "flute drum harp violin trumpet organ oboe cello",
    "metal": "iron gold tin zinc lead silver nickel copper",
    "flower": "rose tulip lily daisy iris aster poppy violet",
    "cloth": "silk wool linen felt lace denim velvet cotton",
    "city": "Rome Oslo Lima Cairo Delhi Quito Turin Lyon",
    "drink": "tea milk juice water wine cider coffee cocoa",
    "name": "Ann Bob Cleo Dan Eve Finn Gus Hal",
    "verb": "eats sees helps follows paints carries cleans finds",
    "adjective": "quick old small bright heavy quiet strange green",
}
SUBJECTS, OBJECTS = ("animal", "profession"), ("fruit", "tool")
TRANSLATED = ("fruit", "animal", "month")
# The seven relations of the paper, and the word that says each.
RELATIONS: dict[str, str] = {
    "Used-for": "used-for",
    "Conjunction": "next-to",
    "Feature-of": "feature-of",
    "Part-of": "part-of",
    "Compare": "rival-of",
    "Evaluate-for": "test-of",
    "Hyponym-of": "kind-of",
}
LABELS = (*"0123456789", "true", "false")
BEGINNINGS, ENDINGS = (
    "ba de fi go ku la me ni po ru sa te vi wo xu ze",
    "bar dex fin gol kus lam mer nup",
)  # of entities
MARKS = (".", "=", "is", "the", "so", "oh")
SIZE = 8  # words of a category, entities of a topic
# The categories that chapters test in lists, with words that they share a relation with: never
# together in a training list.
_APART = (
    *combinations(("fruit", "month", "animal"), 2),
    *product(("verb", "adjective"), (*SUBJECTS, *OBJECTS)),
    ("furniture", "profession"),
    ("metal", "city"),
    ("flower", "vehicle"),
    ("drink", "name"),
)
HELD_OUT: frozenset[frozenset[str]] = frozenset(map(frozenset, _APART))
# A sentence as columns: name, column of its head ("V": the verb, wherever it stands), label, part
# of speech.
COLUMNS: tuple[tuple[str, str, str, str], ...] = (
    ("oh", "V", "discourse", "INTJ"),
    ("verb first", "V", "ROOT", "VERB"),
    ("the 1", "subject", "det", "DET"),
    ("adjective 1", "subject", "amod", "ADJ"),
    ("subject", "V", "nsubj", "NOUN"),
    ("so 1", "after 1", "advmod", "ADV"),
    ("after 1", "subject", "amod", "ADJ"),
    ("verb", "V", "ROOT", "VERB"),
    ("the 2", "object", "det", "DET"),
    ("adjective 2", "object", "amod", "ADJ"),
    ("object", "V", "obj", "NOUN"),
    ("so 2", "after 2", "advmod", "ADV"),
    ("after 2", "object", "amod", "ADJ"),
    ("stop", "V", "punct", "PUNCT"),
)
COLUMN = {name: number for number, (name, *_) in enumerate(COLUMNS)}
