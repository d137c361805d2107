"""The training text's grammar, cleaning and readers, and the hand-written test material."""

import json
import random
import struct
from pathlib import Path

import pytest

from demo.text import build_corpus, extract, lexicon, numbers
from demo.text.cleaning import WORD, clean, is_valid, sentences
from demo.text.drill import drill, vocabulary
from demo.text.grammar import SUBJECT_WEIGHTS, Grammar, members
from demo.text.inflect import (
    CASES,
    Agreement,
    NoForm,
    adjective,
    noun,
    participle,
    place_preposition,
    verb,
    with_preposition,
)

FOLDER = Path(build_corpus.__file__).parent
STYLES = tuple(SUBJECT_WEIGHTS)


@pytest.mark.parametrize("style", STYLES)
def test_grammar_yields_distinct_valid_lines_and_repeats_by_seed(style: str) -> None:
    lines = list(Grammar(style, 5).generate(1500))
    assert len(set(lines)) == 1500
    assert [line for line in lines if not is_valid(line)] == []
    assert list(Grammar(style, 5).generate(200)) == lines[:200]
    assert list(Grammar(style, 6).generate(200)) != lines[:200]
    mean = sum(len(WORD.findall(line)) for line in lines) / len(lines)
    assert 4.5 < mean < 9


@pytest.mark.parametrize("style", STYLES)
def test_every_template_can_be_filled(style: str) -> None:
    grammar = Grammar(style, 1)
    for template in grammar.templates:
        valid = 0
        for _ in range(60):
            try:
                valid += is_valid(grammar.fill(template))
            except NoForm:
                continue
        assert valid > 5, template


def test_every_word_of_the_lexicon_inflects() -> None:
    for section, words in (lexicon.words("nouns.txt") | lexicon.words("names.txt")).items():
        gender = {"male": "masc", "female": "femn"}.get(section, "")
        for word in words:
            assert [noun(word, gender).form(case) for case in CASES], word
    head = noun("окно")
    for words in lexicon.words("adjectives.txt").values():
        assert all(adjective(word, head, "loc") for word in words)
    for group in lexicon.groups():
        assert all(noun(word).form("gen") for word, _ in members(group)), group


def test_every_verb_frame_names_a_known_group() -> None:
    for section, entries in lexicon.verbs().items():
        for infinitive, frames in entries:
            assert verb(infinitive, "past", Agreement(3, True, "masc")), infinitive
            for part in (part for frame in frames for part in frame if part.kind == "np"):
                assert part.case in CASES, (section, infinitive)
                assert part.group == "human" or members(part.group), (section, infinitive)


@pytest.mark.parametrize(
    ("text", "case", "plural", "expected"),
    [
        ("Москва", "loc", False, "Москве"),
        ("Москва", "acc", False, "Москву"),
        ("сестра", "gen", True, "сестёр"),
        ("ребёнок", "dat", True, "детям"),
        ("день рождения", "ins", False, "днём рождения"),
        ("русский язык", "gen", False, "русского языка"),
        ("ножницы", "gen", False, "ножниц"),
        ("время", "ins", False, "временем"),
        ("Людмила Борисовна", "acc", False, "Людмилу Борисовну"),
        ("воскресенье", "acc", False, "воскресенье"),
        ("пальто", "ins", False, "пальто"),
    ],
)
def test_noun_forms(text: str, case: str, plural: bool, expected: str) -> None:
    assert noun(text).form(case, plural) == expected


def test_agreement_of_adjectives_and_verbs() -> None:
    assert adjective("старый", noun("друг"), "acc") == "старого"  # animate
    assert adjective("старый", noun("стол"), "acc") == "старый"  # inanimate
    assert adjective("новый", noun("книга"), "ins") == "новой"
    assert adjective("синий", noun("ножницы"), "nom") == "синие"
    assert adjective("самый лучший", noun("окно"), "loc") == "самом лучшем"
    she, we, you = Agreement(3, False, "femn"), Agreement(1, True, "masc"), Agreement(2, False, "masc")
    assert verb("идти", "past", she) == "шла"
    assert verb("прочитать", "fut", we) == "прочитаем"
    assert verb("читать", "fut", you) == "будешь читать"
    assert verb("писать", "pres", you) == "пишешь"
    assert verb("взять", "imp") == "возьми"
    assert verb("взять", "imps") == "возьмите"
    assert participle("открыть", she) == "открыта"
    with pytest.raises(NoForm):
        verb("прочитать", "pres", we)
    with pytest.raises(NoForm):
        verb("победить", "fut", Agreement(1, False, "masc"))


@pytest.mark.parametrize(
    ("preposition", "phrase", "expected"),
    [
        ("в", "Франции", "во Франции"),
        ("в", "вагоне", "в вагоне"),
        ("в", "вторник", "во вторник"),
        ("с", "стола", "со стола"),
        ("с", "мной", "со мной"),
        ("с", "сестрой", "с сестрой"),
        ("о", "уроке", "об уроке"),
        ("о", "ёлке", "о ёлке"),
        ("о", "мне", "обо мне"),
        ("к", "мне", "ко мне"),
        ("перед", "мной", "передо мной"),
    ],
)
def test_prepositions_take_the_vowel_they_need(preposition: str, phrase: str, expected: str) -> None:
    assert with_preposition(preposition, phrase) == expected


def test_places_choose_between_v_and_na() -> None:
    assert place_preposition("в", "вокзал") == "на"
    assert place_preposition("из", "завод") == "с"
    assert place_preposition("в", "школа") == "в"
    assert noun("лес").form("loc", preposition="в") == "лесу"
    assert noun("лес").form("loc", preposition="о") == "лесе"


@pytest.mark.parametrize(
    ("number", "what", "expected"),
    [
        (1, "минута", "одна минута"),
        (2, "час", "два часа"),
        (2, "минута", "две минуты"),
        (5, "год", "пять лет"),
        (11, "рубль", "одиннадцать рублей"),
        (21, "рубль", "двадцать один рубль"),
        (104, "километр", "сто четыре километра"),
        (1000, "рубль", "тысяча рублей"),
    ],
)
def test_counted_nouns(number: int, what: str, expected: str) -> None:
    assert numbers.counted(number, what) == expected


def test_counted_nouns_in_the_accusative() -> None:
    assert numbers.counted(21, "минута", "acc") == "двадцать одну минуту"
    assert numbers.counted(1500, "рубль", "acc") == "тысячу пятьсот рублей"
    assert numbers.counted(2, "тысяча", "acc") == "две тысячи"


def test_ordinals_and_genitives() -> None:
    assert numbers.ordinal(25, "loc") == "двадцать пятом"
    assert numbers.ordinal(3, "gen", "neut") == "третьего"
    assert numbers.genitive(12, "градусов") == "двенадцати градусов"
    assert numbers.clock(random.Random(1)).split()[0] in {"в", "без"}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Мы еще не знаем «ответа»…", "Мы ещё не знаем ответа."),
        ("— Куда ты идёшь?!", "Куда ты идёшь?"),
        ("Москва – столица нашей страны.", "Москва — столица нашей страны."),
        ("Нажмите кнопку OK два раза.", None),
        ("Осталось 5 минут до старта.", None),
        ("См. рис. ниже на странице.", None),
        ("Да, конечно.", None),
        ("Брындыкл крутопряс шмекался довольно бырздо.", None),
        ("Сохранить все файлы", "Сохранить все файлы."),
    ],
)
def test_clean(raw: str, expected: str | None) -> None:
    assert clean(raw) == expected


def test_sentences_splits_running_text_and_long_sentences() -> None:
    text = "Дверь была открыта. Никто не ответил на стук! " + (
        "Все жители деревни вышли на площадь к старому колодцу ранним утром, "
        "но никто из них так и не узнал причины тревоги."
    )
    assert list(sentences(text)) == [
        "Дверь была открыта.",
        "Никто не ответил на стук!",
        "Все жители деревни вышли на площадь к старому колодцу ранним утром.",
        "Но никто из них так и не узнал причины тревоги.",
    ]


def test_readers_extract_the_translation() -> None:
    strings = [(b"", b"header"), (b"Hello", "Первая строка\nвторая".encode())]
    offset = 28 + 16 * len(strings)
    tables, blob = [b"", b""], b""
    for side in (0, 1):
        for pair in strings:
            tables[side] += struct.pack("<2I", len(pair[side]), offset + len(blob))
            blob += pair[side] + b"\0"
    header = b"\xde\x12\x04\x95" + struct.pack("<6I", 0, len(strings), 28, 28 + 8 * len(strings), 0, 0)
    assert list(extract.read_mo(header + tables[0] + tables[1] + blob)) == ["Первая строка вторая"]
    message = b"\x03" + struct.pack(">I", 12) + "Привет".encode("utf-16-be") + b"\x01"
    section = b"\x69" + struct.pack(">I", len(message)) + message
    assert list(extract.read_qm(bytes(16) + section)) == ["Привет"]
    assert "Текст абзаца" in list(extract.read_html("<p>Текст <b>абзаца</b></p><pre>код</pre>".encode()))
    assert "Это жирный текст" in list(extract.read_man(".SH ИМЯ\nЭто \\fBжирный\\fR\nтекст\n.PP".encode()))
    assert list(extract.read_po('msgid "a"\nmsgstr ""\n"Добрый "\n"день"\n'.encode())) == ["Добрый день"]


def test_drill_uses_the_vocabulary_and_is_seeded() -> None:
    words = vocabulary(
        ["Старый замок стоит над рекой.", "Мы увидели старый замок.", "Замок над рекой очень старый."], 2
    )
    assert words.nouns == ("замок", "река")
    assert words.adjectives == ("старый",)
    for style in STYLES:
        lines = list(drill(words, style, 30, 3))
        assert lines == list(drill(words, style, 30, 3))
        assert len(set(lines)) == 30
        assert all(is_valid(line) for line in lines)


def material(name: str) -> list[str]:
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("name", "count"), [("test_formal.txt", 120), ("test_colloquial.txt", 120), ("heldout_300.txt", 300)]
)
def test_material_is_valid_and_distinct(name: str, count: int) -> None:
    lines = material(name)
    assert len(lines) >= count
    assert len({build_corpus.key(line) for line in lines}) == len(lines)
    assert [line for line in lines if not is_valid(line)] == []


def test_material_sets_do_not_overlap_and_are_not_in_the_grammar() -> None:
    names = ("test_formal.txt", "test_colloquial.txt", "heldout_300.txt")
    keys = [build_corpus.key(line) for name in names for line in material(name)]
    assert len(set(keys)) == len(keys)
    kept_out = build_corpus.test_keys()
    assert set(keys) < kept_out
    for style in STYLES:
        made = {build_corpus.key(line) for line in Grammar(style, 1).generate(5000)}
        assert made & kept_out == set()


def test_add_leaves_out_what_is_kept_for_testing() -> None:
    texts: dict[str, str] = {}
    forbidden = build_corpus.test_keys()
    lines = [material("test_formal.txt")[0].upper(), "Совсем новая строка.", "Совсем новая, строка!"]
    assert build_corpus._add(lines, texts, forbidden) == 1
    assert list(texts.values()) == ["Совсем новая строка."]


def test_samples_are_well_formed() -> None:
    samples = [json.loads(line) for line in material("samples.jsonl")]
    assert len(samples) >= 24
    assert len({sample["id"] for sample in samples}) == len(samples)
    allowed = {
        "style": {"formal", "colloquial"},
        "noise": {"clean", "babble", "street", "telephone"},
        "tempo": {"slow", "normal", "fast"},
        "voice_hint": {"A-domain", "B-domain", "unseen"},
    }
    for sample in samples:
        assert set(sample) == {"id", "text", "dialect", "title_ru", "title_en", *allowed}
        assert all(sample[axis] in values for axis, values in allowed.items()), sample["id"]
        parts = sample["text"].replace("! ", "!\n").replace("? ", "?\n").replace(". ", ".\n").split("\n")
        assert all(is_valid(part) for part in parts), sample["id"]
    for axis, values in allowed.items():
        assert {sample[axis] for sample in samples} == values
    assert sum(len(WORD.findall(sample["text"])) > 40 for sample in samples) == 3
    assert any(sample["dialect"] for sample in samples)
