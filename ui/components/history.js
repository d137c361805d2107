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
  const entry = (row) =>
    el(
      "article.wm-entry",
      {},
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
      }),
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
      ),
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
      ),
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
  const label = (method, key) =>
    pick(WM.boot.methods.find((one) => one.name === method)?.parameters.find((one) => one.key === key)?.label) || key;
  const flat = (row) => {
    const out = { [t("method")]: row.recipe.method };
    for (const [key, value] of Object.entries(row.recipe.parameters ?? {}))
      out[label(row.recipe.method, key)] = Array.isArray(value)
        ? value.map((x) => WM.short(x, 4)).join(" / ")
        : typeof value === "number"
          ? WM.short(value, 4)
          : String(value);
    if (row.recipe.parts) out[t("fine.title")] = JSON.stringify(row.recipe.parts);
    out[t("history.models")] = ["a", "b", "c", "d", "base"]
      .map((role) => row.models[role])
      .filter(Boolean)
      .map(pick)
      .join(" + ");
    out[t("history.clip")] = row.clip ? pick(row.clip) : "—";
    for (const side of ["merged"]) {
      out[`${t("wer")} · ${t("merged")}`] = row.sides[side]?.wer == null ? "—" : WM.percent(row.sides[side].wer);
      out[`${t("merged")}`] = row.sides[side]?.text ?? "—";
    }
    return out;
  };
  const compare = () => {
    const chosen = compared();
    if (chosen.length < 2) return null;
    const tables = chosen.map(flat);
    const keys = [...new Set(tables.flatMap(Object.keys))].filter(
      (key) => new Set(tables.map((one) => one[key] ?? "—")).size > 1,
    );
    return el(
      "div.wm-card.wm-stack",
      {},
      el(
        "div.wm-row",
        {},
        el("h3.wm-grow", {}, t("history.compare", { n: chosen.length })),
        button(
          "",
          () => {
            picked = new Set();
            draw();
            field.focus();
          },
          { icon: "close", kind: "ghost", title: t("history.unpick"), focus: "unpick" },
        ),
      ),
      el(
        "div.wm-scroll",
        {},
        el(
          "table",
          {},
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              el("th", { scope: "col" }, t("history.differs")),
              chosen.map((row) => el("th", { scope: "col" }, pick(row.sentence))),
            ),
          ),
          el(
            "tbody",
            {},
            keys.map((key) =>
              el(
                "tr",
                {},
                el("th", { scope: "row" }, key),
                tables.map((one) => el("td", {}, one[key] ?? "—")),
              ),
            ),
          ),
        ),
      ),
      keys.length === 0 && el("p.wm-quiet", {}, t("history.nothing")),
    );
  };
  const draw = () => {
    fill(
      list,
      rows.length ? rows.map(entry) : el("div.wm-empty", {}, t(search || starred ? "history.none" : "history.empty")),
      more && button(t("history.more"), () => load(true)),
    );
    fill(comparison, compare());
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
