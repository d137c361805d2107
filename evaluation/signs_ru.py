"""Signs and abbreviations of Russian writing, and the words that they stand for.

Two kinds. A *unit* (%, ₽, руб., км) follows a number and agrees with it. An *abbreviation* (т. е., г., им.) stands by
itself. Both have one fixed way to be written out, which is used for a reference, and a set of inflected forms, any of
which a hypothesis may mean by it.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from evaluation.numerals_ru import adjective_forms, plural_kind


@dataclass(frozen=True)
class Noun:
    """one / few / many: «рубль, рубля, рублей»; `tail` are words that follow unchanged («в час»)."""

    one: str
    few: str
    many: str
    tail: tuple[str, ...] = ()

    def after(self, number: str) -> tuple[str, ...]:
        """The noun after a number as written («5», «3,5»): many, few and one, and the singular genitive for
        fractions."""
        if "," in number:
            return (self.few, *self.tail)
        return ((self.one, self.few, self.many)[plural_kind(int(number[-2:]))], *self.tail)


def _noun(forms: str, tail: str = "") -> Noun:
    one, few, many = forms.split()
    return Noun(one, few, many, tuple(tail.split()))


# Pattern (after a number, in any case of letters unless it begins with (?-i:)) → the noun.
UNITS: dict[str, Noun] = {
    r"%": _noun("процент процента процентов"),
    r"‰": _noun("промилле промилле промилле"),
    r"₽|руб\.?(?!\w)|(?-i:р\.)": _noun("рубль рубля рублей"),
    r"коп\.?(?!\w)": _noun("копейка копейки копеек"),
    r"\$": _noun("доллар доллара долларов"),
    r"€": _noun("евро евро евро"),
    r"£": _noun("фунт фунта фунтов"),
    r"°\s?[CС](?!\w)": _noun("градус градуса градусов", "цельсия"),
    r"°": _noun("градус градуса градусов"),
    r"тыс\.?(?!\w)": _noun("тысяча тысячи тысяч"),
    r"млн\.?(?!\w)": _noun("миллион миллиона миллионов"),
    r"млрд\.?(?!\w)": _noun("миллиард миллиарда миллиардов"),
    r"трлн\.?(?!\w)": _noun("триллион триллиона триллионов"),
    r"км/ч(?!\w)": _noun("километр километра километров", "в час"),
    r"м/с(?!\w)": _noun("метр метра метров", "в секунду"),
    r"кг\.?(?!\w)": _noun("килограмм килограмма килограммов"),
    r"мг\.?(?!\w)": _noun("миллиграмм миллиграмма миллиграммов"),
    r"км\.?(?!\w)": _noun("километр километра километров"),
    r"см\.?(?!\w)": _noun("сантиметр сантиметра сантиметров"),
    r"мм\.?(?!\w)": _noun("миллиметр миллиметра миллиметров"),
    r"(?-i:м)(?!\w)\.?": _noun("метр метра метров"),
    r"(?-i:т)(?!\w|\.\s*[екндпо]\.)\.?": _noun("тонна тонны тонн"),
    r"кв\.(?=\s*[ксдм])": _noun("квадратный квадратных квадратных"),
    r"куб\.(?=\s*[ксдм])": _noun("кубический кубических кубических"),
    r"мл\.?(?!\w)": _noun("миллилитр миллилитра миллилитров"),
    r"(?-i:л)(?!\w)\.?": _noun("литр литра литров"),
    r"(?-i:га)(?!\w)\.?": _noun("гектар гектара гектаров"),
    r"(?-i:кВт)(?!\w)": _noun("киловатт киловатта киловатт"),
    r"(?-i:ГБ|Гб|GB)(?!\w)": _noun("гигабайт гигабайта гигабайт"),
    r"(?-i:МБ|Мб|MB)(?!\w)": _noun("мегабайт мегабайта мегабайт"),
    r"мин(?!\w)\.?": _noun("минута минуты минут"),
    r"сек(?!\w)\.?": _noun("секунда секунды секунд"),
    r"(?-i:ч)(?!\w)\.?": _noun("час часа часов"),
    r"шт(?!\w)\.?": _noun("штука штуки штук"),
    r"чел(?!\w)\.?": _noun("человек человека человек"),
    r"(?-i:г)\.?(?!\w)": _noun("грамм грамма граммов"),
}
CURRENCY_BEFORE = {"$": UNITS[r"\$"], "€": UNITS["€"], "£": UNITS["£"], "₽": UNITS[r"₽|руб\.?(?!\w)|(?-i:р\.)"]}
HOUR, MINUTE = UNITS[r"(?-i:ч)(?!\w)\.?"], UNITS[r"мин(?!\w)\.?"]
# «м²» is two words.
_SQUARE, _CUBIC = UNITS[r"кв\.(?=\s*[ксдм])"], UNITS[r"куб\.(?=\s*[ксдм])"]
_POWERS = {"²": _SQUARE, "2": _SQUARE, "³": _CUBIC, "3": _CUBIC}
_LENGTHS = {"м": UNITS[r"(?-i:м)(?!\w)\.?"], "км": UNITS[r"км\.?(?!\w)"], "см": UNITS[r"см\.?(?!\w)"]}
POWER_PATTERN = re.compile(r"(?P<length>[кс]?м)(?P<power>[²³23])(?!\w)")
UNIT_PATTERN = re.compile("|".join(f"({pattern})" for pattern in UNITS), re.IGNORECASE)
_NOUNS = tuple(UNITS.values())


def unit_of(match: re.Match[str]) -> Noun:
    """The noun of a match of UNIT_PATTERN."""
    assert match.lastindex is not None
    return _NOUNS[match.lastindex - 1]


def power_of(match: re.Match[str]) -> tuple[Noun, Noun]:
    """The two nouns of a match of POWER_PATTERN."""
    return _POWERS[match["power"]], _LENGTHS[match["length"]]


_SCALES = {UNITS[pattern] for pattern in UNITS if pattern.startswith(("тыс", "млн", "млрд", "трлн"))}


def passed_on(noun: Noun, number: str) -> str:
    """The number with which another unit after this one agrees; nothing if none can follow: «5 тыс. км» is as many
    kilometres as a thousand is, «5 кв. м» five metres."""
    return "1000" if noun in _SCALES else number if noun in {_SQUARE, _CUBIC} else ""


MONTHS = (
    "января", "февраля", "марта", "апреля", "мая", "июня", "июля", "августа", "сентября", "октября", "ноября",
    "декабря",
)  # fmt: skip

YEAR_FORMS = ("год", "года", "году", "годом", "годе", "годы", "годов", "лет", "годам", "годами", "годах")
CITY_FORMS = ("город", "города", "городу", "городом", "городе", "города", "городов")
CENTURY_FORMS = ("век", "века", "веку", "веком", "веке", "века", "веков", "векам", "веками", "веках")
STREET_FORMS = ("улица", "улицы", "улице", "улицу", "улицей", "улицы", "улиц")

_LOCATIVE, _DATIVE = {"в", "во", "о", "об", "на", "при"}, {"к", "ко", "по"}


def year_after(preposition: str) -> str:
    return "году" if preposition in _LOCATIVE | _DATIVE else "года"


def century_after(preposition: str) -> str:
    return "веке" if preposition in _LOCATIVE else "веку" if preposition in _DATIVE else "века"


def city_after(preposition: str) -> str:
    if preposition in _LOCATIVE:
        return "городе"
    return {"": "город", "к": "городу", "ко": "городу", "по": "городу"}.get(preposition, "города")


def street_after(preposition: str) -> str:
    return "улице" if preposition in _LOCATIVE | _DATIVE else "улица" if not preposition else "улицы"


# «им.» is an abbreviation only after what is named for someone: «Помогли им. Они рады» ends in a pronoun.
NAMED = re.compile(
    "театр|улиц|завод|фабрик|институт|университет|академи|школ|библиоте|музе|парк|площад|больниц|клуб|цирк|проспект"
    "|стадион|двор(?:е?ц)|колхоз|центр|аэропорт|станци|преми|госпитал|училищ|колледж|гимнази|лице|консерватори"
    "|филармони|набережн|конкурс|фонд|орден"
)

GENITIVE = {"из", "от", "до", "с", "со", "у", "для", "после", "около", "без", "близ"}
PREPOSITIONS = _LOCATIVE | _DATIVE | GENITIVE

_SO_CALLED = tuple(f"так {form}" for form in adjective_forms("называемый"))

# Pattern → (written out, inflected forms it may also stand for).
ABBREVIATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    r"т\.\s*е\.?(?!\w)": ("то есть", ()),
    r"т\.\s*к\.?(?!\w)": ("так как", ()),
    r"т\.\s*д\.?(?!\w)": ("так далее", ()),
    r"т\.\s*п\.?(?!\w)": ("тому подобное", ("тому подобные", "тому подобным", "тому подобных")),
    r"т\.\s*о\.(?!\w)": ("таким образом", ()),
    r"т\.\s*н\.(?!\w)": (
        "так называемый",
        _SO_CALLED,
    ),
    r"н\.\s*э\.?(?!\w)": ("нашей эры", ()),
    r"(?<=\bи )др\.(?!\w)": ("другие", ("других", "другим", "другими", "другое", "другого")),
    r"(?<=\bи )пр\.(?!\w)": ("прочее", ("прочие", "прочих", "прочего", "прочим")),
    r"руб\.(?!\w)": ("рублей", ("рубль", "рубля", "рублю", "рублем", "рубле", "рубли", "рублям", "рублями", "рублях")),
    r"напр\.(?!\w)": ("например", ()),
    r"ок\.(?=\s*\d)": ("около", ()),
    r"проф\.(?!\w)": ("профессор", ("профессора", "профессору", "профессором", "профессоре")),
    r"акад\.(?!\w)": ("академик", ("академика", "академику", "академиком", "академике")),
    r"д\.(?=\s*\d)": ("дом", ("дома", "дому", "домом", "доме")),
    r"кв\.(?=\s*\d)": ("квартира", ("квартиры", "квартире", "квартиру", "квартирой")),
    r"корп\.(?=\s*\d)": ("корпус", ("корпуса", "корпусу", "корпусом", "корпусе")),
    r"рис\.(?=\s*\d)": ("рисунок", ("рисунка", "рисунку", "рисунком", "рисунке")),
    r"гл\.(?=\s*\d)": ("глава", ("главы", "главе", "главу", "главой")),
    r"стр\.(?!\w)": ("страница", ("страницы", "странице", "страницу", "страницей", "страниц", "страницах")),
    r"тел\.(?=\s*[:+\d])": ("телефон", ("телефона", "телефону", "телефоном", "телефоне")),
    r"№\s*№|№": ("номер", ("номера", "номеру", "номером", "номере", "номеров", "номерам", "номерами", "номерах")),
    r"§": ("параграф", ("параграфа", "параграфу", "параграфом", "параграфе")),
    r"&": ("и", ("энд",)),
    r"(?<![^\s(«])[-\u2212](?=\d)": ("минус", ()),
    r"(?<![^\s(«])\+(?=\d)": ("плюс", ()),
}
ABBREVIATION_PATTERN = re.compile("|".join(f"({pattern})" for pattern in ABBREVIATIONS), re.IGNORECASE)
_WRITTEN_OUT = tuple(ABBREVIATIONS.values())


def abbreviation_of(match: re.Match[str]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """(words written out, further readings) of a match of ABBREVIATION_PATTERN."""
    assert match.lastindex is not None
    words, others = _WRITTEN_OUT[match.lastindex - 1]
    return tuple(words.split()), tuple(tuple(other.split()) for other in others)


@lru_cache(maxsize=256)
def noun_forms(noun: Noun) -> tuple[str, ...]:
    """Every inflected form of a unit's noun, ё folded (pymorphy3)."""
    from evaluation.morphology import analyzer

    parses = [parse for parse in analyzer().parse(noun.one) if "NOUN" in parse.tag] or analyzer().parse(noun.one)[:1]
    forms = [form.word.replace("ё", "е") for form in parses[0].lexeme]
    return tuple(dict.fromkeys((noun.one, noun.few, noun.many, *forms)))
