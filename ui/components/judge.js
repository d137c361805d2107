// Under the columns: what was really said, and who hears, who writes.
WM.island("judge", (root) => {
  "use strict";
  const { t, el, mark, button, fill, pick } = WM;
  let timer = null;
  let clipShown = null;
  const area = el("textarea", {
    rows: 2,
    id: "wm-reference",
    lang: "ru",
    placeholder: t("reference.placeholder"),
    "data-focus": "reference",
  });
  const save = () => {
    clearTimeout(timer);
    timer = null;
    WM.attempt("listen.reference", { clip: clipShown, text: area.value });
  };
  area.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(save, 500);
  });
  area.addEventListener("change", save);
  const restore = button(
    t("reference.restore"),
    () => {
      area.value = WM.slices.clip.ready;
      save();
      area.focus(); // the button goes
    },
    { kind: "small", focus: "reference-restore" },
  );
  const hint = el("p.wm-quiet", {}, t("reference.hint"));
  const reference = el(
    "section.wm-card.wm-stack",
    { "aria-label": t("reference") },
    el(
      "div.wm-row",
      {},
      el("h2.wm-grow", {}, el("label", { for: "wm-reference" }, t("reference"))),
      restore,
      button(
        t("reference.clear"),
        () => {
          area.value = "";
          save();
        },
        { kind: "small" },
      ),
    ),
    area,
    hint,
  );
  const swap = el("section.wm-card.wm-stack", { "aria-label": t("swap") });
  const drawSwap = () => {
    const table = WM.slices.swap;
    const clip = WM.slices.clip;
    const fresh = table && clip && table.clip === clip.id;
    const cell = (hears, writes) => {
      const side = fresh && table.cells[`${hears}${writes}`];
      return el(
        "td",
        {},
        side
          ? [
              el("span", { lang: "ru" }, side.text || t("silent")),
              side.wer != null && el("div.wm-quiet", {}, `${t("wer")} ${WM.percent(side.wer)}`),
            ]
          : "…",
      );
    };
    fill(
      swap,
      el(
        "div.wm-row",
        {},
        el("h2.wm-grow", {}, t("swap")),
        button(t("swap.run"), () => WM.attempt("listen.swap"), { kind: "small", disabled: !clip }),
      ),
      el("p.wm-quiet", {}, t("swap.hint")),
      fresh &&
        el(
          "div.wm-scroll",
          {},
          el(
            "table.wm-swap-table",
            {},
            el(
              "thead",
              {},
              el(
                "tr",
                {},
                el("td"),
                el("th", { scope: "col" }, t("swap.writes"), " ", mark("a")),
                el("th", { scope: "col" }, t("swap.writes"), " ", mark("b")),
              ),
            ),
            el(
              "tbody",
              {},
              ["a", "b"].map((hears) =>
                el(
                  "tr",
                  {},
                  el("th", { scope: "row" }, t("swap.hears"), " ", mark(hears)),
                  cell(hears, "a"),
                  cell(hears, "b"),
                ),
              ),
            ),
          ),
        ),
      fresh && table.verdict && el("p.wm-note", {}, pick(table.verdict)),
    );
  };
  WM.on("clip", ({ clip }) => {
    const key = clip?.id ?? null;
    if (key !== clipShown && timer) save(); // what was typed belongs to the recording that it was typed under
    if (key !== clipShown || (document.activeElement !== area && area.value !== (clip?.reference ?? ""))) {
      clipShown = key;
      area.value = clip?.reference ?? "";
    }
    area.disabled = !clip;
    restore.hidden = !clip?.ready || clip.ready === clip.reference;
    hint.textContent = t(clip?.reference ? "reference.meaning" : "reference.hint");
    drawSwap();
  });
  WM.on("swap", drawSwap);
  drawSwap();
  fill(root, el("div.wm-judge", {}, reference, swap));
});
