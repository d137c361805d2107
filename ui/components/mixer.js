// The mixer: the recipe in hand, what of it goes to the server and when, and the panel that holds the controls.
WM.island("mixer", (root) => {
  "use strict";
  const { t, el, button, fill, pick, parts } = WM;
  const methods = WM.boot.methods;
  const presets = WM.boot.presets;
  let recipe = null;
  let dragging = false;
  let sending = null;
  let changed = false;
  let timer = null;
  const byName = (name) => methods.find((method) => method.name === name);
  const clone = (value) => JSON.parse(JSON.stringify(value));
  const name = (role) => pick(WM.slices.models?.roles?.[role]?.name) || { a: "A", b: "B", base: t("model.base") }[role];
  const sources = () => ["a", "b", "c", "d"].filter((role) => WM.slices.models?.roles?.[role]);
  const even = () => sources().map(() => Math.round(1e4 / sources().length) / 1e4);

  // ---- telling the server -------------------------------------------------------------------------------------------
  // One at a time, so that an older position cannot arrive last; of those that it went through meanwhile, the last is
  // sent.
  const send = () => {
    clearTimeout(timer);
    timer = null;
    changed = true;
    return (sending ??= (async () => {
      while (changed) {
        changed = false;
        try {
          await WM.call("mixer.set", { recipe: clone(recipe) });
          WM.step("slider");
        } catch {
          /* refused: what the server holds is put back below */
        }
      }
      sending = null;
      adopt();
    })());
  };
  const change = (edit, { later = false } = {}) => {
    edit(recipe);
    clearTimeout(timer);
    if (later)
      timer = setTimeout(send, 90); // a drag: the last position within a moment is the one that counts
    else {
      draw();
      send();
    }
  };
  // What the hand did before is there before.
  const settled = async () => {
    await (timer ? send() : sending);
  };
  const act = async (action, payload = {}) => {
    await settled();
    return WM.attempt(action, payload);
  };

  // What the server holds comes into the hand, unless the hand is moving.
  const adopt = () => {
    const fresh = WM.slices.recipe;
    if (!fresh || sending || dragging || timer) return; // what the hand holds is newer than what the server says
    recipe = {
      method: fresh.method,
      parameters: clone(fresh.parameters),
      ...(fresh.parts ? { parts: clone(fresh.parts) } : {}),
    };
    draw();
  };
  const whileHeld = (range) => {
    range.addEventListener("pointerdown", () => {
      dragging = true;
    });
    for (const end of ["pointerup", "pointercancel"])
      range.addEventListener(end, () => {
        dragging = false;
        adopt();
      });
  };

  // ---- what the parts draw ------------------------------------------------------------------------------------------
  const mixer = {
    get recipe() {
      return recipe;
    },
    byName,
    clone,
    name,
    sources,
    even,
    change,
    settled,
    act,
    whileHeld,
  };
  const panel = el("section.wm-mixer", { "aria-label": t("mixer"), data: { open: "false" } });
  const dialog = el("dialog.wm-dialog", { "aria-labelledby": "wm-pick-title" });
  document.body.append(dialog);
  const sliders = parts.mixer_slider(mixer);
  const weights = parts.mixer_weights(mixer);
  const control = parts.mixer_controls(mixer, sliders, weights);
  const fine = parts.mixer_fine(mixer, sliders, weights);
  const modelRows = parts.mixer_models(mixer, parts.mixer_picker(mixer, dialog));
  const chooser = parts.mixer_methods(mixer, panel);
  const asText = parts.mixer_recipe(mixer, dialog);
  const sheet = parts.mixer_sheet(panel);

  const presetRow = (state) => {
    const preset = el(
      "select",
      {
        "aria-label": t("presets"),
        "data-focus": "presets",
        onchange: (event) => {
          if (event.target.value) act("mixer.preset", { name: event.target.value });
        },
      },
      el("option", { value: "" }, t("presets.choose")),
      presets.map((one) => el("option", { value: one.name, selected: state?.preset === one.name }, pick(one.title))),
    );
    const chosen = presets.find((one) => one.name === state?.preset);
    return el("div.wm-control", {}, preset, chosen && el("p.wm-quiet", {}, pick(chosen.why)));
  };
  const live = (state) =>
    el(
      "div.wm-live",
      {},
      el(
        "label.wm-check",
        {},
        el("input", {
          type: "checkbox",
          checked: state?.live !== false,
          "data-focus": "live",
          onchange: (event) => act("mixer.live", { live: event.target.checked }),
        }),
        t("live"),
      ),
      state?.live === false && button(t("compare.now"), () => act("compare.run"), { kind: "primary", focus: "run" }),
    );
  const step = (name, disabled) =>
    button("", () => act(`mixer.${name}`), { icon: name, kind: "ghost", title: t(name), disabled });
  const draw = () => {
    if (!recipe) return;
    const method = byName(recipe.method);
    const state = WM.slices.recipe;
    fill(
      panel,
      sheet.text,
      modelRows(),
      presetRow(state),
      chooser(method),
      method.parameters.map(control),
      fine(method),
      el(
        "div.wm-tools-row",
        {},
        live(state),
        step("undo", !state?.can_undo),
        step("redo", !state?.can_redo),
        step("reset"),
        el("span.wm-grow"),
        asText(),
      ),
    );
  };
  WM.on("recipe", adopt);
  WM.on("models", () => {
    if (!dragging) draw();
  });
  WM.key("KeyZ", () => act("mixer.undo"));
  WM.mixer = {
    get busy() {
      return Boolean(timer || sending);
    },
    recipe: () => clone(recipe),
    set: (next) => {
      recipe = { ...recipe, ...clone(next) };
      draw();
      return send();
    },
  };
  fill(root, sheet.bar, panel);
});
