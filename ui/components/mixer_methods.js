// Which method merges: the guide's as one row of buttons, the others in a list, and what the chosen one does.
WM.parts.mixer_methods = (mixer, panel) => {
  "use strict";
  const { t, el, pick } = WM;
  const { byName, change, clone } = mixer;
  const guide = WM.boot.methods.filter((one) => one.guide);
  const others = WM.boot.methods.filter((one) => !one.guide);
  let told = false; // the whole description is open

  // What was set with a method for these models is there again when it is chosen again.
  const kept = {};
  const place = (method) => [method, ...mixer.sources().map((role) => WM.slices.models.roles[role].ref)].join("\n");
  const setMethod = (next) =>
    change((r) => {
      const { method, ...settings } = clone(r);
      kept[place(method)] = settings;
      const fresh = Object.fromEntries(byName(next).parameters.map((p) => [p.key, clone(p.default)]));
      delete r.parts;
      Object.assign(r, { method: next }, clone(kept[place(next)] ?? { parameters: fresh }));
    });
  const row = (method) => {
    const { recipe } = mixer;
    const radio = guide.map((one, index) =>
      el(
        "button",
        {
          type: "button",
          role: "radio",
          "aria-checked": String(one.name === recipe.method),
          tabindex: one.name === recipe.method || (index === 0 && !method.guide) ? 0 : -1,
          "data-focus": `method-${one.name}`,
          onclick: () => setMethod(one.name),
        },
        one.short,
      ),
    );
    const group = el("div.wm-methods", { role: "radiogroup", "aria-label": t("method") }, radio);
    group.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      const next =
        guide[(guide.findIndex((one) => one.name === mixer.recipe.method) + step + guide.length) % guide.length];
      setMethod(next.name);
      panel.querySelector(`[data-focus="method-${next.name}"]`)?.focus();
      event.preventDefault();
    });
    return group;
  };
  const list = () =>
    el(
      "select",
      {
        "aria-label": t("method.more"),
        "data-focus": "more-methods",
        onchange: (event) => {
          if (event.target.value) setMethod(event.target.value);
        },
      },
      el("option", { value: "" }, t("method.more")),
      others.map((one) =>
        el(
          "option",
          { value: one.name, selected: one.name === mixer.recipe.method },
          [pick(one.title), one.sources === "many" && t("method.many"), one.needs_base && t("method.base")]
            .filter(Boolean)
            .join(" · "),
        ),
      ),
    );
  // The first sentence says what it does; the rest opens.
  const about = (method) => {
    const [first, ...rest] = pick(method.summary).split(/(?<=[.!?])\s+/);
    return el(
      "details.wm-about",
      { open: told },
      el(
        "summary",
        {
          onclick: () => {
            told = !told;
          },
        },
        first,
      ),
      rest.length > 0 && el("p", {}, rest.join(" ")),
    );
  };
  const methods = (method) =>
    el("div.wm-stack", { style: { gap: "7px" } }, row(method), others.length > 0 && list(), about(method));

  return methods;
};
