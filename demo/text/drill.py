"""Vocabulary drill: the words of the documents in forms and company in which the documents do not show them.

The documents know more words than the lexicon, but each in few forms. The drill takes their frequent nouns and
adjectives (by lemma) and sets them into short neutral sentences in every case, with the same agreement code as
the grammar. Meaning is loose; the sound is right.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from demo.text.cleaning import WORD, is_valid, morph
from demo.text.inflect import NoForm, Noun, adjective, noun, with_preposition

_SKIP = {"Name", "Surn", "Patr", "Geox", "Orgn", "Trad", "Abbr", "Init", "Arch", "Slng", "Erro", "Infr", "Dist", "Apro"}
_FRAMES = {
    "formal": (
        ("nom", "", "{} имеет большое значение."),
        ("nom", "", "Особую роль играет {}."),
        ("nom", "", "На снимке хорошо видно, что это {}."),
        ("gen", "", "Специалисты отмечают отсутствие {}."),
        ("gen", "без", "Сегодня невозможно обойтись {}."),
        ("gen", "для", "Это необходимо {}."),
        ("gen", "из-за", "Работа была остановлена {}."),
        ("dat", "", "Статья посвящена {}."),
        ("dat", "к", "Комиссия перешла {}."),
        ("acc", "", "Авторы доклада подробно описали {}."),
        ("acc", "на", "Следует обратить внимание {}."),
        ("acc", "через", "Дальнейший путь лежит {}."),
        ("ins", "", "Отдел много лет занимается {}."),
        ("ins", "с", "Это явление связано {}."),
        ("ins", "перед", "Участники остановились {}."),
        ("loc", "о", "В отчёте говорится {}."),
        ("loc", "в", "Причина заключается {}."),
        ("loc", "на", "Выводы основаны {}."),
    ),
    "colloquial": (
        ("nom", "", "Ну и где тут {}?"),
        ("nom", "", "Смотри, вот {}!"),
        ("nom", "", "Мне снова приснилось, что рядом {}."),
        ("gen", "", "Слушай, а у нас нет {}?"),
        ("gen", "без", "Как же мы теперь {}?"),
        ("gen", "из-за", "Да ладно, не расстраивайся {}."),
        ("gen", "вместо", "Мне, пожалуйста, что-нибудь {}."),
        ("dat", "", "А я очень рад {}."),
        ("dat", "к", "Пойдём, вернёмся {}."),
        ("acc", "", "Ты уже видел {}?"),
        ("acc", "", "Возьми с собой {}."),
        ("acc", "на", "Не обращай внимания {}."),
        ("acc", "про", "Расскажи мне ещё {}!"),
        ("ins", "", "Теперь он занят только {}."),
        ("ins", "с", "Что мне делать {}?"),
        ("ins", "над", "Мы вчера смеялись {}."),
        ("loc", "о", "Давай не будем {}."),
        ("loc", "в", "По-моему, дело {}."),
    ),
}


@dataclass(frozen=True)
class Vocabulary:
    """Lemmas by part of speech."""

    nouns: tuple[str, ...]
    adjectives: tuple[str, ...]


def vocabulary(sentences: Iterable[str], at_least: int = 3) -> Vocabulary:
    """Lemmas that occur at least ``at_least`` times in ``sentences`` and that can be inflected."""
    words = Counter(
        word for sentence in sentences for word in WORD.findall(sentence) if word.islower() and "-" not in word
    )
    lemmas: dict[str, Counter[str]] = {"NOUN": Counter(), "ADJF": Counter()}
    for word, count in words.items():
        parse = morph().parse(word)[0]
        if parse.tag.POS in lemmas and parse.is_known and not _SKIP & parse.tag.grammemes and len(word) > 2:
            lemmas[parse.tag.POS][parse.normal_form] += count
    nouns = sorted(lemma for lemma, count in lemmas["NOUN"].items() if count >= at_least and _inflects(lemma))
    adjectives = sorted(lemma for lemma, count in lemmas["ADJF"].items() if count >= at_least and _agrees(lemma))
    return Vocabulary(tuple(nouns), tuple(adjectives))


def _inflects(lemma: str) -> bool:
    try:
        entry = noun(lemma)
        return (
            all(entry.form(case) for case in ("gen", "dat", "acc", "ins", "loc")) and "Fixd" not in entry.parses[0].tag
        )
    except NoForm:
        return False


def _agrees(lemma: str) -> bool:
    try:
        return bool(adjective(lemma, noun("окно"), "loc"))
    except NoForm:
        return False


def drill(words: Vocabulary, style: str, count: int, seed: int) -> Iterator[str]:
    """``count`` distinct valid sentences of the style ``formal`` or ``colloquial``; fewer when exhausted."""
    draw = random.Random(f"drill-{style}-{seed}")
    seen: set[str] = set()
    for _ in range(20 * count):
        if len(seen) == count:
            return
        case, preposition, frame = draw.choice(_FRAMES[style])
        try:
            phrase = _phrase(words, case, draw)
            if draw.random() < 0.35:
                phrase += f" и {_phrase(words, case, draw)}"
            elif draw.random() < 0.35:
                phrase += f" {_phrase(words, 'gen', draw)}"
        except NoForm:
            continue
        sentence = frame.format(with_preposition(preposition, phrase) if preposition else phrase)
        sentence = sentence[0].upper() + sentence[1:]
        if is_valid(sentence) and sentence not in seen:
            seen.add(sentence)
            yield sentence


def _phrase(words: Vocabulary, case: str, draw: random.Random) -> str:
    head: Noun = noun(draw.choice(words.nouns))
    plural = draw.random() < 0.25
    text = head.form(case, plural)
    if draw.random() < 0.55:
        text = f"{adjective(draw.choice(words.adjectives), head, case, plural)} {text}"
    return text
