"""Russian numerals: every way to say a number.

All words are lower case with е for ё, as level L2 compares them. Declension after Русская грамматика (1980), §§
1366–1383.
"""

from functools import lru_cache
from itertools import product

CASES = ("nomn", "gent", "datv", "accs", "ablt", "loct")
Reading = tuple[str, ...]
LARGEST = 10**12 - 1  # what is longer is read digit by digit by nobody, and stays as written


def _declined(*forms: str) -> tuple[tuple[str, ...], ...]:
    """Forms in the order of CASES; variants of one case are separated by «/»."""
    return tuple(tuple(form.split("/")) for form in forms)


def _third(nominative: str, stem: str) -> tuple[tuple[str, ...], ...]:
    return _declined(nominative, f"{stem}и", f"{stem}и", nominative, f"{nominative}ю", f"{stem}и")


# Value → forms by case; for one and two the genders are variants.
CARDINALS: dict[int, tuple[tuple[str, ...], ...]] = {
    0: _declined("ноль/нуль", "ноля/нуля", "нолю/нулю", "ноль/нуль", "нолем/нулем", "ноле/нуле"),
    1: _declined(
        "один/одна/одно/одни", "одного/одной/одних", "одному/одной/одним", "один/одну/одно/одного/одни/одних",
        "одним/одной/одною/одними", "одном/одной/одних",
    ),
    2: _declined("два/две", "двух", "двум", "два/две/двух", "двумя", "двух"),
    3: _declined("три", "трех", "трем", "три/трех", "тремя", "трех"),
    4: _declined("четыре", "четырех", "четырем", "четыре/четырех", "четырьмя", "четырех"),
    8: _declined("восемь", "восьми", "восьми", "восемь", "восемью/восьмью", "восьми"),
    40: _declined("сорок", "сорока", "сорока", "сорок", "сорока", "сорока"),
    90: _declined("девяносто", "девяноста", "девяноста", "девяносто", "девяноста", "девяноста"),
    100: _declined("сто", "ста", "ста", "сто", "ста", "ста"),
    80: _declined(
        "восемьдесят", "восьмидесяти", "восьмидесяти", "восемьдесят", "восемьюдесятью/восьмьюдесятью", "восьмидесяти"
    ),
    200: _declined("двести", "двухсот", "двумстам", "двести", "двумястами", "двухстах"),
    300: _declined("триста", "трехсот", "тремстам", "триста", "тремястами", "трехстах"),
    400: _declined("четыреста", "четырехсот", "четыремстам", "четыреста", "четырьмястами", "четырехстах"),
    800: _declined("восемьсот", "восьмисот", "восьмистам", "восемьсот", "восемьюстами/восьмьюстами", "восьмистах"),
}  # fmt: skip
for _value, _word in {
    5: "пять", 6: "шесть", 7: "семь", 9: "девять", 10: "десять", 11: "одиннадцать", 12: "двенадцать", 13: "тринадцать",
    14: "четырнадцать", 15: "пятнадцать", 16: "шестнадцать", 17: "семнадцать", 18: "восемнадцать", 19: "девятнадцать",
    20: "двадцать", 30: "тридцать",
}.items():  # fmt: skip
    CARDINALS[_value] = _third(_word, _word[:-1])
for _value, _word in {5: "пят", 6: "шест", 7: "сем", 9: "девят"}.items():
    _many, _tens = f"{_word}ьсот", f"{_word}ьдесят"
    CARDINALS[_value * 100] = _declined(
        _many, f"{_word}исот", f"{_word}истам", _many, f"{_word}ьюстами", f"{_word}истах"
    )
    if _value != 9:
        _oblique = f"{_word}идесяти"
        CARDINALS[_value * 10] = _declined(_tens, _oblique, _oblique, _tens, f"{_word}ьюдесятью", _oblique)

# Value → (singular by case, plural by case).
SCALES: dict[int, tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]] = {
    1_000: (
        _declined("тысяча", "тысячи", "тысяче", "тысячу", "тысячей/тысячью", "тысяче"),
        _declined("тысячи", "тысяч", "тысячам", "тысячи", "тысячами", "тысячах"),
    )
}
for _value, _word in {10**6: "миллион", 10**9: "миллиард"}.items():
    SCALES[_value] = (
        _declined(_word, f"{_word}а", f"{_word}у", _word, f"{_word}ом", f"{_word}е"),
        _declined(f"{_word}ы", f"{_word}ов", f"{_word}ам", f"{_word}ы", f"{_word}ами", f"{_word}ах"),
    )

# (before a feminine scale word, value) → forms by case: «две тысячи», «два миллиона».
_COUNTING = {
    (True, 1): ("одна", "одной", "одной", "одну", "одной", "одной"),
    (False, 1): ("один", "одного", "одному", "один", "одним", "одном"),
    (True, 2): ("две", "двух", "двум", "две", "двумя", "двух"),
    (False, 2): ("два", "двух", "двум", "два", "двумя", "двух"),
}

COLLECTIVE = {
    2: "двое двоих двоим двоими", 3: "трое троих троим троими", 4: "четверо четверых четверым четверыми",
    5: "пятеро пятерых пятерым пятерыми", 6: "шестеро шестерых шестерым шестерыми",
    7: "семеро семерых семерым семерыми",
}  # fmt: skip

ORDINAL_STEMS = {
    1: "первый", 2: "второй", 4: "четвертый", 5: "пятый", 6: "шестой", 7: "седьмой", 8: "восьмой", 9: "девятый",
    10: "десятый", 11: "одиннадцатый", 12: "двенадцатый", 13: "тринадцатый", 14: "четырнадцатый", 15: "пятнадцатый",
    16: "шестнадцатый", 17: "семнадцатый", 18: "восемнадцатый", 19: "девятнадцатый", 20: "двадцатый", 30: "тридцатый",
    40: "сороковой", 50: "пятидесятый", 60: "шестидесятый", 70: "семидесятый", 80: "восьмидесятый", 90: "девяностый",
    100: "сотый", 200: "двухсотый", 300: "трехсотый", 400: "четырехсотый", 500: "пятисотый", 600: "шестисотый",
    700: "семисотый", 800: "восьмисотый", 900: "девятисотый", 0: "нулевой",
}  # fmt: skip
_ENDINGS = ("ого", "ому", "ым", "ом", "ая", "ой", "ую", "ое", "ые", "ых", "ыми")
_THIRD = tuple(
    f"трет{ending}" for ending in
    ("ий", "ьего", "ьему", "ьим", "ьем", "ья", "ьей", "ью", "ье", "ьи", "ьих", "ьими")
)  # fmt: skip


def adjective_forms(nominative: str) -> tuple[str, ...]:
    """All forms of a hard adjective in -ый or -ой, the nominative first."""
    return (nominative, *(nominative[:-2] + ending for ending in _ENDINGS))


def ordinal_forms(value: int) -> tuple[str, ...]:
    """All forms of a one-word ordinal (value as in the tables), the masculine nominative first."""
    return _THIRD if value == 3 else adjective_forms(ORDINAL_STEMS[value])


def _digits_of(value: int) -> list[int]:
    """The table values that add up to 0 < value < 1000: 523 → 500, 20, 3."""
    hundreds, rest = value // 100 * 100, value % 100
    parts = [hundreds] if hundreds else []
    if rest >= 20:
        parts.append(rest // 10 * 10)
        rest %= 10
    return [*parts, rest] if rest else parts


def _scale_groups(value: int) -> list[tuple[int, int]]:
    """(count, scale) from billions down to units, zero counts left out."""
    return [(value // scale % 1000, scale) for scale in (10**9, 10**6, 10**3, 1) if value // scale % 1000]


def plural_kind(count: int) -> int:
    """0 for one (1, 21, …), 1 for few (2–4, 22–24, …), 2 for many (0, 5–20, …)."""
    if 10 < count % 100 < 20:
        return 2
    return {1: 0, 2: 1, 3: 1, 4: 1}.get(count % 10, 2)


def _scale_word(count: int, scale: int, case: int) -> tuple[str, ...]:
    singular, plural = SCALES[scale]
    kind = plural_kind(count)
    if kind == 0:
        return singular[case]
    if CASES[case] in {"nomn", "accs"}:
        return singular[1] if kind == 1 else plural[1]
    return plural[case]


def _cardinals_in(value: int, case: int) -> list[Reading]:
    if value == 0:
        return [(form,) for form in CARDINALS[0][case]]
    choices: list[tuple[Reading, ...]] = []
    for count, scale in _scale_groups(value):
        spoken = [CARDINALS[part][case] for part in _digits_of(count)]
        if scale > 1 and count % 100 not in {11, 12} and count % 10 in {1, 2}:
            spoken[-1] = (_COUNTING[scale == 1_000, count % 10][case],)
        if scale == 1:
            choices += [tuple((form,) for form in forms) for forms in spoken]
            continue
        names = _scale_word(count, scale, case)
        counted = [(*said, name) for said in product(*spoken) for name in names]
        # People say «тысяча» where a grammar book says «одна тысяча».
        choices.append((*((name,) for name in names if count == 1), *counted))
    return [sum(said, ()) for said in product(*choices)]


@lru_cache(maxsize=4096)
def cardinals(value: int) -> tuple[Reading, ...]:
    """Every form of the cardinal of 0 ≤ value ≤ LARGEST, nominative first; collectives (двое) last."""
    readings = [reading for case in range(len(CASES)) for reading in _cardinals_in(value, case)]
    readings += [(form,) for form in COLLECTIVE.get(value, "").split()]
    return tuple(dict.fromkeys(readings))


@lru_cache(maxsize=4096)
def ordinals(value: int) -> tuple[Reading, ...]:
    """Every form of the ordinal: only the last word declines («две тысячи двадцать третьего»)."""
    if value == 0:
        return tuple((form,) for form in ordinal_forms(0))
    count, scale = _scale_groups(value)[-1]
    before = value - count * scale
    if scale == 1:
        last = _digits_of(count)[-1]
        before, forms = value - last, ordinal_forms(last)
    else:
        name = SCALES[scale][0][0][0]
        stem = {1_000: "тысячн"}.get(scale, f"{name}н")
        forms = adjective_forms(("" if count == 1 else compound_stem(count)) + stem + "ый")
    heads = _cardinals_in(before, 0) if before else [()]
    return tuple(dict.fromkeys((*head, form) for head in heads for form in forms))


def compound_stem(value: int) -> str:
    """The number as the first part of a compound word: 23 → «двадцатитрех»(летний); 40, 90 and 100 keep their form."""
    if value >= 1000:
        count, scale = _scale_groups(value)[0]
        rest = value - count * scale
        scale_name = {1_000: "тысяче", 10**6: "миллионно", 10**9: "миллиардно"}[scale]
        return ("" if count == 1 else compound_stem(count)) + scale_name + (compound_stem(rest) if rest else "")
    special = {1: "одно", 40: "сорока", 90: "девяносто", 100: "сто"}
    return "".join(special.get(part, CARDINALS[part][1][0]) for part in _digits_of(value))


FRACTIONS = {1: "десятая", 2: "сотая", 3: "тысячная"}


@lru_cache(maxsize=1024)
def decimals(whole: int, fraction: str) -> tuple[Reading, ...]:
    """Ways to say «3,5»: три с половиной, три и пять (десятых), три целых пять десятых, три запятая пять, три пять."""
    tail = int(fraction)
    readings: list[Reading] = []
    for case in (0, 1):
        heads, tails = _cardinals_in(whole, case), _cardinals_in(tail, case)
        if fraction == "5":
            readings += [(*head, "с", "половиной") for head in heads]
        parts: list[Reading] = [
            (),
            ("и",),
            ("целых",),
            ("целая",),
            ("целых", "и"),
            ("целая", "и"),
            ("запятая",),
            ("точка",),
        ]
        ends: list[Reading] = [()]
        if len(fraction) in FRACTIONS:
            name = FRACTIONS[len(fraction)][:-2]
            ends += [(name + "ых",), (name + "ая",)]
        readings += [(*h, *part, *t, *end) for h in heads for part in parts for t in tails for end in ends]
    if (whole, fraction) == (1, "5"):
        readings += [("полтора",), ("полторы",), ("полутора",)]
    if (whole, fraction) == (0, "5"):
        readings += [("половина",), ("половину",), ("половины",), ("пол",)]
    return tuple(dict.fromkeys(readings))
