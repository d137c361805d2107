// What stands under a transcript: error rates or agreement, the time it took, and what looks wrong with it.
WM.parts.grid_figures = (roles, isStale) => {
  "use strict";
  const { t, el, icon, pick } = WM;

  // Nothing is the best while another column is still being written, nor when two are equally good (or equally wrong).
  const best = (result) => {
    if (!roles.every((role) => result[role]?.wer != null) || isStale()) return null;
    const [first, second] = [...roles].sort((one, other) => result[one].wer - result[other].wer);
    return result[first].wer < result[second].wer ? first : null;
  };
  const figures = (result, role) => {
    const side = result?.[role];
    if (!side) return [el("span", {}, "\u00a0")];
    const out = [];
    if (side.wer != null) {
      out.push(
        el(
          "span",
          { title: t("wer.help") },
          t("wer") + " ",
          el("b", { class: best(result) === role ? "wm-best" : null }, WM.percent(side.wer)),
        ),
      );
      out.push(el("span", { title: t("cer.help") }, t("cer") + " ", el("b", {}, WM.percent(side.cer))));
    } else if (side.agreement != null)
      out.push(
        el(
          "span",
          { title: t("agreement.help") },
          t(role === "merged" ? "agreement.both" : "agreement") + " ",
          el("b", {}, WM.percent(side.agreement, 0)),
        ),
      );
    out.push(
      el(
        "span",
        { title: t("time.help", { rtfx: WM.short(side.rtfx ?? 0, 1) }) },
        t("time") + " ",
        el("b", {}, WM.seconds(side.seconds)),
      ),
    );
    for (const badge of side.badges ?? [])
      out.push(el("span.wm-badge", { title: badge.evidence }, icon("warn"), pick(badge.title)));
    return out;
  };

  return figures;
};
