// Texts and figures in the language of the page.
(() => {
  "use strict";
  const t = (key, facts = {}) => {
    const text = WM.boot?.texts[WM.lang][key];
    if (text === undefined) {
      console.error("no text for", key);
      return key;
    }
    return text.replace(/\{(\w+)\}/g, (whole, name) => (name in facts ? String(facts[name]) : whole));
  };
  const pick = (text) => (text == null ? "" : typeof text === "string" ? text : (text[WM.lang] ?? text.en ?? ""));
  const decimal = (text) => (WM.lang === "ru" ? text.replace(".", ",").replace("-", "−") : text.replace("-", "−"));
  const number = (value, digits = 2) => decimal(Number(value).toFixed(digits));
  const short = (value, digits = 2) => decimal(String(+Number(value).toFixed(digits)));
  const percent = (value, digits = 1) =>
    value == null ? "—" : number(value * 100, digits) + (WM.lang === "ru" ? "\u00a0%" : "%");
  const seconds = (value) => {
    if (value == null) return "—";
    if (value < 1) return number(value, 2) + "\u00a0" + t("unit.s");
    if (value < 60) return number(value, 1) + "\u00a0" + t("unit.s");
    const whole = Math.round(value);
    return `${Math.floor(whole / 60)}\u00a0${t("unit.min")}\u00a0${whole % 60}\u00a0${t("unit.s")}`;
  };
  const plural = (count, key) => {
    const rule = new Intl.PluralRules(WM.lang).select(count);
    const forms = t(key).split("|"); // ru: one|few|many, en: one|other
    const index = WM.lang === "ru" ? { one: 0, few: 1, many: 2, other: 1 }[rule] : rule === "one" ? 0 : 1;
    return (forms[index] ?? forms[0]).replace("{n}", count);
  };

  Object.assign(WM, { t, pick, number, short, percent, seconds, plural });
})();
