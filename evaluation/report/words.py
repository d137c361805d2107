"""The report's own words in both languages."""

from merger.bilingual import Text

T = Text
TITLE = T("Оценка распознавания речи", "Speech recognition, evaluated")
VERDICTS = T("Выводы", "Verdicts")
OUTCOMES = {
    "better": T("лучше", "better"),
    "worse": T("хуже", "worse"),
    "indistinguishable": T("не отличить", "indistinguishable"),
    "insufficient": T("данных мало", "not enough data"),
}
VERDICT = T(
    "против <b>{baseline}</b>: {a} и {b}, разница {difference}{p}",
    "against <b>{baseline}</b>: {a} and {b}, difference {difference}{p}",
)
POINTS = T("п.\u00a0п.", "points")
P_VALUE = T("; p (Холм) {p}", "; p (Holm) {p}")
BEST = T(
    "Самый низкий WER из слияний — у «{name}»: {value} {ends}. {outcome}",
    "Of the merges, {name} has the lowest WER: {value} {ends}. {outcome}",
)
BEATS = T(
    "Это слияние значимо лучше исходных моделей: {names}.", "It is significantly better than its sources: {names}."
)
BEATS_SOME = T(
    "Это слияние значимо лучше, чем {names}; остальное эти данные не решают.",
    "It is significantly better than {names}; the rest these data do not decide.",
)
BEATS_NONE = T(
    "Что это слияние лучше исходных моделей, эти данные не доказывают.",
    "These data do not prove that it is better than its sources.",
)
ALL = T("все записи", "all clips")
DIFFERENCES = T("Разница WER, п.\u00a0п.", "Difference of WER, points")
THIN = T(
    "Бледные строки — меньше {words} слов или {blocks} говорящих: о них выводов нет.",
    "Pale rows hold fewer than {words} words or {blocks} speakers: no verdict on them.",
)
NOT_PROOF = T(
    "«Не отличить» значит, что на этих записях разница не видна, а не что её нет.",
    "“Indistinguishable” says that these clips do not show a difference, not that there is none.",
)
NO_VERDICT = T("Сравнивать не с чем: модель одна.", "There is one model only, nothing to compare.")
SUMMARY = T(
    "Записей {clips} ({minutes} мин), слов {words}, {kind_ru} {blocks}. Нормализация {normalizer}, {level}.",
    "{clips} clips ({minutes} min), {words} words, {blocks} {kind_en}. Normaliser {normalizer}, {level}.",
)
INTERVALS = T(
    "В скобках — 95-процентные интервалы: бутстрэп по говорящим (если они не указаны — по записям), {draws} выборок.",
    "In brackets: 95 % intervals, bootstrap by speaker (by recording where speakers are not given), {draws} draws.",
)
MODELS = T("Модели", "Models")
FIGURES = T("Все показатели", "All figures")
CATEGORIES = T("По категориям", "By category")
CATEGORY = T("Категория", "Category")
AXES = {
    "style": T("стиль", "style"),
    "dialect": T("диалект", "dialect"),
    "noise": T("шум", "noise"),
    "tempo": T("темп", "tempo"),
}
VALUES = {
    "formal": T("формальная речь", "formal"),
    "colloquial": T("разговорная речь", "colloquial"),
    "clean": T("чисто", "clean"),
    "slow": T("медленно", "slow"),
    "normal": T("обычный", "normal"),
    "fast": T("быстро", "fast"),
    "street": T("улица", "street"),
    "telephone": T("телефон", "telephone"),
    "telephone and noise": T("телефон и шум", "telephone and noise"),
    "babble": T("гул голосов", "babble"),
}
AMOUNT = T("слов / говорящих", "words / speakers")
SEEN = T("Записи, которые модели видели при обучении", "Clips that models saw in training")
SEEN_NOTE = T(
    "Эти записи не входят ни в одну другую таблицу: ошибка на них занижена.",
    "These clips are in no other table: errors on them are flattering.",
)
LADDER = T("Лестница нормализации (WER)", "Normalisation ladder (WER)")
LEVELS = {
    "L0": T("L0: с пунктуацией и регистром", "L0: with punctuation and case"),
    "L1": T("L1: без них", "L1: without them"),
    "L2": T("L2: ё = е, числа и сокращения в записи эталона", "L2: ё = е, numbers and abbreviations as the reference"),
    "L3": T("L3: слитно = раздельно", "L3: joined = apart"),
}
CASES = T("Падежи", "Case endings")
CASES_NOTE = T(
    "Половина русских форм совпадает в нескольких падежах, поэтому доля ошибок — отрезок: от заведомых до возможных.",
    "Half of Russian forms serve several cases, so the rate is an interval: from certain errors to possible ones.",
)
SPOKEN_WRITTEN = T("сказан ↓ написан →", "said ↓ written →")
CASE_NAMES = {
    "nomn": T("им.", "nom."),
    "gent": T("род.", "gen."),
    "datv": T("дат.", "dat."),
    "accs": T("вин.", "acc."),
    "ablt": T("тв.", "ins."),
    "loct": T("пр.", "loc."),
}
NO_CONFUSION = T("Однозначных замен падежа нет.", "No unambiguous case substitutions.")
STRESS_NOTE = T(
    "Обычное письмо ударения не показывает; видно лишь то, что с ним связано: ё, гласные, знаки ударения.",
    "Ordinary spelling does not show stress; only what goes with it can be seen: ё, vowels, stress marks.",
)
SPEED = T("Скорость", "Speed")
SPEED_NOTE = T(
    "RTFx — секунд звука за секунду работы. Повторные прогоны на прогретой модели, без загрузки: {runs}. {device}.",
    "RTFx: seconds of audio per second of work. Repeated passes of the warm model, loading apart: {runs}. {device}.",
)
EXAMPLES = T("Самые большие расхождения", "Largest disagreements")
REFERENCE = T("Эталон", "Reference")
ERRORS = T("ошибок", "errors")
PROVENANCE = T("Происхождение", "Provenance")
MISSING = T(
    "Не хватает предсказаний: {lacking}. Таблицы построены по записям, которые есть у всех моделей.",
    "Predictions are missing: {lacking}. The tables use the clips that every model has.",
)
SKIPPED = T("Пропущенные строки манифеста", "Manifest lines that were left out")
UNDEFINED = T("—", "—")
