// The mixer: models, method, every parameter that the registry declares, presets, undo, and the recipe as text or link.
WM.island("mixer", (root) => {
  "use strict";
  const { t, el, icon, mark, button, fill, pick } = WM;
  const methods = WM.boot.methods,
    presets = WM.boot.presets;
  let recipe = null,
    dragging = false,
    sending = null,
    changed = false,
    timer = null,
    open = false,
    more = false,
    told = false;
  const byName = (name) => methods.find((method) => method.name === name);
  const clone = (value) => JSON.parse(JSON.stringify(value));
  const name = (role) => pick(WM.slices.models?.roles?.[role]?.name) || { a: "A", b: "B", base: t("model.base") }[role];

  // ---- telling the server ------------------------------------------------------------------------------------------------
  // One at a time, so that an older position cannot arrive last; of those that it went through meanwhile, the last is sent.
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
  const act = async (action, payload = {}) => {
    await (timer ? send() : sending);
    return WM.attempt(action, payload);
  };

  // ---- one control per declared parameter ----------------------------------------------------------------------------------
  // A is always on the left and B on the right, whichever way the guide counts (Direct and weight pairs: 1 is A; SLERP: 0 is A).
  const between = (control) =>
    control.kind === "weight_pair" || (control.ends && [...control.ends].map(pick).sort().join() === "A,B");
  const aAtTop = (control) => control.kind === "weight_pair" || (between(control) && pick(control.ends[1]) === "A");
  const ends = (control) => {
    const side = (role) => el(`span.wm-end-${role}`, {}, mark(role), el("b", {}, name(role)));
    if (between(control)) return el("div.wm-ends", { "aria-hidden": "true" }, side("a"), side("b"));
    return control.ends
      ? el(
          "div.wm-ends",
          { "aria-hidden": "true" },
          control.ends.map((end) => el("span", {}, pick(end))),
        )
      : null;
  };
  const spoken = (control, value) => {
    if (!between(control)) return WM.short(value, 3);
    const share = aAtTop(control) ? value : 1 - value;
    return t("slider.share", {
      a: Math.round(share * 100),
      b: Math.round((1 - share) * 100),
      name_a: name("a"),
      name_b: name("b"),
    });
  };
  const slider = ({ key, control, value, set, pair }) => {
    const id = `wm-p-${key}`;
    const range = el(`input.wm-range.${between(control) ? "wm-ab" : "wm-amount"}`, {
      type: "range",
      id,
      min: control.low ?? 0,
      max: control.high ?? 1,
      step: control.step ?? 0.05,
      "data-focus": id,
      "data-key": key,
      dir: aAtTop(control) ? "rtl" : "ltr",
      "aria-valuetext": spoken(control, value),
      "aria-describedby": `${id}-help`,
    });
    range.value = value;
    const box = el(`input.wm-number${pair ? ".wm-pair" : ""}`, {
      type: "text",
      inputmode: "decimal",
      "aria-label": t("slider.type", { label: pick(control.label) }),
      "data-focus": `${id}-n`,
      "data-key": key,
    });
    const write = (number) => {
      box.value = pair ? `${WM.short(number, 3)} / ${WM.short(1 - number, 3)}` : WM.short(number, 4);
      range.setAttribute("aria-valuetext", spoken(control, number));
    };
    let held = value; // not what the range says: it rounds to its step, and a typed number need not lie on one
    write(value);
    range.addEventListener("pointerdown", () => {
      dragging = true;
    });
    for (const end of ["pointerup", "pointercancel"])
      range.addEventListener(end, () => {
        dragging = false;
        adopt();
      });
    range.addEventListener("input", () => {
      held = Number(range.value);
      write(held);
      set(held, { later: true });
    });
    box.addEventListener("change", () => {
      const number = Number(box.value.split("/")[0].trim().replace(",", "."));
      const [low, high] = [control.low ?? 0, control.high ?? 1];
      if (!Number.isFinite(number) || box.value.trim() === "" || number < low || number > high) {
        write(held);
        WM.toast({ sentence: t("slider.bad", { low: WM.short(low), high: WM.short(high) }) });
        return;
      }
      set(number, {});
    });
    return el(
      "div.wm-control",
      {},
      el("div.wm-top", {}, el("label", { for: id, title: pick(control.help) }, pick(control.label)), box),
      range,
      ends(control),
      el("span.wm-sr", { id: `${id}-help` }, pick(control.help)),
    );
  };
  // ---- one weight per model: for two and for more -----------------------------------------------------------------------------
  const sources = () => ["a", "b", "c", "d"].filter((role) => WM.slices.models?.roles?.[role]);
  const weights = (kind, value, set, id) => {
    const roles = sources(),
      now = value && value.length === roles.length ? [...value] : roles.map(() => Math.round(1e4 / roles.length) / 1e4);
    const share = (index) => WM.percent(now[index] / (now.reduce((sum, one) => sum + one, 0) || 1), 0);
    const rows = roles.map((role, index) => {
      const shown = el("span.wm-share.wm-figures", {}),
        high = Math.max(1, ...now);
      const range = el("input.wm-range", {
        type: "range",
        id: index ? `${id}-${role}` : id,
        min: 0,
        max: high,
        step: 0.05,
        "data-focus": `${id}-${role}`,
        "data-key": kind.key,
        "aria-label": name(role),
        style: { "--track": `linear-gradient(90deg, var(--wm-raised), var(--wm-${role}-line))` },
      });
      range.value = now[index];
      const box = el("input.wm-number", {
        type: "text",
        inputmode: "decimal",
        "aria-label": t("slider.type", { label: name(role) }),
        "data-focus": `${id}-${role}-n`,
      });
      range.addEventListener("pointerdown", () => {
        dragging = true;
      });
      for (const end of ["pointerup", "pointercancel"])
        range.addEventListener(end, () => {
          dragging = false;
          adopt();
        });
      range.addEventListener("input", () => {
        now[index] = Number(range.value);
        write();
        set([...now], { later: true });
      });
      box.addEventListener("change", () => {
        const number = Number(box.value.trim().replace(",", "."));
        if (!Number.isFinite(number) || box.value.trim() === "") {
          write();
          WM.toast({ sentence: t("slider.bad", { low: 0, high: WM.short(high) }) });
          return;
        }
        set(
          now.map((one, other) => (other === index ? number : one)),
          {},
        );
      });
      return {
        row: el("div.wm-source-row", {}, mark(role), el("span.wm-source-name", {}, name(role)), shown, box, range),
        tell: () => {
          shown.textContent = share(index);
          box.value = WM.short(now[index], 4);
          range.setAttribute("aria-valuetext", `${WM.short(now[index], 3)}, ${share(index)}`);
        },
      };
    });
    const write = () => {
      for (const one of rows) one.tell();
    };
    write();
    return el(
      "div.wm-control",
      {},
      el(
        "div.wm-top",
        {},
        el("label", { for: id, title: pick(kind.help) }, pick(kind.label)),
        value
          ? button(t("weights.even"), () => set(null, {}), { kind: "small", focus: `${id}-even` })
          : el("span.wm-quiet", {}, t("weights.equal")),
      ),
      rows.map((one) => one.row),
    );
  };
  const numeric = (kind) => kind.kind === "slider" || kind.kind === "weight_pair";
  const one = (key, kind, value, set) =>
    kind.kind === "weight_pair"
      ? slider({
          key,
          control: kind,
          value: value[0],
          pair: true,
          set: (a, how) => set([a, Math.round((1 - a) * 1e6) / 1e6], how),
        })
      : slider({ key, control: kind, value, set });
  const control = (kind) => {
    const { key } = kind;
    const value = recipe.parameters[key] ?? kind.default;
    const set = (next, how = {}) =>
      change((r) => {
        r.parameters[key] = next;
      }, how);
    const id = `wm-p-${key}`;
    const described = { id, "data-focus": id, "data-key": key };
    const label = () => el("label", { for: id, title: pick(kind.help) }, pick(kind.label));
    // A list or a line of text takes the whole width, so its label stands above it; a number is narrow enough to stand beside.
    const stacked = (widget) => el("div.wm-control", {}, el("div.wm-top", {}, label()), widget);
    if (numeric(kind)) return one(key, kind, value, set);
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

  // ---- models ------------------------------------------------------------------------------------------------------------
  const dialog = el("dialog.wm-dialog", { "aria-labelledby": "wm-pick-title" });
  document.body.append(dialog);
  const choose = async (role) => {
    await act("models.options");
    const models = WM.slices.models;
    const typed = el("input", {
      type: "text",
      placeholder: t("model.typed"),
      "aria-label": t("model.typed"),
      spellcheck: "false",
    });
    const take = (ref) => {
      dialog.close();
      act("models.choose", { role, ref });
    };
    const chosen = (option) => models.roles[role]?.ref === option.ref;
    const groups = [...new Set(models.options.map((option) => option.group))];
    fill(
      dialog,
      el(
        "div.wm-row",
        {},
        mark(role),
        el(
          "h2.wm-grow",
          { id: "wm-pick-title" },
          t("model.choose", { role: role === "base" ? t("model.base") : role.toUpperCase() }),
        ),
        button("", () => dialog.close(), { icon: "close", kind: "ghost", title: t("close") }),
      ),
      role === "base" && el("p.wm-quiet", {}, t("model.base.why")),
      el(
        "div.wm-options",
        {},
        groups.map((group) => [
          el("p.wm-quiet", {}, t("model.group." + group)),
          models.options
            .filter((option) => option.group === group)
            .map((option) =>
              el(
                "button.wm-option",
                { type: "button", "aria-current": String(chosen(option)), onclick: () => take(option.ref) },
                el("span.wm-grow", {}, pick(option.name)),
                el("span.wm-quiet", {}, pick(option.detail)),
              ),
            ),
        ]),
        role === "base" && el("button.wm-option", { type: "button", onclick: () => take(null) }, t("model.none")),
      ),
      el(
        "form.wm-row",
        {
          onsubmit: (event) => {
            event.preventDefault();
            if (typed.value.trim()) take(typed.value.trim());
          },
        },
        el("div.wm-grow", {}, typed),
        button(t("model.take"), null, { kind: "primary", type: "submit" }),
      ),
      el("p.wm-quiet", { style: { "margin-top": "8px" } }, t(models.hub ? "model.hint" : "model.hint.offline")),
    );
    dialog.showModal();
  };
  const verdict = (models) => {
    const { state, mismatches = [], warnings = [] } = models.verdict,
      failed = models.failed;
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
    const method = byName(recipe.method),
      many = method?.sources === "many",
      has = sources();
    const extra = ["c", "d"].filter((role) => models.roles[role]),
      next = ["c", "d"].find((role) => !models.roles[role]);
    return el(
      "div.wm-models",
      {},
      row("a"),
      row("b"),
      el(
        "div.wm-swap",
        {},
        button("", () => act("models.swap"), { icon: "swap", kind: "ghost", title: t("model.swap") }),
      ),
      extra.map((role) => [
        row(role),
        button("", () => act("models.choose", { role, ref: null }), {
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

  // ---- recipes as text and link ------------------------------------------------------------------------------------------------
  const plain = () => WM.slices.recipe?.json ?? recipe;
  const copy = async (text, said) => {
    try {
      await navigator.clipboard.writeText(text);
      WM.toast(t(said), "good");
    } catch {
      text_dialog(text);
    }
  };
  const text_dialog = (text) => {
    const area = el("textarea", { rows: 8, "aria-label": t("recipe.text"), spellcheck: "false", value: text });
    fill(
      dialog,
      el(
        "div.wm-row",
        {},
        el("h2.wm-grow", { id: "wm-pick-title" }, t("recipe.text")),
        button("", () => dialog.close(), { icon: "close", kind: "ghost", title: t("close") }),
      ),
      el("p.wm-quiet", {}, t("recipe.text.hint")),
      area,
      el(
        "div.wm-row",
        { style: { "margin-top": "10px" } },
        button(
          t("recipe.load"),
          async () => {
            if (await WM.paste(area.value)) dialog.close();
          },
          { kind: "primary" },
        ),
      ),
    );
    dialog.showModal();
    area.focus();
    area.select();
  };
  const link = () => {
    const url = new URL(location.href);
    url.hash = "";
    url.searchParams.set("recipe", JSON.stringify(plain()));
    copy(url.href, "recipe.link.copied");
  };

  // ---- fine tuning: the same parameters for one part of the model, as one value or as a curve over its layers ------------------
  const ANCHORS = 5;
  const isCurve = (kind, value) => Array.isArray(value) && (kind.kind === "slider" || Array.isArray(value[0]));
  const part = (component, kind) => {
    const { key } = kind,
      value = recipe.parts?.[component.key]?.[key],
      id = `${component.key}-${key}`,
      many = kind.kind === "source_weights";
    const set = (next, how = {}) =>
      change((r) => {
        const parts = (r.parts = { ...(r.parts ?? {}) });
        parts[component.key] = { ...(parts[component.key] ?? {}) };
        if (next === undefined) delete parts[component.key][key];
        else parts[component.key][key] = next;
        if (!Object.keys(parts[component.key]).length) delete parts[component.key];
      }, how);
    const common = recipe.parameters[key] ?? sources().map(() => Math.round(1e4 / sources().length) / 1e4);
    const curve = value !== undefined && isCurve(kind, value);
    const label = recipe_parameters() > 1 ? `${pick(component.label)} · ${pick(kind.label)}` : pick(component.label);
    return el(
      "div",
      {},
      el(
        "label.wm-check",
        {},
        el("input", {
          type: "checkbox",
          checked: value !== undefined,
          "data-focus": `fine-${id}`,
          onchange: (event) => set(event.target.checked ? clone(common) : undefined),
        }),
        label,
      ),
      value !== undefined &&
        el(
          "div.wm-stack",
          { style: { gap: "4px", "padding-inline-start": "25px" } },
          !many &&
            el(
              "label.wm-check.wm-quiet",
              {},
              el("input", {
                type: "checkbox",
                checked: curve,
                "data-focus": `curve-${id}`,
                onchange: (event) =>
                  set(event.target.checked ? Array.from({ length: ANCHORS }, () => clone(value)) : clone(value[0])),
              }),
              t("curve"),
            ),
          many
            ? Array.isArray(value[0])
              ? el("p.wm-quiet", {}, t("curve.typed"))
              : weights(
                  { ...kind, label: component.label },
                  value,
                  (next, how) => set(next ?? sources().map(() => 1), how),
                  `wm-p-fine-${id}`,
                )
            : curve
              ? curveOf(kind, value, set, id)
              : one(`fine-${id}`, { ...kind, key: `fine-${id}` }, value, set),
        ),
    );
  };
  const recipe_parameters = () => byName(recipe.method).parameters.filter((kind) => kind.per_part).length;
  const curveOf = (kind, anchors, set, id) => {
    const number = (anchor) => (Array.isArray(anchor) ? anchor[0] : anchor);
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
        anchors.map((anchor, index) => {
          const told = el("output", { "aria-hidden": "true" }, WM.short(number(anchor), 3));
          const input = el("input", {
            type: "range",
            min: kind.low ?? 0,
            max: kind.high ?? 1,
            step: kind.step ?? 0.05,
            "data-focus": `curve-${id}-${index}`,
            "aria-label": t("curve.anchor", { n: index + 1, total: anchors.length }),
            "aria-orientation": "vertical",
            oninput: (event) => {
              const next = clone(anchors),
                x = Number(event.target.value);
              next[index] = Array.isArray(anchor) ? [x, Math.round((1 - x) * 1e6) / 1e6] : x;
              anchors = next;
              told.textContent = WM.short(x, 3);
              set(next, { later: true });
            },
          });
          input.value = number(anchor);
          return el("div", {}, told, input);
        }),
      ),
      el("div.wm-ends", {}, el("span", {}, t("curve.first")), el("span", {}, t("curve.last"))),
      el("div.wm-ends.wm-one", {}, el("span", {}, "↓ " + bottom)),
    );
  };
  const fine = (method) => {
    const tunable = method.parameters.filter(
      (kind) => kind.per_part && (numeric(kind) || kind.kind === "source_weights"),
    );
    if (!tunable.length) return null;
    return el(
      "details.wm-fine",
      {
        open: more || Object.keys(recipe.parts ?? {}).length > 0,
        ontoggle: (event) => {
          more = event.target.open;
        },
      },
      el("summary", {}, t("fine.title")),
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

  // ---- all of it -----------------------------------------------------------------------------------------------------------
  const panel = el("section.wm-mixer", { "aria-label": t("mixer"), data: { open: "false" } });
  // On a phone the bottom bar holds what a thumb needs most: play, and the mixer.
  const playIcon = () => fill(bottomPlay, icon(WM.player?.paused === false ? "pause" : "play"));
  const bottomPlay = el(
    "button.wm-bottom-play",
    { type: "button", "aria-label": t("play"), onclick: () => WM.player?.toggle() },
    icon("play"),
  );
  document.addEventListener("wm-playing", ({ detail: playing }) => {
    playIcon();
    bottomPlay.setAttribute("aria-label", t(playing ? "pause" : "play"));
  });
  WM.on("clip", ({ clip }) => {
    bottomPlay.disabled = !clip;
  });
  const handle = el(
    "button.wm-sheet-handle",
    {
      type: "button",
      "aria-expanded": "false",
      onclick: () => {
        open = !open;
        panel.dataset.open = open;
        handle.setAttribute("aria-expanded", open);
        fill(handle, icon(open ? "down" : "sliders"), t(open ? "mixer.close" : "mixer"));
      },
    },
    icon("sliders"),
    t("mixer"),
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
  const read = el("p", { lang: "ru" }),
    sheetText = el("div.wm-sheet-text", {}, mark("merged"), read);
  WM.on(["result", "clip", "recipe", "blind"], ({ result, clip, recipe: state }) => {
    const mine = result?.clip === clip?.id && !WM.voting() ? result?.merged : null;
    read.textContent = mine ? mine.text || t("silent") : "…";
    sheetText.dataset.stale = String(Boolean(mine && state && result.digest !== state.key));
  });
  const draw = () => {
    if (!recipe) return;
    const method = byName(recipe.method);
    const guide = methods.filter((one) => one.guide),
      others = methods.filter((one) => !one.guide);
    const state = WM.slices.recipe;
    const setMethod = (next) =>
      change((r) => {
        r.method = next;
        r.parameters = Object.fromEntries(byName(next).parameters.map((p) => [p.key, clone(p.default)]));
        delete r.parts;
      });
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
      const next = guide[(guide.findIndex((one) => one.name === recipe.method) + step + guide.length) % guide.length];
      setMethod(next.name);
      root.querySelector(`[data-focus="method-${next.name}"]`)?.focus();
      event.preventDefault();
    });
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
    fill(
      panel,
      sheetText,
      modelRows(),
      el("div.wm-control", {}, preset, chosen && el("p.wm-quiet", {}, pick(chosen.why))),
      el(
        "div.wm-stack",
        { style: { gap: "7px" } },
        group,
        others.length > 0 &&
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
                { value: one.name, selected: one.name === recipe.method },
                [pick(one.title), one.sources === "many" && t("method.many"), one.needs_base && t("method.base")]
                  .filter(Boolean)
                  .join(" · "),
              ),
            ),
          ),
        about(method),
      ),
      method.parameters.map(control),
      fine(method),
      el(
        "div.wm-tools-row",
        {},
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
          state?.live === false &&
            button(t("compare.now"), () => act("compare.run"), { kind: "primary", focus: "run" }),
        ),
        button("", () => act("mixer.undo"), {
          icon: "undo",
          kind: "ghost",
          title: t("undo"),
          disabled: !state?.can_undo,
        }),
        button("", () => act("mixer.redo"), {
          icon: "redo",
          kind: "ghost",
          title: t("redo"),
          disabled: !state?.can_redo,
        }),
        button("", () => act("mixer.reset"), { icon: "reset", kind: "ghost", title: t("reset") }),
        el("span.wm-grow"),
        button("", () => copy(JSON.stringify(plain(), null, 2), "recipe.copied"), {
          icon: "copy",
          kind: "ghost",
          title: t("recipe.copy"),
        }),
        button("", () => text_dialog(JSON.stringify(plain(), null, 2)), {
          icon: "paste",
          kind: "ghost",
          title: t("recipe.paste"),
        }),
        button("", link, { icon: "link", kind: "ghost", title: t("recipe.link") }),
      ),
    );
  };
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
  fill(root, el("div.wm-bottom", {}, bottomPlay, handle), panel);
});
