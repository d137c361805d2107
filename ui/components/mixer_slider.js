// One number or one pair of weights: a slider, the number to type beside it, and what stands at its ends.
WM.parts.mixer_slider = (mixer) => {
  "use strict";
  const { t, el, mark, pick } = WM;
  const { name } = mixer;

  // A is always on the left and B on the right, whichever way the guide counts (Direct and weight pairs: 1 is A;
  // SLERP: 0 is A).
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
  const rangeOf = (id, { key, control, value }) => {
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
    mixer.whileHeld(range);
    return range;
  };
  const boxOf = (id, { key, control, pair }) =>
    el(`input.wm-number${pair ? ".wm-pair" : ""}`, {
      type: "text",
      inputmode: "decimal",
      "aria-label": t("slider.type", { label: pick(control.label) }),
      "data-focus": `${id}-n`,
      "data-key": key,
    });
  const slider = (wanted) => {
    const { control, value, set, pair } = wanted;
    const id = `wm-p-${wanted.key}`;
    const range = rangeOf(id, wanted);
    const box = boxOf(id, wanted);
    const write = (number) => {
      box.value = pair ? `${WM.short(number, 3)} / ${WM.short(1 - number, 3)}` : WM.short(number, 4);
      range.setAttribute("aria-valuetext", spoken(control, number));
    };
    let held = value; // not what the range says: it rounds to its step, and a typed number need not lie on one
    write(value);
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
  const numeric = (kind) => kind.kind === "slider" || kind.kind === "weight_pair";
  const numberOf = (key, kind, value, set) =>
    kind.kind === "weight_pair"
      ? slider({
          key,
          control: kind,
          value: value[0],
          pair: true,
          set: (a, how) => set([a, Math.round((1 - a) * 1e6) / 1e6], how),
        })
      : slider({ key, control: kind, value, set });

  return { between, aAtTop, numeric, numberOf };
};
