"""Raw Russian text → tokens that know what they may mean: words, numbers, units, abbreviations.

A token has `words`, its one fixed form (which a reference keeps), and `readings`, what else a hypothesis may mean by
it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from evaluation import numerals_ru, signs_ru
from evaluation.numerals_ru import Reading

Kind = Literal["word", "number", "unit", "abbreviation"]

# Combining marks other than the stress marks stay inside words.
WORD = r"(?:[^\W_]|[\u0302-\u036f])+"
_GROUPED = r"\d{1,3}(?:[ \u00a0\u2009\u202f']\d{3})+(?!\d)"
_SUFFIX = (
    r"(?:[-\u2010\u2011\u2013](?P<suffix>[а-яё]{1,3})(?![\w-])"
    r"|(?P<bare>й|го|му|я|ю|е|х|ый|ой|ая|ое|ого|ому|ых|ые)(?!\w))"
)
NUMBER = re.compile(
    rf"(?P<digits>{_GROUPED}|\d+)(?:(?P<point>[.,])(?P<fraction>\d+)(?![\d.,]*[.,]?\d))?"
    rf"(?:{_SUFFIX}|[-\u2010\u2011](?P<compound>[а-яё]{{4,}})(?!\w))?",
    re.IGNORECASE,
)
ROMAN = re.compile(r"(?:[IVX]+|[IVXХ]{2,})(?:-(?P<suffix>[а-яё]{1,3}))?(?![\w-])")
_WORD = re.compile(WORD)
_CITY = re.compile(r"г\.(?=\s*[А-ЯЁ])")
_YEAR = re.compile(r"\s*(?P<plural>гг?)(?:\.|(?!\w))", re.IGNORECASE)
_CENTURY = re.compile(r"\s*(?P<plural>вв?)\.")
_NAMED_FOR = re.compile(r"(?:им|Им)\.(?=\s*[А-ЯЁA-Z])")
_STREET = re.compile(r"ул\.(?=\s*[А-ЯЁ\d])")
_SHORT_SUFFIX = {
    "ый": "й", "ой": "й", "ий": "й", "ого": "го", "его": "го", "ому": "му", "ему": "му", "ым": "м", "им": "м",
    "ом": "м", "ем": "м", "ая": "я", "ья": "я", "ое": "е", "ье": "е", "ые": "е", "ую": "ю", "ью": "ю",
    "ых": "х", "их": "х",
    "ыми": "ми", "ими": "ми",
}  # fmt: skip


@dataclass(frozen=True)
class Token:
    """`words`: the fixed form; `readings`: a function, because listing them costs time that a reference never needs.

    `number` and `suffix` are set for numbers («23», «3,5»; «го»); `forms` are all inflected forms of a unit's noun.
    """

    kind: Kind
    words: Reading
    readings: Callable[[], tuple[Reading, ...]] = tuple
    number: str = ""
    suffix: str = ""
    forms: Callable[[], tuple[str, ...]] = tuple


def tokenize(text: str) -> list[Token]:
    """Tokens of NFC text without stress marks, letters in their original case; punctuation is left out."""
    return _Scanner(text).run()


def fold(word: str) -> str:
    return word.lower().replace("ё", "е")


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.tokens: list[Token] = []

    def run(self) -> list[Token]:
        while self.at < len(self.text):
            if not (self._unit() or self._special() or self._number() or self._word()):
                self.at += 1
        return self.tokens

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self.text, self.at)
        if match and match.end() > self.at:
            self.at = match.end()
            return match
        return None

    def _starts_word(self) -> bool:
        before = self.text[self.at - 1 : self.at]
        return not (before.isalnum() or before == "_")

    def _preposition(self, skip: int) -> str:
        """The preposition before the last `skip` tokens, or nothing."""
        word = self.tokens[-1 - skip].words[-1] if len(self.tokens) > skip else ""
        return word if word in signs_ru.PREPOSITIONS else ""

    def _unit(self) -> bool:
        """What follows a number: год, век, %, ₽, км, …"""
        if not self.tokens or self.tokens[-1].kind != "number":
            return False
        last, start = self.tokens[-1], self.at
        if re.fullmatch(r"[12]?\d{3}", last.number) and (match := self._take(_YEAR)):
            year = signs_ru.year_after(self._preposition(1)) if match["plural"].lower() == "г" else "годов"
            self._noun((year,), signs_ru.YEAR_FORMS)
            return True
        if last.number.isdecimal() and int(last.number) < 40 and (match := self._take(_CENTURY)):
            century = signs_ru.century_after(self._preposition(1)) if match["plural"] == "в" else "веков"
            self._noun((century,), signs_ru.CENTURY_FORMS)
            return True
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1
        if match := self._take(signs_ru.UNIT_PATTERN):
            noun = signs_ru.unit_of(match)
            self._noun(noun.after(last.number), lambda: signs_ru.noun_forms(noun), noun.tail)
            return True
        self.at = start
        return False

    def _noun(
        self,
        words: Reading,
        forms: tuple[str, ...] | Callable[[], tuple[str, ...]],
        tail: Reading = (),
    ) -> None:
        list_forms = forms if callable(forms) else lambda: forms
        self.tokens.append(
            Token("unit", words, lambda: tuple((form, *tail) for form in list_forms()), forms=list_forms)
        )

    def _special(self) -> bool:
        if not self._starts_word():
            return False
        if self._take(_CITY):
            self._noun((signs_ru.city_after(self._preposition(0)),), signs_ru.CITY_FORMS)
        elif self._take(_STREET):
            self._noun((signs_ru.street_after(self._preposition(0)),), signs_ru.STREET_FORMS)
        elif self.tokens and signs_ru.NAMED.match(self.tokens[-1].words[-1]) and self._take(_NAMED_FOR):
            self.tokens.append(Token("abbreviation", ("имени",)))
        elif match := self._take(signs_ru.ABBREVIATION_PATTERN):
            words, readings = signs_ru.abbreviation_of(match)
            forms = tuple(reading[-1] for reading in (words, *readings))
            self.tokens.append(Token("abbreviation", words, lambda: readings, forms=lambda: forms if readings else ()))
        elif self.text[self.at] in signs_ru.CURRENCY_BEFORE and self.text[self.at + 1 : self.at + 2].isdecimal():
            noun = signs_ru.CURRENCY_BEFORE[self.text[self.at]]
            self.at += 1
            self._number()
            self._noun(noun.after(self.tokens[-1].number), lambda: signs_ru.noun_forms(noun))
        elif match := self._take(ROMAN):
            number = roman(match.group().split("-")[0])
            if number is None:
                self.at = match.start()
                return False
            self.tokens.append(number_token(str(number), short_suffix(match["suffix"] or "")))
        else:
            return False
        return True

    def _number(self) -> bool:
        if not (self._starts_word() and (match := self._take(NUMBER))):
            return False
        groups = re.split(r"\D", match["digits"])
        if match["compound"]:
            self.tokens.append(compound_token("".join(groups), fold(match["compound"])))
            return True
        number = "".join(groups)
        if match["fraction"]:
            number += f",{match['fraction']}"
        suffix = short_suffix(fold(match["suffix"] or match["bare"] or ""))
        self.tokens.append(number_token(number, suffix, groups if not match["fraction"] else ()))
        return True

    def _word(self) -> bool:
        match = self._take(_WORD)
        if match:
            self.tokens.append(Token("word", (fold(match.group()),)))
        return bool(match)


def short_suffix(suffix: str) -> str:
    """«23-ого» is written «23-го»: the ending after the last vowel or й (ГОСТ Р 7.0.97, rules of numerals)."""
    return _SHORT_SUFFIX.get(suffix, suffix)


def written(number: str, suffix: str) -> str:
    """A number as one comparable word: «23», «3,5», «23-го»; leading zeros go."""
    whole, _, fraction = number.partition(",")
    plain = str(int(whole)) + (f",{fraction}" if fraction else "")
    return f"{plain}-{suffix}" if suffix else plain


def number_token(number: str, suffix: str, groups: list[str] | tuple[str, ...] = ()) -> Token:
    """A number; `groups` are its parts when it was written with spaces, which may have been spoken one by one."""

    def readings() -> tuple[Reading, ...]:
        return (*number_readings(number, suffix), *_apart(list(groups)))

    return Token("number", (written(number, suffix),), readings, written(number, ""), suffix)


def number_readings(number: str, suffix: str) -> tuple[Reading, ...]:
    """All ways to say a number; with a suffix those that end so."""
    whole, _, fraction = number.partition(",")
    if int(whole) > numerals_ru.LARGEST or len(fraction) > 4:
        return ()
    if fraction:
        apart = [(*w, *f) for w in numerals_ru.cardinals(int(whole)) for f in numerals_ru.cardinals(int(fraction))]
        return (*numerals_ru.decimals(int(whole), fraction), *(apart if len(fraction) == 2 else ()))
    spoken = numerals_ru.cardinals(int(whole)) + numerals_ru.ordinals(int(whole))
    fitting = tuple(reading for reading in spoken if reading[-1].endswith(suffix)) or spoken
    return fitting + _mixed(int(whole))


def _mixed(value: int) -> tuple[Reading, ...]:
    """«2000000» is also «2 миллиона»."""
    for scale, forms in ((10**9, "миллиард миллиарда миллиардов"), (10**6, "миллион миллиона миллионов"),
                         (10**3, "тысяча тысячи тысяч")):  # fmt: skip
        if value and value % scale == 0:
            return tuple((str(value // scale), form) for form in forms.split())
    return ()


def _apart(groups: list[str]) -> tuple[Reading, ...]:
    """«8 800 555» said group by group, nominative."""
    if len(groups) < 2:
        return ()
    return (tuple(word for group in groups for word in numerals_ru.cardinals(int(group))[0]), tuple(groups))


def compound_token(number: str, tail: str) -> Token:
    """«23-летний», said as one word."""
    joined = numerals_ru.compound_stem(int(number)) + tail if 0 < int(number) <= numerals_ru.LARGEST else number + tail
    return Token("number", (f"{int(number)}-{tail}",), lambda: ((joined,),), forms=lambda: (joined,))


def roman(letters: str) -> int | None:
    """The value of a Roman numeral up to 39 (longer ones look like words: CD, MIX), None if it is not one."""
    total, text = 0, letters.replace("Х", "X").upper()
    for ten in range(4):
        for unit, form in enumerate(("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")):
            if "X" * ten + form == text:
                total = ten * 10 + unit
    return total or None
