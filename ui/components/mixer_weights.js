// One weight per model, for two and for more: a row each, and the share that it comes to.
WM.parts.mixer_weights = (mixer) => {
  "use strict";
  const { t, el, mark, button, pick } = WM;
  const { name, sources } = mixer;

  const rangeOf = (id, { kind, role, index, value, high }) => {
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
    range.value = value;
    mixer.whileHeld(range);
    return range;
  };
  const boxOf = (id, role) =>
    el("input.wm-number", {
      type: "text",
      inputmode: "decimal",
      "aria-label": t("slider.type", { label: name(role) }),
      "data-focus": `${id}-${role}-n`,
    });
  const weights = (kind, value, set, id) => {
    const roles = sources();
    const now = value && value.length === roles.length ? [...value] : mixer.even();
    const share = (index) => WM.percent(now[index] / (now.reduce((sum, one) => sum + one, 0) || 1), 0);
    const rowOf = (role, index) => {
      const shown = el("span.wm-share.wm-figures", {});
      const high = Math.max(1, ...now);
      const range = rangeOf(id, { kind, role, index, value: now[index], high });
      const box = boxOf(id, role);
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
    };
    const rows = roles.map(rowOf);
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

  return weights;
};
