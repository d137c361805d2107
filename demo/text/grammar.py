"""A generative grammar of everyday Russian: templates, verb frames and a lexicon, inflected with pymorphy3.

    python -m demo.text.grammar --style colloquial --sentences 20 --seed 7

A template is a sentence with slots: ``{kind:argument:…}``; a slot whose kind starts with a capital gives a capital.
``[a|b|]`` chooses one alternative. The slots are the methods ``slot_…`` of :class:`Grammar`. Agreement works through
the last nominative phrase of the sentence, which later slots refer to.
"""

# Longer than most files: the slots are methods of one state, the sentence that is being built.

import argparse
import random
import re
from collections.abc import Callable, Iterator
from functools import cache

from demo.text import lexicon, numbers
from demo.text.cleaning import is_valid
from demo.text.inflect import (
    Agreement,
    NoForm,
    Noun,
    adjective,
    is_perfective,
    noun,
    participle,
    place_preposition,
    verb,
    with_preposition,
)

FORMAL, COLLOQUIAL = "formal", "colloquial"
_INNER_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{([^{}]*)\}")
PLURAL_CLASSES = frozenset(lexicon.words("usage.txt")["plural_classes"])
ADJECTIVES = {
    "person": ("any", "person"),
    "profession": ("any", "person"),
    "pet": ("any", "animal"),
    "wildanimal": ("any", "animal"),
    "food": ("food",),
    "dish": ("any", "food"),
    "drink": ("food",),
    "clothes": ("any", "clothes", "clothes"),
    "furniture": ("any", "thing"),
    "dishes": ("any", "thing", "thing"),
    "thing": ("any", "thing"),
    "device": ("any", "device", "device"),
    "data": ("any", "official"),
    "text": ("any", "text", "text"),
    "document": ("official", "any"),
    "room": ("place", "any"),
    "building": ("place", "any"),
    "outdoor": ("place", "any"),
    "transport": ("any", "device"),
    "weather": ("weather",),
    "nature": ("any", "thing"),
    "event": ("any", "official"),
    "work": ("official", "any"),
    "idea": ("any", "feeling"),
    "emotion": ("feeling",),
    "org": ("official", "any"),
    "science": ("science",),
}
PRONOUNS = {  # nominative, genitive, dative, accusative, instrumental, locative; agreement
    "я": (("я", "меня", "мне", "меня", "мной", "мне"), 1, False),
    "ты": (("ты", "тебя", "тебе", "тебя", "тобой", "тебе"), 2, False),
    "он": (("он", "его", "ему", "его", "им", "нём"), 3, False),
    "она": (("она", "её", "ей", "её", "ей", "ней"), 3, False),
    "мы": (("мы", "нас", "нам", "нас", "нами", "нас"), 1, True),
    "вы": (("вы", "вас", "вам", "вас", "вами", "вас"), 2, True),
    "они": (("они", "их", "им", "их", "ими", "них"), 3, True),
}
CASE_ORDER = ("nom", "gen", "dat", "acc", "ins", "loc")
SUBJECT_WEIGHTS = {
    FORMAL: {
        "human": 5,
        "org": 3,
        "transport": 1,
        "wildanimal": 1,
        "event": 1,
        "weather": 1,
        "device": 1,
        "science": 2,
    },
    COLLOQUIAL: {"human": 12, "pet": 2, "transport": 1, "event": 1, "weather": 1, "thing": 1, "device": 1},
}
PERSON_FORMS = {
    "1sg": (1, False),
    "2sg": (2, False),
    "3sg": (3, False),
    "1pl": (1, True),
    "2pl": (2, True),
    "3pl": (3, True),
}


@cache
def members(group: str) -> tuple[tuple[str, str], ...]:
    """(word, class) of every noun in a class, a group or several joined with «+»."""
    found: list[tuple[str, str]] = []
    for part in group.split("+"):
        if part in lexicon.words("nouns.txt"):
            found += [(word, part) for word in lexicon.words("nouns.txt")[part]]
        elif part in lexicon.words("names.txt"):
            found += [(word, part) for word in lexicon.words("names.txt")[part]]
        elif part == "name":
            found += [(word, kind) for kind in ("male", "female", "short") for word in lexicon.words("names.txt")[kind]]
        elif part in lexicon.groups():
            for member in lexicon.groups()[part]:
                found += [(member[1:], "")] if member.startswith("+") else members(member)
        else:
            raise KeyError(f"no class or group «{part}» in the lexicon")
    return tuple(found)


class Grammar:
    """Draws sentences of one style (``formal`` or ``colloquial``); the same seed gives the same sentences."""

    def __init__(self, style: str, seed: int) -> None:
        if style not in SUBJECT_WEIGHTS:
            raise ValueError(f"style must be formal or colloquial, not {style!r}")
        self.style = style
        self.random = random.Random(f"{style}-{seed}")
        sections = lexicon.phrases(f"templates_{style}.txt")
        self.templates = [template for section in sections.values() for template in section]
        self.agreement = Agreement(3, False, "masc")
        self.speaker = self.random.choice(("masc", "femn"))

    def generate(self, count: int) -> Iterator[str]:
        """``count`` distinct valid sentences; fewer when the grammar is exhausted."""
        seen: set[str] = set()
        misses = 0
        while len(seen) < count and misses < 200_000:
            sentence = self.sentence()
            if sentence in seen:
                misses += 1
                continue
            misses = 0
            seen.add(sentence)
            yield sentence

    def sentence(self) -> str:
        """One valid sentence."""
        while True:
            template = self.random.choice(self.templates)
            try:
                text = self.fill(template)
            except NoForm:
                continue
            if is_valid(text):
                return text

    def fill(self, template: str) -> str:
        """``template`` with its alternatives chosen and its slots filled; raises :class:`NoForm`."""
        self.agreement = Agreement(3, False, "masc")
        self.speaker = self.random.choice(("masc", "femn"))
        while _INNER_CHOICE.search(template):
            template = _INNER_CHOICE.sub(lambda m: self.random.choice(m.group(1).split("|")), template, count=1)
        text = _SLOT.sub(self._slot, template)
        text = re.sub(r"\s+([,.!?])", r"\1", re.sub(r"\s+", " ", text)).strip()
        text = re.sub(r",{2,}", ",", text)
        return text[0].upper() + text[1:]

    def _slot(self, match: re.Match[str]) -> str:
        kind, *arguments = match.group(1).split(":")
        method: Callable[..., str] = getattr(self, f"slot_{kind.lower()}")
        text = method(*arguments)
        return text[:1].upper() + text[1:] if kind[0].isupper() else text

    # Noun phrases

    def _pick(self, group: str, gender: str = "") -> tuple[Noun, str]:
        choices = members(group)
        for _ in range(50):
            word, kind = self.random.choice(choices)
            fixed = {"male": "masc", "female": "femn"}.get(kind, "")
            if kind == "patronymic":
                fixed = "masc" if word.endswith("ич") else "femn"
            entry = noun(word, fixed)
            if not gender or (entry.gender == gender and not entry.plural_only):
                return entry, kind
        raise NoForm(f"no {gender} noun in {group}")

    def _phrase(
        self, group: str, case: str, number: str = "", adjectives: float = 0.3, gender: str = "", preposition: str = ""
    ) -> str:
        for _ in range(20):
            entry, kind = self._pick(group, gender)
            if not (case == "nom" and number == "s" and entry.plural_only):  # «начнётся каникулы»
                break
        else:
            raise NoForm(f"{group} has plural words only")
        return self._decline(entry, kind, case, "s" if gender else number, adjectives, preposition)

    def _decline(self, entry: Noun, kind: str, case: str, number: str, adjectives: float, preposition: str) -> str:
        plural = number == "p" or (number == "" and kind in PLURAL_CLASSES and self.random.random() < 0.22)
        text = entry.form(case, plural, preposition)
        if kind in ADJECTIVES and " " not in entry.text and self.random.random() < adjectives:
            group_of = self.random.choice(ADJECTIVES[kind])
            chosen = self.random.choice(lexicon.words("adjectives.txt")[group_of])
            text = f"{adjective(chosen, entry, case, plural)} {text}"
        if case == "nom":
            self.agreement = Agreement(3, plural or entry.plural_only, entry.gender)
        return text

    def _governed(self, preposition: str, group: str, case: str, number: str = "", adjectives: float = 0.3) -> str:
        entry, kind = self._pick(group)
        preposition = place_preposition(preposition, entry.text)
        return with_preposition(preposition, self._decline(entry, kind, case, number, adjectives, preposition))

    def _human(self, case: str, preposition: str = "") -> str:
        draw = self.random.random()
        if draw < (0.12 if self.style == FORMAL else 0.42):
            return self._pronoun(case, preposition)
        if self.style == FORMAL:
            group = self.random.choice(("profession", "profession", "person", "patronymic", "male", "female"))
        else:
            group = self.random.choice(("person", "person", "person", "short", "short", "male", "female", "profession"))
        return self._phrase(group, case, adjectives=0.2)

    def _pronoun(self, case: str, preposition: str) -> str:
        # «я вижу меня» would have to be «себя»: the subject's own person is left out.
        own = self.agreement.person if case != "nom" else 0
        allowed = [name for name, (_, person, _) in PRONOUNS.items() if person == 3 or person != own]
        forms, person, plural = PRONOUNS[self.random.choice(allowed)]
        text = forms[CASE_ORDER.index(case)]
        if case == "nom":
            gender = "femn" if text == "она" else "masc" if text == "он" else self.speaker
            self.agreement = Agreement(person, plural, gender)
        elif preposition and person == 3 and not text.startswith("н"):
            text = f"н{text}"
        return text

    def slot_np(self, group: str, case: str, number: str = "") -> str:
        """Noun phrase, sometimes with an adjective: group, case, ``s`` or ``p`` for a fixed number."""
        return self._phrase(group, case, number)

    def slot_n(self, group: str, case: str, number: str = "s") -> str:
        """Bare noun."""
        return self._phrase(group, case, number, adjectives=0)

    def slot_npm1(self, group: str, case: str = "nom") -> str:
        """Masculine singular phrase, perhaps with an adjective."""
        return self._phrase(group, case, "s", gender="masc")

    def slot_npf1(self, group: str, case: str = "nom") -> str:
        """Feminine singular phrase, perhaps with an adjective."""
        return self._phrase(group, case, "s", gender="femn")

    def slot_npm0(self, group: str, case: str = "nom") -> str:
        """Masculine singular noun."""
        return self._phrase(group, case, "s", 0, "masc")

    def slot_npf0(self, group: str, case: str = "nom") -> str:
        """Feminine singular noun."""
        return self._phrase(group, case, "s", 0, "femn")

    slot_npm, slot_npf = slot_npm1, slot_npf1

    def slot_p(self, government: str, group: str) -> str:
        """Prepositional phrase: «в+loc», group."""
        preposition, case = government.split("+")
        return self._governed(preposition, group, case)

    def slot_in(self, group: str, case: str) -> str:
        """«в» with a place name."""
        return self._governed("в", group, case, "s", 0)

    def slot_mine(self, group: str, case: str) -> str:
        """«мой» agreeing with a noun."""
        entry, _ = self._pick(group)
        return f"{adjective('мой', entry, case)} {entry.form(case)}"

    def slot_adj(self, group: str) -> str:
        """Predicative adjective agreeing with the subject."""
        head = Noun("", self.agreement.gender, True, self.agreement.plural, ())
        return adjective(self.random.choice(lexicon.words("adjectives.txt")[group]), head, "nom")

    def slot_name(self) -> str:
        """A person's name in the nominative."""
        group = self.random.choice(
            ("male", "female", "short", "short") if self.style == COLLOQUIAL else ("male", "female")
        )
        return self._phrase(group, "nom", "s")

    def slot_name_f(self) -> str:
        """A woman's name."""
        return self._phrase("female", "nom", "s")

    def slot_name_p(self) -> str:
        """A man's name and patronymic; the rest of the sentence agrees with it."""
        text = self._phrase("patronymic", "nom", "s", gender="masc")
        self.speaker = "masc"
        return text

    def slot_name_gen(self) -> str:
        """A name in the genitive."""
        return self._phrase("name", "gen", "s")

    def slot_name_dat(self) -> str:
        """A name in the dative."""
        return self._phrase("name", "dat", "s")

    def slot_pron_gen(self) -> str:
        """A pronoun in the genitive after «у»."""
        return self._pronoun("gen", "у")

    # Verb phrases and clauses

    def _verb_and_frame(self, section: str, aspect: str = "", depth: int = 0) -> tuple[str, str]:
        for _ in range(60):
            infinitive, frames = self.random.choice(lexicon.verbs()[section])
            if (aspect == "impf" and is_perfective(infinitive)) or (aspect == "perf" and not is_perfective(infinitive)):
                continue
            if depth and infinitive in NO_INFINITIVE:
                continue
            frame = self.random.choice(frames)
            if depth and any(part.kind in {"inf", "inf_impf"} for part in frame):
                continue
            kept = self.agreement
            parts = [self._complement(part, depth) for part in frame if not part.optional or self.random.random() < 0.5]
            self.agreement = kept
            return infinitive, " ".join(parts)
        raise NoForm(f"no verb for {section} {aspect}")

    def _complement(self, part: lexicon.Complement, depth: int) -> str:
        if part.kind == "words":
            return part.words
        if part.kind in {"inf", "inf_impf"}:
            return self._infinitive("impf" if part.kind == "inf_impf" else "", depth + 1)
        if part.group == "human":
            phrase = self._human(part.case, part.preposition)
            return with_preposition(part.preposition, phrase) if part.preposition else phrase
        if part.preposition:
            return self._governed(part.preposition, part.group, part.case)
        role = part.group == "profession" and part.case == "ins"  # «они станут врачами»
        return self._phrase(part.group, part.case, ("p" if self.agreement.plural else "s") if role else "")

    def _infinitive(self, aspect: str, depth: int = 0) -> str:
        infinitive, rest = self._verb_and_frame("human", aspect, depth)
        return f"{infinitive} {rest}".strip()

    def slot_vp(self, form: str) -> str:
        """Verb phrase of a person: ``inf imp imps 1sg … 3pl past.m past.f past.p past.x pres.3pl``."""
        return self._verb_phrase(form, "")

    def slot_vp_impf(self, form: str) -> str:
        """The same with an imperfective verb."""
        return self._verb_phrase(form, "impf")

    def slot_vp_perf(self, form: str) -> str:
        """The same with a perfective verb."""
        return self._verb_phrase(form, "perf")

    def _verb_phrase(self, form: str, aspect: str) -> str:
        if form == "inf":
            return self._infinitive(aspect, 1 if self.random.random() < 0.8 else 0)
        tense, _, features = form.rpartition(".")
        if form in {"imp", "imps"}:
            self.agreement = Agreement(2, form == "imps", "masc")
        elif tense == "past":
            gender = {"m": "masc", "f": "femn", "x": self.speaker, "p": "masc"}[features]
            self.agreement = Agreement(3, features == "p", gender)
        else:
            self.agreement = Agreement(*PERSON_FORMS[features], self.speaker)
        infinitive, rest = self._verb_and_frame("human", "impf" if tense == "pres" else aspect)
        if form in {"imp", "imps"} and infinitive in NO_IMPERATIVE:
            raise NoForm(infinitive)
        if tense or form in {"imp", "imps"}:
            word = verb(infinitive, tense or form, self.agreement)
        else:
            word = verb(infinitive, "fut" if is_perfective(infinitive) else "pres", self.agreement)
        return f"{word} {rest}".strip()

    def slot_v(self, tense: str, section: str) -> str:
        """Verb phrase agreeing with the subject that came before."""
        infinitive, rest = self._verb_and_frame(section, {"pres": "impf"}.get(tense, ""))
        if tense == "any":
            tense = self._any_tense(infinitive)
        return f"{verb(infinitive, tense, self.agreement)} {rest}".strip()

    def _any_tense(self, infinitive: str) -> str:
        return self.random.choice(("past", "past", "fut") if is_perfective(infinitive) else ("past", "pres", "pres"))

    def slot_pt(self, infinitive: str) -> str:
        """Short passive participle agreeing with the subject: «открыть» gives «открыта»."""
        return participle(infinitive, self.agreement)

    def slot_s(self, tense: str, section: str) -> str:
        """A clause: tense ``past pres fut any``, class of subject or ``any``."""
        if section == "any":
            weights = SUBJECT_WEIGHTS[self.style]
            section = self.random.choices(list(weights), list(weights.values()))[0]
        subject = self._human("nom") if section == "human" else self._phrase(section, "nom", adjectives=0.25)
        agreement = self.agreement
        aspect = (
            "impf"
            if tense == "pres" or (tense == "fut" and self.random.random() < 0.15)
            else "perf"
            if tense == "fut"
            else ""
        )
        infinitive, rest = self._verb_and_frame(section, aspect)
        if tense == "any":
            tense = self._any_tense(infinitive)
        predicate = verb(infinitive, tense, agreement)
        if self.random.random() < 0.1 and infinitive != "быть":
            predicate = f"не {predicate}"
        if self.random.random() < 0.12 and section in {"human", "org"}:
            predicate = f"{self.random.choice(lexicon.phrases('phrases.txt')['manner'])} {predicate}"
        self.agreement = agreement
        return f"{subject} {predicate} {rest}".strip()

    # Fixed lists and numbers

    def slot_w(self, name: str) -> str:
        """An entry of a list of ``phrases.txt``."""
        return self.random.choice(lexicon.phrases("phrases.txt")[name])

    def slot_num(self, kind: str) -> str:
        """A quantity in words; the kinds are those of :data:`numbers.QUANTITIES`."""
        return numbers.quantity(kind, self.random)

    def slot_date(self) -> str:
        """«двенадцатого мая»."""
        return numbers.date(self.random)

    def slot_clock(self) -> str:
        """«в семь часов утра»."""
        return numbers.clock(self.random)

    def slot_clock0(self) -> str:
        """«семь часов вечера»."""
        return numbers.hour(self.random)

    def slot_hour_gen(self) -> str:
        """«девяти часов», after «с» and «до»."""
        return numbers.hour_genitive(self.random)

    def slot_int(self) -> str:
        """A cardinal from one to three hundred."""
        return numbers.cardinal(self.random.randint(1, 300))

    def slot_ord(self) -> str:
        """An ordinal in the locative masculine: «сорок пятом»."""
        return numbers.ordinal(self.random.randint(1, 99), "loc")


NO_IMPERATIVE = frozenset(lexicon.words("usage.txt")["no_imperative"])

NO_INFINITIVE = frozenset(lexicon.words("usage.txt")["no_infinitive"])


def main() -> int:
    """Command line: prints sentences."""
    parser = argparse.ArgumentParser(description="Print sentences of the grammar.")
    parser.add_argument("--style", choices=(FORMAL, COLLOQUIAL), default=FORMAL)
    parser.add_argument("--sentences", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for sentence in Grammar(args.style, args.seed).generate(args.sentences):
        print(sentence)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
