// One control per parameter that the registry declares, whatever its kind.
WM.parts.mixer_controls = (mixer, sliders, weights) => {
  "use strict";
  const { el, pick } = WM;

  const control = (kind) => {
    const { key } = kind;
    const value = mixer.recipe.parameters[key] ?? kind.default;
    const set = (next, how = {}) =>
      mixer.change((r) => {
        r.parameters[key] = next;
      }, how);
    const id = `wm-p-${key}`;
    const described = { id, "data-focus": id, "data-key": key };
    const label = () => el("label", { for: id, title: pick(kind.help) }, pick(kind.label));
    // A list or a line of text takes the whole width, so its label stands above it; a number is narrow enough to
    // stand beside.
    const stacked = (widget) => el("div.wm-control", {}, el("div.wm-top", {}, label()), widget);
    if (sliders.numeric(kind)) return sliders.numberOf(key, kind, value, set);
    if (kind.kind === "choice")
      return stacked(
        el(
          "select",
          { ...described, onchange: (event) => set(event.target.value) },
          Object.entries(kind.options).map(([option, label]) =>
            el("option", { value: option, selected: option === value }, pick(label)),
          ),
        ),
      );
    if (kind.kind === "toggle")
      return el(
        "label.wm-check",
        { title: pick(kind.help) },
        el("input", { ...described, type: "checkbox", checked: value, onchange: (event) => set(event.target.checked) }),
        pick(kind.label),
      );
    if (kind.kind === "integer")
      return el(
        "div.wm-control",
        {},
        el(
          "div.wm-top",
          {},
          label(),
          el("input.wm-number", {
            ...described,
            type: "text",
            inputmode: "numeric",
            value: String(value),
            onchange: (event) => set(Number(event.target.value)),
          }),
        ),
      );
    return weights(kind, value, set, id);
  };

  return control;
};
