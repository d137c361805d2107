// Experiments beside each other: a table of what differs between those that are ticked.
WM.parts.history_compared = (unpick) => {
  "use strict";
  const { t, el, button, pick } = WM;

  const label = (method, key) =>
    pick(WM.boot.methods.find((one) => one.name === method)?.parameters.find((one) => one.key === key)?.label) || key;
  const flat = (row) => {
    const out = { [t("method")]: row.recipe.method };
    for (const [key, value] of Object.entries(row.recipe.parameters ?? {}))
      out[label(row.recipe.method, key)] = Array.isArray(value)
        ? value.map((x) => WM.short(x, 4)).join(" / ")
        : typeof value === "number"
          ? WM.short(value, 4)
          : String(value);
    if (row.recipe.parts) out[t("fine.title")] = JSON.stringify(row.recipe.parts);
    out[t("history.models")] = ["a", "b", "c", "d", "base"]
      .map((role) => row.models[role])
      .filter(Boolean)
      .map(pick)
      .join(" + ");
    out[t("history.clip")] = row.clip ? pick(row.clip) : "—";
    for (const side of ["merged"]) {
      out[`${t("wer")} · ${t("merged")}`] = row.sides[side]?.wer == null ? "—" : WM.percent(row.sides[side].wer);
      out[`${t("merged")}`] = row.sides[side]?.text ?? "—";
    }
    return out;
  };
  const compare = (chosen) => {
    if (chosen.length < 2) return null;
    const tables = chosen.map(flat);
    const keys = [...new Set(tables.flatMap(Object.keys))].filter(
      (key) => new Set(tables.map((one) => one[key] ?? "—")).size > 1,
    );
    return el(
      "div.wm-card.wm-stack",
      {},
      el(
        "div.wm-row",
        {},
        el("h3.wm-grow", {}, t("history.compare", { n: chosen.length })),
        button("", unpick, { icon: "close", kind: "ghost", title: t("history.unpick"), focus: "unpick" }),
      ),
      el(
        "div.wm-scroll",
        {},
        el(
          "table",
          {},
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              el("th", { scope: "col" }, t("history.differs")),
              chosen.map((row) => el("th", { scope: "col" }, pick(row.sentence))),
            ),
          ),
          el(
            "tbody",
            {},
            keys.map((key) =>
              el(
                "tr",
                {},
                el("th", { scope: "row" }, key),
                tables.map((one) => el("td", {}, one[key] ?? "—")),
              ),
            ),
          ),
        ),
      ),
      keys.length === 0 && el("p.wm-quiet", {}, t("history.nothing")),
    );
  };

  return compare;
};
