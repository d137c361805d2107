"""Numbers in words, agreeing with what they count."""

import random
import re
from functools import cache

from num2words import num2words

from demo.text import lexicon
from demo.text.cleaning import morph, restore_yo
from demo.text.inflect import NoForm, adjective, noun

# kind: smallest, largest, step, what is counted (a noun, or a class of nouns.txt)
QUANTITIES = {
    "rub": (10, 3000, 10, "рубль"),
    "km": (2, 900, 1, "километр"),
    "cm": (2, 40, 1, "сантиметр"),
    "hours": (2, 24, 1, "час"),
    "minutes": (2, 55, 1, "минута"),
    "degree": (1, 35, 1, "градус"),
    "percent": (2, 99, 1, "процент"),
    "age": (3, 90, 1, "год"),
    "emp": (2, 60, 1, "сотрудник"),
    "people": (2, 900, 1, "тысяча"),
    "money": (2, 900, 1, "миллион"),
    "thing": (2, 12, 1, "thing"),
    "countable": (2, 25, 1, "countable"),
    "plural": (5, 99, 1, "plural"),
}
# Kinds that the templates use as the object of «стоит», «составляет», «идти» and the like.
ACCUSATIVE = frozenset({"rub", "km", "cm", "hours", "minutes", "percent", "people", "money"})
_GENDERED = {
    "один": {"masc": "один", "femn": "одна", "neut": "одно"},
    "два": {"masc": "два", "femn": "две", "neut": "два"},
}
_COUNT_GENITIVE = {"человек": "человек", "год": "лет", "ребёнок": "детей"}


@cache
def cardinal(number: int, gender: str = "masc") -> str:
    """``number`` in words, nominative: «двадцать одна» for a feminine noun."""
    words = [restore_yo(word) for word in num2words(number, lang="ru").split()]
    words[-1] = _GENDERED.get(words[-1], {}).get(gender, words[-1])
    if words[0] in {"один", "одна"} and len(words) > 1 and words[1].startswith("тысяч"):
        words = words[1:]
    return " ".join(words)


@cache
def counted(number: int, text: str, case: str = "nom") -> str:
    """``number`` with its inanimate noun in ``nom`` or ``acc``: «два часа», «двадцать одна (одну) минута (минуту)»."""
    entry = noun(text)
    if entry.plural_only:
        raise NoForm(f"{text} is counted with collective numerals only")
    last, teens = number % 10, 11 <= number % 100 <= 14
    if last == 1 and not teens:
        form = entry.form(case)
    elif 2 <= last <= 4 and not teens:
        form = entry.form("gen")
    else:
        form = _COUNT_GENITIVE.get(text) or entry.form("gen", plural=True)
    words = cardinal(number, entry.gender)
    if case == "acc":
        words = re.sub(r"\bодна\b", "одну", re.sub(r"\bтысяча\b", "тысячу", words))
    return f"{words} {form}"


def quantity(kind: str, draw: random.Random) -> str:
    """A random quantity; ``gen_degree`` and ``gen_metre`` are in the genitive («до десяти градусов»)."""
    if kind in {"gen_degree", "gen_metre"}:
        return genitive(draw.randint(5, 20), "градусов" if kind == "gen_degree" else "метров")
    low, high, step, what = QUANTITIES[kind]
    number = draw.randrange(low, high + 1, step)
    if kind == "plural":
        return f"{cardinal(number - number % 10 + 5)} {draw.choice(_PEOPLE)}"
    words = lexicon.words("nouns.txt").get(what)
    text = counted(number, draw.choice(words) if words else what, "acc" if kind in ACCUSATIVE else "nom")
    return f"{text} {'рублей' if kind == 'money' else 'человек'}" if kind in {"money", "people"} else text


_PEOPLE = (
    "учеников",
    "студентов",
    "жителей",
    "врачей",
    "туристов",
    "зрителей",
    "учёных",
    "спортсменов",
    "гостей",
    "человек",
)


@cache
def _word_genitive(word: str) -> str:
    for parse in morph().parse(word):
        if parse.tag.POS == "NUMR" and "nomn" in parse.tag:
            form = parse.inflect({"gent"})
            if form:
                return str(form.word)
    raise NoForm(word)


def genitive(number: int, unit: str) -> str:
    """Number and unit in the genitive: «десяти градусов»."""
    return " ".join(_word_genitive(word) for word in cardinal(number).split()) + f" {unit}"


@cache
def ordinal(number: int, case: str = "nom", gender: str = "masc") -> str:
    """Ordinal in words with its last word inflected: «двадцать пятом»."""
    *head, last = [restore_yo(word) for word in num2words(number, lang="ru", to="ordinal").split()]
    class_noun = {"masc": "день", "femn": "минута", "neut": "число"}[gender]
    return " ".join([*head, adjective(last, noun(class_noun), case)])


_DAYS = {"январь": 31, "февраль": 28, "апрель": 30, "июнь": 30, "сентябрь": 30, "ноябрь": 30}


def date(draw: random.Random) -> str:
    """«двенадцатого мая»."""
    month = draw.choice(lexicon.words("nouns.txt")["month"])
    return f"{ordinal(draw.randint(1, _DAYS.get(month, 31)), 'gen', 'neut')} {noun(month).form('gen')}"


def hour(draw: random.Random) -> str:
    """«семь часов вечера»."""
    number = draw.randint(1, 12)
    part = (
        "ночи"
        if number < 4 and draw.random() < 0.3
        else draw.choice(("дня",) if number in {12, 1, 2, 3} else ("утра", "вечера"))
    )
    if number in {4, 12}:
        part = "дня"
    text = "час" if number == 1 else counted(number, "час")
    return f"{text} {part}" if draw.random() < 0.5 else text


def clock(draw: random.Random) -> str:
    """«в семь часов утра», «в половине пятого», «в пятнадцать минут шестого», «без десяти восемь»."""
    kind = draw.random()
    if kind < 0.5:
        return f"в {hour(draw)}"
    following = ordinal(draw.randint(1, 12), "gen")
    if kind < 0.7:
        return f"в половине {following}"
    if kind < 0.85:
        return f"в {counted(draw.randrange(5, 30, 5), 'минута')} {following}"
    left = draw.choice(("пяти", "десяти", "четверти", "двадцати"))
    return f"без {left} {cardinal(draw.randint(2, 12))}"


def hour_genitive(draw: random.Random) -> str:
    """«девяти часов» or «девяти»."""
    text = _word_genitive(cardinal(draw.randint(5, 12)))
    return f"{text} часов" if draw.random() < 0.5 else text
