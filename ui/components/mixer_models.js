// The models that are mixed, a row for each, and whether they fit together.
WM.parts.mixer_models = (mixer, choose) => {
  "use strict";
  const { t, el, icon, mark, button, pick } = WM;

  const verdict = (models) => {
    const { state, mismatches = [], warnings = [] } = models.verdict;
    const failed = models.failed;
    const judged = el(
      "div.wm-verdict",
      { role: "status", data: { state } },
      state === "ok" ? icon("check") : state === "bad" ? icon("warn") : null,
      el(
        "div",
        {},
        el("span", {}, t("verdict." + state)),
        mismatches.length > 0 &&
          el(
            "ul",
            {},
            mismatches.map((one) => el("li", {}, pick(one.sentence), one.remedy ? " " + pick(one.remedy) : "")),
          ),
        warnings.length > 0 &&
          el(
            "details",
            {},
            el("summary", {}, t("verdict.warnings", { n: warnings.length })),
            el(
              "ul",
              {},
              warnings.map((one) => el("li", {}, pick(one))),
            ),
          ),
      ),
    );
    // A model that could not be fetched is told beside those that stay.
    return [
      failed &&
        el(
          "div.wm-verdict",
          { role: "alert", data: { state: "bad" } },
          icon("warn"),
          el("div", {}, pick(failed.sentence), failed.remedy ? " " + pick(failed.remedy) : ""),
        ),
      judged,
    ];
  };
  const modelRows = () => {
    const models = WM.slices.models;
    if (!models) return null;
    const row = (role) =>
      el(
        "button.wm-model",
        {
          type: "button",
          title: pick(models.roles[role]?.detail) || null,
          "data-focus": `model-${role}`,
          onclick: () => choose(role),
        },
        mark(role),
        el(
          "span.wm-title",
          {},
          pick(models.roles[role]?.name) || t(role === "base" ? "model.base.none" : "model.none.chosen"),
        ),
        icon("down"),
      );
    const method = mixer.byName(mixer.recipe.method);
    const many = method?.sources === "many";
    const has = mixer.sources();
    const extra = ["c", "d"].filter((role) => models.roles[role]);
    const next = ["c", "d"].find((role) => !models.roles[role]);
    return el(
      "div.wm-models",
      {},
      row("a"),
      row("b"),
      el(
        "div.wm-swap",
        {},
        button("", () => mixer.act("models.swap"), { icon: "swap", kind: "ghost", title: t("model.swap") }),
      ),
      extra.map((role) => [
        row(role),
        button("", () => mixer.act("models.choose", { role, ref: null }), {
          icon: "close",
          kind: "ghost",
          title: t("model.remove", { role: role.toUpperCase() }),
          focus: `remove-${role}`,
        }),
      ]),
      extra.length > 0 &&
        !many &&
        el("p.wm-quiet.wm-wide", {}, t("model.unused", { roles: extra.map((role) => role.toUpperCase()).join(", ") })),
      many &&
        next &&
        has.length >= 2 &&
        el(
          "div.wm-wide",
          {},
          button(t("model.add"), () => choose(next), { icon: "plus", kind: "small", focus: "add-model" }),
        ),
      method?.needs_base && row("base"),
      verdict(models),
    );
  };

  return modelRows;
};
