// The dialog in which a model is chosen for a place.
WM.parts.mixer_picker = (mixer, dialog) => {
  "use strict";
  const { t, el, mark, button, fill, pick } = WM;

  const choose = async (role) => {
    await mixer.act("models.options");
    const models = WM.slices.models;
    const typed = el("input", {
      type: "text",
      placeholder: t("model.typed"),
      "aria-label": t("model.typed"),
      spellcheck: "false",
    });
    const refused = el("p.wm-refused", { role: "alert", hidden: true });
    const here = () => dialog.open && dialog.contains(refused); // others use the dialog too
    let taking = false;
    // What is refused stays in the dialog with the reason.
    const take = async (ref) => {
      if (taking) return;
      taking = true;
      refused.hidden = true;
      try {
        await mixer.settled();
        await WM.call("models.choose", { role, ref }, { quiet: true });
        if (here()) dialog.close();
      } catch (fault) {
        if (here()) {
          refused.textContent = [fault.coded?.sentence, fault.coded?.remedy].filter(Boolean).map(pick).join(" ");
          refused.hidden = false;
        } else if (fault.coded) WM.toast(fault.coded);
      }
      taking = false;
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
      refused,
      el("p.wm-quiet", { style: { "margin-top": "8px" } }, t(models.hub ? "model.hint" : "model.hint.offline")),
    );
    dialog.showModal();
  };

  return choose;
};
