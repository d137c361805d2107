// The words of one transcript: each a button that plays it, marked where it differs.
WM.parts.grid_words = (onlyDifferences) => {
  "use strict";
  const { t, el } = WM;

  const kindOf = (slot) => (slot.same ? null : slot.am ? "a" : slot.bm ? "b" : "alone");
  // In A's and B's own columns a word is marked as its column's, when the merge did not take it over as the common one.
  const markOf = (slot, role) => (slot.same ? null : role === "merged" ? kindOf(slot) : role);
  const play = (entry) => (event) => entry.s != null && WM.player.playWord(entry, event.shiftKey);
  const word = (result, slot, role, index) => {
    const position = slot[role];
    const kind = markOf(slot, role);
    if (position == null)
      return el(
        "span.wm-word",
        { data: { missing: "", slot: index, ...(kind ? { mark: kind } : {}) }, title: t("word.missing") },
        "∅",
      );
    const entry = result[role].words[position];
    return el(
      "button.wm-word",
      {
        type: "button",
        tabindex: -1,
        "data-focus": `word-${role}-${position}`,
        data: { slot: index, role, index: position, ...(kind ? { mark: kind } : {}) },
        title:
          entry.s == null
            ? null
            : `${WM.number(entry.s, 1)}–${WM.number(entry.e, 1)} ${t("unit.s")} · ${t("word.hint")}`,
        onclick: play(entry),
      },
      entry.t,
    );
  };
  const text = (result, role) => {
    const side = result?.[role];
    if (!side) return null;
    if (!side.text && !result.slots?.length) return el("span.wm-silent", {}, t("silent"));
    if (!result.slots?.length)
      return side.words.map((entry, index) => [
        el(
          "button.wm-word",
          {
            type: "button",
            tabindex: -1,
            "data-focus": `word-${role}-${index}`,
            data: { role, index },
            onclick: play(entry),
          },
          entry.t,
        ),
        " ",
      ]);
    const out = [];
    let skipped = false;
    result.slots.forEach((slot, index) => {
      if (onlyDifferences() && slot.same) {
        skipped = true;
        return;
      }
      if (skipped) {
        out.push(el("span.wm-gap", {}, "…"), " ");
        skipped = false;
      }
      out.push(word(result, slot, role, index), " ");
    });
    if (skipped && out.length) out.push(el("span.wm-gap", {}, "…"));
    return out.length ? out : el("span.wm-silent", {}, t("no.differences"));
  };

  return { word, text };
};
