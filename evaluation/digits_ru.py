"""What stands in digits, and every way to say it."""

from collections.abc import Sequence

from evaluation import numerals_ru
from evaluation.numerals_ru import Reading

_SHORT_SUFFIX = {
    "ый": "й", "ой": "й", "ий": "й", "ого": "го", "его": "го", "ому": "му", "ему": "му", "ым": "м", "им": "м",
    "ом": "м", "ем": "м", "ая": "я", "ья": "я", "ое": "е", "ье": "е", "ые": "е", "ую": "ю", "ью": "ю",
    "ых": "х", "их": "х",
    "ыми": "ми", "ими": "ми",
}  # fmt: skip


def short_suffix(suffix: str) -> str:
    """«23-ого» is written «23-го»: the ending after the last vowel or й (ГОСТ Р 7.0.97, rules of numerals)."""
    return _SHORT_SUFFIX.get(suffix, suffix)


def written(number: str, suffix: str) -> str:
    """A number as one comparable word: «23», «3,5», «23-го»; leading zeros go."""
    whole, _, fraction = number.partition(",")
    plain = (whole.lstrip("0") or "0") + (f",{fraction}" if fraction else "")
    return f"{plain}-{suffix}" if suffix else plain


def sayable(digits: str) -> bool:
    """Whether the tables reach so far; asked before `int`, which refuses a number of thousands of digits."""
    return len(digits.lstrip("0")) <= len(str(numerals_ru.LARGEST))


def number_readings(number: str, suffix: str) -> tuple[Reading, ...]:
    """All ways to say a number; with a suffix those that end so."""
    whole, _, fraction = number.partition(",")
    if not sayable(whole) or len(fraction) > 4:
        return ()
    if fraction:
        apart = [(*w, *f) for w in numerals_ru.cardinals(int(whole)) for f in numerals_ru.cardinals(int(fraction))]
        return (*numerals_ru.decimals(int(whole), fraction), *(apart if len(fraction) == 2 else ()))
    spoken = numerals_ru.cardinals(int(whole)) + numerals_ru.ordinals(int(whole))
    fitting = tuple(reading for reading in spoken if reading[-1].endswith(suffix)) or spoken
    return fitting + _mixed(int(whole))


def _mixed(value: int) -> tuple[Reading, ...]:
    """«2000000» is also «2 миллиона», «2500» «2,5 тысячи» and «две с половиной тысячи», «1500» «полторы тысячи»."""
    found: list[Reading] = []
    for scale, forms in ((10**9, "миллиард миллиарда миллиардов"), (10**6, "миллион миллиона миллионов"),
                         (10**3, "тысяча тысячи тысяч")):  # fmt: skip
        whole, rest = divmod(value, scale)
        if whole and rest == 0:
            found += [(str(whole), form) for form in forms.split()]
        elif 0 < whole < 1000 and rest * 10 % scale == 0:
            fraction, name = str(rest * 10 // scale), forms.split()[1]
            halves = [said for said in numerals_ru.decimals(whole, fraction) if said[-1] == "половиной" or whole == 1]
            found += [(f"{whole},{fraction}", name), *((*said, name) for said in halves)]
    return tuple(found)


def said_apart(groups: Sequence[str]) -> tuple[Reading, ...]:
    """«8 800 555» said group by group, nominative."""
    if len(groups) < 2 or not all(map(sayable, groups)):
        return ()
    return (tuple(word for group in groups for word in numerals_ru.cardinals(int(group))[0]), tuple(groups))


def roman(letters: str) -> int | None:
    """The value of a Roman numeral up to 39 (longer ones look like words: CD, MIX), None if it is not one."""
    total, text = 0, letters.replace("Х", "X").upper()
    for ten in range(4):
        for unit, form in enumerate(("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")):
            if "X" * ten + form == text:
                total = ten * 10 + unit
    return total or None
