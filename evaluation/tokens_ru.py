"""Raw Russian text → tokens that know what they may mean: words, numbers, units, abbreviations.

A token has `words`, its one fixed form (which a reference keeps), and `readings`, what else a hypothesis may mean by
it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from evaluation import numerals_ru, signs_ru
from evaluation.digits_ru import number_readings, roman, said_apart, sayable, short_suffix, written
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
# Day, month and year in digits; a time of day; «100%-ный».
_DATE = re.compile(
    r"(?<![\d.])(?P<day>0?[1-9]|[12]\d|3[01])\.(?P<month>0?[1-9]|1[0-2])\.(?P<year>[12]\d{3})(?![\w.]*\d)"
)
_TIME = re.compile(r"(?<![\d:])(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)(?![\w:]*\d)")
_PERCENTAL = re.compile(r"(?P<digits>\d+)\s?%-?(?P<tail>н[а-яё]{2,3})(?!\w)")
ROMAN = re.compile(r"(?:[IVX]+|[IVXХ]{2,})(?:-(?P<suffix>[а-яё]{1,3}))?(?![\w-])")
_WORD = re.compile(WORD)
_CITY = re.compile(r"г\.(?=\s*[А-ЯЁ])")
_YEAR = re.compile(r"\s*(?P<plural>гг?)(?:\.|(?!\w))", re.IGNORECASE)
_YEAR_WORD = re.compile(r"\s*(?:г(?:од[а-яё]*)?)(?!\w)", re.IGNORECASE)
_CENTURY = re.compile(r"\s*(?P<plural>вв?)\.")
_NAMED_FOR = re.compile(r"(?:им|Им)\.(?=\s*[А-ЯЁA-Z])")
_STREET = re.compile(r"ул\.(?=\s*[А-ЯЁ\d])")


@dataclass(frozen=True)
class Token:
    """`words`: the fixed form; `readings`: a function, because listing them costs time that a reference never needs.

    `number` and `suffix` are set for numbers («23», «3,5»; «го»); `forms` are all inflected forms of a unit's noun;
    `counted` is what the unit after a unit agrees with («тыс.» before «км»); `padded`: written with a leading zero.
    """

    kind: Kind
    words: Reading
    readings: Callable[[], tuple[Reading, ...]] = tuple
    number: str = ""
    suffix: str = ""
    forms: Callable[[], tuple[str, ...]] = tuple
    counted: str = ""
    padded: bool = False


def tokenize(text: str) -> list[Token]:
    """Tokens of NFC text without stress marks, letters in their original case; punctuation is left out."""
    return _Scanner(text).run()


def fold(word: str) -> str:
    return word.lower().replace("ё", "е")


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.end = 0  # of the last token
        self.tokens: list[Token] = []

    def run(self) -> list[Token]:
        while self.at < len(self.text):
            if not (self._unit() or self._special() or self._clock() or self._number() or self._word()):
                self.at += 1
                continue
            self.end = self.at
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
        words = self.tokens[-1 - skip].words if len(self.tokens) > skip else ()
        word = words[-1] if words else ""
        return word if word in signs_ru.PREPOSITIONS else ""

    def _named(self) -> bool:
        words = self.tokens[-1].words if self.tokens else ()
        return bool(words and signs_ru.NAMED.match(words[-1]))

    def _unit(self) -> bool:
        """What follows a number: год, век, %, ₽, км, …; тыс. and кв. may stand between the two."""
        if not self.tokens or self.text[self.end : self.at].strip():
            return False
        last, start = self.tokens[-1], self.at
        if last.kind != "number":
            return bool(last.counted) and self._measure(last.counted)
        if re.fullmatch(r"[12]?\d{3}", last.number) and (match := self._take(_YEAR)):
            year = signs_ru.year_after(self._preposition(1)) if match["plural"].lower() == "г" else "годов"
            self._noun((year,), signs_ru.YEAR_FORMS)
            return True
        if re.fullmatch(r"[123]?\d", last.number) and (match := self._take(_CENTURY)):
            century = signs_ru.century_after(self._preposition(1)) if match["plural"] == "в" else "веков"
            self._noun((century,), signs_ru.CENTURY_FORMS)
            return True
        self.at = start
        return self._measure(last.number)

    def _measure(self, number: str) -> bool:
        """A unit that agrees with `number`."""
        start = self.at
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1
        if match := self._take(signs_ru.POWER_PATTERN):
            for noun in signs_ru.power_of(match):
                self._counted_noun(noun, number)
            return True
        if match := self._take(signs_ru.UNIT_PATTERN):
            noun = signs_ru.unit_of(match)
            # After «тысяч» and after «квадратных» comes another unit: a thousand kilometres, a square metre.
            passed_on = signs_ru.passed_on(noun, number)
            self._counted_noun(noun, number, passed_on)
            return True
        self.at = start
        return False

    def _counted_noun(self, noun: signs_ru.Noun, number: str, counted: str = "") -> None:
        self._noun(noun.after(number), lambda: signs_ru.noun_forms(noun), noun.tail, counted)

    def _noun(
        self,
        words: Reading,
        forms: tuple[str, ...] | Callable[[], tuple[str, ...]],
        tail: Reading = (),
        counted: str = "",
    ) -> None:
        list_forms = forms if callable(forms) else lambda: forms
        readings = lambda: tuple((form, *tail) for form in list_forms())  # noqa: E731
        self.tokens.append(Token("unit", words, readings, forms=list_forms, counted=counted))

    def _clock(self) -> bool:
        """A date («23.05.2023»), a time («9:05») or «100%-ный»."""
        if not self._starts_word():
            return False
        if match := self._take(_DATE):
            self._digits(match["day"])
            month = signs_ru.MONTHS[int(match["month"]) - 1]
            self.tokens.append(Token("word", (month,), partial(number_readings, match["month"], "")))
            self._digits(match["year"])
            if not _YEAR_WORD.match(self.text, self.at):
                self._optional(("года",), signs_ru.YEAR_FORMS)
        elif match := self._take(_TIME):
            hour, minute = match["hour"], match["minute"]
            self._digits(hour)
            if minute == "00":
                self._optional(signs_ru.HOUR.after(hour), signs_ru.noun_forms(signs_ru.HOUR), (("ноль", "ноль"),))
            else:
                self._optional((), signs_ru.noun_forms(signs_ru.HOUR))
                self._digits(minute)
                self._optional((), signs_ru.noun_forms(signs_ru.MINUTE))
        elif match := self._take(_PERCENTAL):
            self.tokens.append(compound_token(match["digits"], "процент" + fold(match["tail"])))
        else:
            return False
        return True

    def _digits(self, digits: str) -> None:
        self.tokens.append(number_token(digits, ""))

    def _optional(self, words: Reading, forms: tuple[str, ...], others: tuple[Reading, ...] = ()) -> None:
        """A noun that those who say a date or a time may leave out."""
        readings = ((), *((form,) for form in forms), *others)
        self.tokens.append(Token("unit", words, lambda: readings, forms=lambda: forms))

    def _special(self) -> bool:
        if not self._starts_word():
            return False
        if self._take(_CITY):
            self._noun((signs_ru.city_after(self._preposition(0)),), signs_ru.CITY_FORMS)
        elif self._take(_STREET):
            self._noun((signs_ru.street_after(self._preposition(0)),), signs_ru.STREET_FORMS)
        elif self._named() and self._take(_NAMED_FOR):
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


def number_token(number: str, suffix: str, groups: Sequence[str] = ()) -> Token:
    """A number; `groups` are its parts when it was written with spaces, which may have been spoken one by one."""
    zeros = len(number) - len(number.lstrip("0")) if number.isdecimal() and number.strip("0") else 0

    def readings() -> tuple[Reading, ...]:
        said = number_readings(number, suffix)
        padded = tuple((*("ноль",) * zeros, *reading) for reading in said) if zeros else ()
        return (*said, *padded, *said_apart(groups))

    return Token("number", (written(number, suffix),), readings, written(number, ""), suffix, padded=zeros > 0)


def compound_token(number: str, tail: str) -> Token:
    """«23-летний», said as one word."""
    known = sayable(number) and int(number) > 0
    joined = numerals_ru.compound_stem(int(number)) + tail if known else number + tail
    return Token("number", (f"{written(number, '')}-{tail}",), lambda: ((joined,),), forms=lambda: (joined,))
