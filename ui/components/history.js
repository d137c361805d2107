// Every experiment: searched, starred, noted, put back, compared, taken along as a file.
WM.island("history", (root) => {
  "use strict";
  const { t, el, button, fill, pick, mark } = WM;
  let rows = [];
  let more = false;
  let search = "";
  let starred = false;
  let picked = new Set();
  let timer = null;
  let visible = false;
  let stale = true;
  const field = el("input", {
    type: "search",
    placeholder: t("history.search"),
    "aria-label": t("history.search"),
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        search = field.value;
        load();
      }, 250);
    },
  });
  const file = el("input", {
    type: "file",
    accept: "application/json,.json",
    hidden: true,
    "aria-label": t("history.import"),
    onchange: async () => {
      const [one] = file.files;
      file.value = "";
      if (!one) return;
      const count = await WM.attempt("history.import", { text: await one.text() });
      if (count != null) {
        WM.toast(t("history.imported", { n: count }), "good");
        load();
      }
    },
  });
  const list = el("div.wm-log");
  const comparison = el("div.wm-compared");
  const MOST = 4;
  const load = async (append = false) => {
    const told = await WM.attempt("history.list", { search, starred, offset: append ? rows.length : 0 });
    if (!told) return;
    rows = append ? [...rows, ...told.rows] : told.rows;
    more = told.more;
    stale = false;
    draw();
  };
  const score = (row) =>
    ["a", "merged", "b"].map(
      (side) =>
        row.sides[side]?.wer != null &&
        el("span.wm-row", { style: { gap: "4px" } }, mark(side), WM.percent(row.sides[side].wer)),
    );
  const scores = (row) => {
    const found = score(row).filter(Boolean);
    return found.length ? [el("span.wm-quiet", { title: t("wer.help") }, t("wer")), found] : null;
  };
  const tickOf = (row) =>
    el("input", {
      type: "checkbox",
      checked: picked.has(row.id),
      disabled: !picked.has(row.id) && compared().length === MOST,
      "aria-label": t("history.pick"),
      "data-focus": `pick-${row.id}`,
      style: { "margin-top": "9px" },
      onchange: (event) => {
        if (event.target.checked) picked.add(row.id);
        else picked.delete(row.id);
        draw();
      },
    });
  const starOf = (row) =>
    button(
      "",
      async () => {
        await WM.attempt("history.note", { id: row.id, starred: !row.starred });
        row.starred = !row.starred;
        draw();
      },
      {
        icon: "star",
        kind: "ghost",
        title: t("history.star"),
        "aria-pressed": String(row.starred),
        focus: `star-${row.id}`,
        class: "wm-button wm-ghost wm-star",
      },
    );
  const whatOf = (row) =>
    el(
      "div.wm-what",
      {},
      el("b", {}, pick(row.sentence)),
      el(
        "p.wm-quiet",
        {},
        row.clip && el("span.wm-title", {}, pick(row.clip)),
        row.clip && " · ",
        [
          new Date(row.created * 1000).toLocaleString(WM.lang, { dateStyle: "medium", timeStyle: "short" }),
          ["a", "b", "c", "d"]
            .map((role) => row.models[role])
            .filter(Boolean)
            .map(pick)
            .join(" + "),
        ]
          .filter(Boolean)
          .join(" · "),
      ),
      row.sides.merged && el("p", { lang: "ru" }, row.sides.merged.text || t("silent")),
      el("input.wm-note-field", {
        type: "text",
        value: row.note,
        placeholder: t("history.note"),
        "aria-label": t("history.note"),
        maxlength: 2000,
        "data-focus": `note-${row.id}`,
        onchange: (event) => {
          row.note = event.target.value;
          WM.attempt("history.note", { id: row.id, note: row.note });
        },
      }),
    );
  const entry = (row) =>
    el(
      "article.wm-entry",
      {},
      tickOf(row),
      starOf(row),
      whatOf(row),
      el(
        "div.wm-do.wm-stack",
        { style: { gap: "6px" } },
        el("div.wm-row.wm-figures", {}, scores(row)),
        el(
          "div.wm-row",
          {},
          button(
            t("history.restore"),
            async () => {
              await WM.attempt("history.restore", { id: row.id });
              WM.show("listen");
            },
            { kind: "small", focus: `restore-${row.id}` },
          ),
          WM.sure(
            t("history.delete"),
            async () => {
              await WM.attempt("history.delete", { id: row.id });
              picked.delete(row.id);
              rows = rows.filter((one) => one !== row);
              draw();
            },
            { focus: `delete-${row.id}` },
          ),
        ),
      ),
    );
  const compared = () => rows.filter((row) => picked.has(row.id));
  const compare = WM.parts.history_compared(() => {
    picked = new Set();
    draw();
    field.focus();
  });
  const draw = () => {
    fill(
      list,
      rows.length ? rows.map(entry) : el("div.wm-empty", {}, t(search || starred ? "history.none" : "history.empty")),
      more && button(t("history.more"), () => load(true)),
    );
    fill(comparison, compare(compared()));
  };
  fill(
    root,
    el(
      "section.wm-card.wm-stack",
      { "aria-label": t("tab.history") },
      el(
        "div.wm-row",
        {},
        el("div.wm-grow", { style: { "min-width": "200px" } }, field),
        el(
          "label.wm-check",
          {},
          el("input", {
            type: "checkbox",
            onchange: (event) => {
              starred = event.target.checked;
              load();
            },
          }),
          t("history.starred"),
        ),
        button(
          t("history.export"),
          async () => {
            const text = await WM.attempt("history.export");
            if (text) WM.download("whisper-merge-history.json", text, "application/json");
          },
          { kind: "small" },
        ),
        button(t("history.import"), () => file.click(), { kind: "small" }),
        file,
      ),
      el("p.wm-quiet", {}, t("history.hint")),
      list,
      comparison,
    ),
  );
  document.addEventListener("wm-tab", ({ detail }) => {
    visible = detail === "history";
    if (visible && stale) load();
  });
  WM.on("history_version", () => {
    stale = true;
    if (visible) load();
  });
  draw();
  if (document.body.dataset.wmTab === "history") {
    visible = true;
    load();
  }
});
