"""Russian inflection on top of pymorphy3 for the grammar: nouns and noun phrases, adjectives, verbs, prepositions."""

from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Any

from demo.text import lexicon
from demo.text.cleaning import morph

CASES = {"nom": "nomn", "gen": "gent", "dat": "datv", "acc": "accs", "ins": "ablt", "loc": "loct"}
VOWELS = "аеёиоуыэюя"
# Nouns whose second locative («в лесу») is the normal form after «в» and «на».
SECOND_LOCATIVE = frozenset(lexicon.words("usage.txt")["second_locative"])
# Nouns for which the dictionary offers several lexemes or a rare plural: the plural that is meant.
PLURALS = {"ребёнок": "дети", "человек": "люди"}


class NoForm(Exception):
    """The dictionary has no such form of the word; the caller chooses another word."""


@dataclass(frozen=True)
class Noun:
    """A noun or fixed noun phrase and the features that its neighbours agree with."""

    text: str
    gender: str  # masc | femn | neut
    animate: bool
    plural_only: bool
    parses: tuple[Any, ...]  # one per word; None for a word that does not change

    def form(self, case: str, plural: bool = False, preposition: str = "") -> str:
        """The phrase in ``case`` (``nom gen dat acc ins loc``); raises :class:`NoForm`."""
        number = "plur" if plural or self.plural_only else "sing"
        words: list[str] = []
        for word, parse in zip(self.text.split(), self.parses, strict=True):
            if parse is None:
                words.append(word)
            elif parse.tag.POS == "ADJF":
                words.append(adjective(parse.normal_form, self, case, number == "plur"))
            else:
                words.append(_noun_form(parse, CASES[case], number, preposition))
        return " ".join(
            form[0].upper() + form[1:] if given[0].isupper() else form
            for form, given in zip(words, self.text.split(), strict=True)
        )


def _noun_form(parse: Any, case: str, number: str, preposition: str) -> str:
    word = parse.word
    if word == "носки" and case == "gent":
        return "носков"
    if word in PLURALS and number == "plur":
        return _noun_form(_noun_parse(PLURALS[word]), case, number, preposition)
    if case == "nomn" and number in parse.tag:
        return str(word)
    if case == "loct" and preposition in {"в", "на"} and number == "sing" and word in SECOND_LOCATIVE:
        second = parse.inflect({"loc2", "sing"})
        if second:
            return str(second.word)
    wanted = {case, number}
    forms = [
        p
        for p in parse.lexeme
        if wanted <= p.tag.grammemes and not {"V-oy", "Infr", "Arch", "gen2", "loc2", "Litr"} & p.tag.grammemes
    ]
    if "Patr" in parse.tag:  # the dictionary keeps both genders of a patronymic in one lexeme
        forms = [p for p in forms if parse.tag.gender in p.tag.grammemes]
    if not forms:
        raise NoForm(f"{word} {case} {number}")
    # Of variants («воскресенье», «воскресение») the one that is spelt most like the given word.
    return str(max(forms, key=lambda p: _common_start(p.word, word)).word)


def _common_start(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


@cache
def _noun_parse(word: str, name: bool = False) -> Any:
    parses = [p for p in morph().parse(word) if p.tag.POS == "NOUN" and "nomn" in p.tag and p.word == word.lower()]
    proper = {"Name", "Surn", "Geox", "Patr", "Orgn", "Abbr", "Init"}
    parses.sort(
        key=lambda p: (bool(proper & p.tag.grammemes) != name, "sing" not in p.tag and "Pltm" not in p.tag, -p.score)
    )
    if not parses:
        raise NoForm(f"{word} is not a noun in the nominative")
    return parses[0]


@cache
def noun(text: str, gender: str = "") -> Noun:
    """The noun phrase ``text``, given in the nominative: «ключ», «русский язык», «день рождения», «Иван Петрович»."""
    words = text.split()
    name = text[0].isupper()
    parses: list[Any] = []
    head = None
    for word in words:
        if head is None or (name and word[0].isupper()):
            adjectival = [
                p for p in morph().parse(word) if p.tag.POS == "ADJF" and "nomn" in p.tag and p.word == word.lower()
            ]
            if head is None and adjectival and len(words) > 1:
                parses.append(adjectival[0])
                continue
            parse = _named_parse(word, gender) if name else _noun_parse(word)
            head = head or parse
            parses.append(parse)
        else:
            parses.append(None)
    assert head is not None
    tag = head.tag
    plural_only = "sing" not in tag
    return Noun(text, gender or tag.gender or "masc", "anim" in tag, plural_only, tuple(parses))


def _named_parse(word: str, gender: str) -> Any:
    parses = [p for p in morph().parse(word) if p.tag.POS == "NOUN" and {"nomn", "sing"} <= p.tag.grammemes]
    if gender:
        parses = [p for p in parses if p.tag.gender == gender or "ms-f" in p.tag] or parses
    wanted = {"Name", "Patr", "Geox"}
    parses.sort(key=lambda p: (not wanted & p.tag.grammemes, -p.score))
    return parses[0] if parses else _noun_parse(word, name=True)


@cache
def _adjective_parse(word: str) -> Any:
    for parse in morph().parse(word):
        if parse.tag.POS in {"ADJF", "PRTF"} and {"nomn", "masc", "sing"} <= parse.tag.grammemes:
            return parse
    raise NoForm(f"{word} is not an adjective")


@cache
def _adjective_form(word: str, grammemes: frozenset[str]) -> str:
    parse = _adjective_parse(word)
    forms = [
        form.word
        for form in parse.lexeme
        if form.tag.POS == parse.tag.POS
        and grammemes <= form.tag.grammemes
        and ("Supr" in form.tag) == ("Supr" in parse.tag)
        and not {"V-oy", "V-ey"} & form.tag.grammemes
    ]
    if not forms:
        raise NoForm(f"{word} {set(grammemes)}")
    # The superlatives «лучший» and «наилучший» share a lexeme.
    return str(max(forms, key=lambda form: _common_start(form, word)))


def adjective(text: str, head: Noun, case: str, plural: bool = False) -> str:
    """The adjective(s) ``text`` (masculine nominative) agreeing with ``head`` in gender, number, case and animacy."""
    grammemes = {CASES[case]}
    plural = plural or head.plural_only
    grammemes |= {"plur"} if plural else {"sing", head.gender}
    if case == "acc" and (plural or head.gender == "masc"):
        grammemes |= {"anim" if head.animate else "inan"}
    return " ".join(_adjective_form(word, frozenset(grammemes)) for word in text.split())


@cache
def _verb_parse(infinitive: str) -> Any:
    parses = [p for p in morph().parse(infinitive) if p.tag.POS == "INFN" and p.word == infinitive]
    if not parses:
        raise NoForm(f"{infinitive} is not an infinitive")
    # A homonym may be impersonal; the one with the full paradigm is meant.
    return max(parses, key=lambda p: len(p.lexeme))


def is_perfective(infinitive: str) -> bool:
    """Whether the verb is perfective (no present tense)."""
    return "perf" in _verb_parse(infinitive).tag


@cache
def _verb_form(infinitive: str, grammemes: frozenset[str]) -> str:
    parse = _verb_parse(infinitive)
    for form in parse.lexeme:
        if grammemes <= form.tag.grammemes and form.tag.POS not in {"PRTF", "GRND"} and "V-be" not in form.tag:
            return str(form.word)
    raise NoForm(f"{infinitive} {set(grammemes)}")


@dataclass(frozen=True)
class Agreement:
    """What a verb takes over from its subject: person 1–3, number and, in the past tense, gender."""

    person: int
    plural: bool
    gender: str


NO_FIRST_PERSON = frozenset(lexicon.words("usage.txt")["no_first_person"])
FUTURE_BE = {
    (1, False): "буду",
    (2, False): "будешь",
    (3, False): "будет",
    (1, True): "будем",
    (2, True): "будете",
    (3, True): "будут",
}


def verb(infinitive: str, form: str, subject: Agreement | None = None) -> str:
    """``form`` is ``imp`` (to one), ``imps`` (polite or to many), ``past``, ``pres`` or ``fut``; may raise NoForm."""
    if form in {"imp", "imps"}:
        return _verb_form(infinitive, frozenset({"impr", "plur" if form == "imps" else "sing", "excl"}))
    assert subject is not None
    if form == "past":
        return _verb_form(infinitive, frozenset({"past", "plur" if subject.plural else subject.gender}))
    if infinitive in NO_FIRST_PERSON and subject.person == 1 and not subject.plural:
        raise NoForm(f"{infinitive} is not used in the first person singular")
    person = {f"{subject.person}per", "plur" if subject.plural else "sing"}
    if form == "fut":
        if infinitive == "быть":
            return FUTURE_BE[subject.person, subject.plural]
        if not is_perfective(infinitive):
            return f"{FUTURE_BE[subject.person, subject.plural]} {infinitive}"
        return _verb_form(infinitive, frozenset({"futr", "indc"} | person))
    if is_perfective(infinitive) or infinitive == "быть":
        raise NoForm(f"{infinitive} has no present tense")
    return _verb_form(infinitive, frozenset({"pres", "indc"} | person))


def participle(infinitive: str, subject: Agreement) -> str:
    """Short passive participle: «отменён», «отменена», «отменено», «отменены»."""
    return _verb_form(infinitive, frozenset({"PRTS", "past", "pssv", "plur" if subject.plural else subject.gender}))


# Places that take «на» and «с» where others take «в» and «из».
ON_PLACES = frozenset(lexicon.words("usage.txt")["on_places"])


def place_preposition(preposition: str, place: str) -> str:
    """«в» and «из», or «на» and «с» where the noun ``place`` wants them."""
    return {"в": "на", "из": "с"}.get(preposition, preposition) if place in ON_PLACES else preposition


def with_preposition(preposition: str, phrase: str) -> str:
    """``phrase`` after its preposition in the spelling it needs: «во Франции», «со стола», «об уроке», «ко мне»."""
    low = phrase.lower()
    first, second = low[0], low[1:2]
    consonant = second != "" and second not in VOWELS and second not in "ьъ"
    if preposition == "в" and ((first in "вф" and consonant) or low.startswith(("мне", "двор", "льв"))):
        preposition = "во"
    elif preposition == "с" and (
        (first in "сзшж" and consonant) or low.startswith(("мной", "льв", "щ", "вт", "всем", "всей"))
    ):
        preposition = "со"
    elif preposition == "к" and low.startswith(("мне", "льв", "вт", "вс")):
        preposition = "ко"
    elif preposition == "о" and low.startswith("мне"):
        preposition = "обо"
    elif preposition == "о" and first in "аиоуэ":
        preposition = "об"
    elif preposition in {"над", "перед", "под"} and low.startswith("мной"):
        preposition += "о"
    return f"{preposition} {phrase}"
