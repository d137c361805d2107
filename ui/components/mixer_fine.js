// Fine tuning: the same parameters for one part of the model, as one value or as a curve over its layers.
WM.parts.mixer_fine = (mixer, sliders, weights) => {
  "use strict";
  const { t, el, pick } = WM;
  const { clone, name } = mixer;
  const { between, aAtTop } = sliders;
  let more = false; // opened by hand
  const ANCHORS = 5;
  const isCurve = (kind, value) => Array.isArray(value) && (kind.kind === "slider" || Array.isArray(value[0]));
  // Writes one parameter of one part of the model; without a value the part goes by the common one again.
  const setter =
    (component, key) =>
    (next, how = {}) =>
      mixer.change((r) => {
        const parts = (r.parts = { ...(r.parts ?? {}) });
        parts[component.key] = { ...(parts[component.key] ?? {}) };
        if (next === undefined) delete parts[component.key][key];
        else parts[component.key][key] = next;
        if (!Object.keys(parts[component.key]).length) delete parts[component.key];
      }, how);
  const tick = (focus, checked, onchange, label, quiet = "") =>
    el(
      `label.wm-check${quiet}`,
      {},
      el("input", {
        type: "checkbox",
        checked,
        "data-focus": focus,
        onchange: (event) => onchange(event.target.checked),
      }),
      label,
    );
  const weightsOf = (component, kind, value, set, id) =>
    Array.isArray(value[0])
      ? el("p.wm-quiet", {}, t("curve.typed"))
      : weights(
          { ...kind, label: component.label },
          value,
          (next, how) => set(next ?? mixer.sources().map(() => 1), how),
          `wm-p-fine-${id}`,
        );
  const numberOrCurve = (kind, value, set, id) => {
    const curve = isCurve(kind, value);
    const bend = (on) => set(on ? Array.from({ length: ANCHORS }, () => clone(value)) : clone(value[0]));
    return [
      tick(`curve-${id}`, curve, bend, t("curve"), ".wm-quiet"),
      curve
        ? curveOf(kind, value, set, id)
        : sliders.numberOf(`fine-${id}`, { ...kind, key: `fine-${id}` }, value, set),
    ];
  };
  const part = (component, kind) => {
    const { key } = kind;
    const { recipe } = mixer;
    const value = recipe.parts?.[component.key]?.[key];
    const id = `${component.key}-${key}`;
    const set = setter(component, key);
    const common = recipe.parameters[key] ?? mixer.even();
    const label = tunableCount() > 1 ? `${pick(component.label)} · ${pick(kind.label)}` : pick(component.label);
    return el(
      "div",
      {},
      tick(`fine-${id}`, value !== undefined, (on) => set(on ? clone(common) : undefined), label),
      value !== undefined &&
        el(
          "div.wm-stack",
          { style: { gap: "4px", "padding-inline-start": "25px" } },
          kind.kind === "source_weights"
            ? weightsOf(component, kind, value, set, id)
            : numberOrCurve(kind, value, set, id),
        ),
    );
  };
  const tunableCount = () => mixer.byName(mixer.recipe.method).parameters.filter((kind) => kind.per_part).length;
  const first = (anchor) => (Array.isArray(anchor) ? anchor[0] : anchor);
  const anchorsOf = (kind, anchors, set, id) =>
    anchors.map((anchor, index) => {
      const told = el("output", { "aria-hidden": "true" }, WM.short(first(anchor), 3));
      const input = el("input", {
        type: "range",
        min: kind.low ?? 0,
        max: kind.high ?? 1,
        step: kind.step ?? 0.05,
        "data-focus": `curve-${id}-${index}`,
        "aria-label": t("curve.anchor", { n: index + 1, total: anchors.length }),
        "aria-orientation": "vertical",
        oninput: (event) => {
          const next = clone(anchors);
          const x = Number(event.target.value);
          next[index] = Array.isArray(anchor) ? [x, Math.round((1 - x) * 1e6) / 1e6] : x;
          anchors = next;
          told.textContent = WM.short(x, 3);
          set(next, { later: true });
        },
      });
      input.value = first(anchor);
      return el("div", {}, told, input);
    });
  const curveOf = (kind, anchors, set, id) => {
    const top = between(kind) ? t("curve.toward", { name: name(aAtTop(kind) ? "a" : "b") }) : WM.short(kind.high ?? 1);
    const bottom = between(kind)
      ? t("curve.toward", { name: name(aAtTop(kind) ? "b" : "a") })
      : WM.short(kind.low ?? 0);
    const ramp = between(kind)
      ? (aAtTop(kind) ? ["b", "m", "a"] : ["a", "m", "b"]).map((role) => `var(--wm-${role}-line)`)
      : ["var(--wm-raised)", "var(--wm-m-line)"];
    return el(
      "div",
      {},
      el("div.wm-ends.wm-one", {}, el("span", {}, "↑ " + top)),
      el(
        "div.wm-curve",
        { style: { "--track": `linear-gradient(0deg, ${ramp.join(", ")})` } },
        anchorsOf(kind, anchors, set, id),
      ),
      el("div.wm-ends", {}, el("span", {}, t("curve.first")), el("span", {}, t("curve.last"))),
      el("div.wm-ends.wm-one", {}, el("span", {}, "↓ " + bottom)),
    );
  };
  // What is opened at the lower edge of the mixer would stay below it.
  const bringIntoView = ({ target }) => {
    const details = target.closest("details");
    if (!details.open) requestAnimationFrame(() => details.scrollIntoView({ block: "nearest" }));
  };
  const fine = (method) => {
    const tunable = method.parameters.filter(
      (kind) => kind.per_part && (sliders.numeric(kind) || kind.kind === "source_weights"),
    );
    if (!tunable.length) return null;
    return el(
      "details.wm-fine",
      {
        open: more || Object.keys(mixer.recipe.parts ?? {}).length > 0,
        ontoggle: (event) => {
          more = event.target.open;
        },
      },
      el("summary", { onclick: bringIntoView }, t("fine.title")),
      el(
        "div.wm-stack",
        {},
        el("p.wm-quiet", {}, t("fine.hint")),
        WM.boot.components.map((component) =>
          tunable
            .filter((kind) => !kind.components.length || kind.components.includes(component.key))
            .map((kind) => part(component, kind)),
        ),
      ),
    );
  };

  return fine;
};
