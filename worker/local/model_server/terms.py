"""Words as an extractive model compares them: lower case, without endings, without those that carry no meaning."""

import re
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+")

STOPWORDS = frozenset(
    _WORD.findall(
        """
        a about above after again all also am an and any are aren as at be because been before being below between both
        but by can cannot come comes could currently d did didn do does doesn doing don done down during each either
        else ever few for from further get gets give given go goes going had happen happens has have having he her here
        hers him his how however i if in into is isn it its itself just let like ll m made make makes many may me might
        mine more most much must my need needs no nor not now of off on once one only or other our ours out over own per
        please re s same shall she should so some still such t tell than that the their theirs them then there these
        they this those through to too under until up upon us use used uses using ve very want wants was way we were
        what when where whether which while who whom whose why will with within without won would yes you your yours
        """
    )
)

# Longest first. A light stemmer in the spirit of Porter (1980): it only has to send the forms of a word to one place.
_ENDINGS = (
    *("ations", "ements", "ation", "ement", "ities", "ings", "ions"),
    *("ing", "ion", "ity", "ies", "ed", "es", "ly", "e", "s", "y"),
)
_SHORTEST_STEM = 3


def terms(text: str) -> list[str]:
    """The stems of a text's meaningful words, in order, repeated as in the text."""
    return [stem(word) for word in _WORD.findall(text.lower()) if word not in STOPWORDS]


@lru_cache(maxsize=1 << 14)  # passages repeat their words
def stem(word: str) -> str:
    """The word without its ending: `stored`, `stores` and `storing` meet at `stor`."""
    if word.endswith("ss"):
        return word
    ending = next((end for end in _ENDINGS if word.endswith(end) and len(word) >= len(end) + _SHORTEST_STEM), "")
    bare = word.removesuffix(ending)
    doubled = len(bare) > _SHORTEST_STEM and bare[-1] == bare[-2] and bare[-1] not in "aeiou"
    return bare[:-1] if doubled else bare
