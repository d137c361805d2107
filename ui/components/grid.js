// TranscriptGrid: three transcripts in shared word slots. What differs is underlined in three styles, so that colour is
// never the only sign: solid = as A only, dotted = as B only, double = as neither, ∅ = nothing here.
WM.island("grid", (root) => {
  "use strict";
  const { t, el, mark, button, fill, pick, parts } = WM;
  const ROLES = ["a", "merged", "b"];
  let only = false;
  let lines = false;
  let shown = "merged";
  const name = (role) =>
    role === "merged" ? t("merged") : pick(WM.slices.models?.roles?.[role]?.name) || role.toUpperCase();

  // Words of another recording would be read as words of this one: they go as soon as another is chosen.
  const shownResult = () => {
    if (WM.voting()) return null;
    const { result, clip } = WM.slices;
    return result && result.clip === clip?.id ? result : null;
  };
  const isStale = () => {
    const result = shownResult();
    const { recipe } = WM.slices;
    return Boolean(result?.merged && recipe && result.digest !== recipe.key);
  };
  // After a stop, or with listening at once switched off: something is wanted that nobody is working on.
  const waits = () => {
    if (WM.voting()) return false;
    const { clip, models } = WM.slices;
    return Boolean(clip && models?.verdict?.state === "ok" && !busy() && (isStale() || !shownResult()?.merged));
  };
  const busy = () => ["queued", "running"].includes(WM.slices.job?.state);

  const column = (result, role) => {
    const side = result?.[role];
    const waiting = !side && busy();
    return el(
      `article.wm-column${waiting ? ".wm-pending" : ""}`,
      { data: { role }, "aria-label": name(role) },
      el(
        "header",
        {},
        mark(role),
        el("h3", { title: name(role) }, name(role)),
        role === "merged" && el("span.wm-stale-note", {}, t(busy() ? "stale.busy" : "stale")),
        side &&
          button(t("take.reference"), () => WM.attempt("listen.reference", { clip: result.clip, text: side.text }), {
            kind: "ghost",
            title: t("take.reference.help"),
            focus: `ref-${role}`,
          }),
      ),
      el(
        "div.wm-text",
        { lang: "ru", data: { text: role }, tabindex: -1 },
        waiting
          ? el("div.wm-writing", {}, el("div.wm-bar.wm-unknown", {}, el("span")), t("writing"))
          : side
            ? text(result, role)
            : el("span.wm-silent", {}, t(WM.voting() ? "grid.blind" : WM.slices.clip ? "grid.press" : "grid.empty")),
      ),
      el(
        "footer.wm-foot",
        {},
        figures(result, role),
        role === "merged" &&
          el(
            "span.wm-go-on",
            {},
            button(t("compare.now"), () => WM.attempt("compare.run"), { kind: "primary", focus: "go-on" }),
          ),
      ),
    );
  };
  const columns = el("div.wm-columns", { data: { shown } });
  const interlinear = el("div.wm-lines", { lang: "ru" });
  const legend = el("div.wm-legend", { "aria-label": t("legend") });
  const holder = el("section.wm-card.wm-grid", { "aria-label": t("grid") });
  const chooser = el("div.wm-switch", { role: "group", "aria-label": t("switch") });
  const { word, text } = parts.grid_words(() => only);
  const figures = parts.grid_figures(ROLES, isStale);
  const next = parts.grid_walk(root, holder, ROLES, shownResult);

  const tick = (name, checked, set) =>
    el(
      "label.wm-check",
      {},
      el("input", {
        type: "checkbox",
        checked,
        "data-focus": name,
        onchange: (event) => {
          set(event.target.checked);
          draw();
        },
      }),
      t(name),
    );
  const drawLegend = (result) => {
    const differing = result?.slots?.filter((slot) => !slot.same).length ?? 0;
    const sample = (kind, label) =>
      el("span", {}, el("span.wm-word", { data: { mark: kind }, "aria-hidden": "true" }, t("legend.word")), " ", label);
    fill(
      legend,
      el("span", {}, result?.slots?.length ? WM.plural(differing, "differences") : "\u00a0"),
      button([t("next"), el("span.wm-key", {}, "\u00a0(N)")], next, {
        kind: "small",
        disabled: !differing,
        focus: "next",
      }),
      sample("a", t("legend.a")),
      sample("b", t("legend.b")),
      sample("alone", t("legend.alone")),
      el("span", {}, "∅ ", t("legend.missing")),
      el("span.wm-grow"),
      tick("only", only, (on) => {
        only = on;
      }),
      tick("lines", lines, (on) => {
        lines = on;
      }),
    );
  };
  const drawState = () => {
    holder.classList.toggle("wm-stale", isStale());
    holder.classList.toggle("wm-waits", waits());
  };
  const drawLines = (result) => {
    if (lines && result?.slots?.length) {
      fill(
        interlinear,
        el(
          "div.wm-letters",
          { "aria-hidden": "true" },
          ROLES.map((role) => mark(role)),
        ),
        result.slots.map((slot, index) =>
          only && slot.same
            ? null
            : el(
                `div.wm-slot${slot.same ? "" : ".wm-differs"}`,
                {},
                ROLES.map((role) => el("div", {}, word(result, slot, role, index))),
              ),
        ),
      );
    } else fill(interlinear);
  };
  const draw = () => {
    const result = shownResult();
    drawState();
    columns.hidden = interlinear.hidden = false;
    fill(
      chooser,
      ROLES.map((role) =>
        button(role === "merged" ? t("merged.short") : role.toUpperCase(), () => show(role), {
          "aria-pressed": String(shown === role),
          focus: `show-${role}`,
        }),
      ),
    );
    columns.dataset.shown = shown;
    fill(
      columns,
      ROLES.map((role) => column(result, role)),
    );
    drawLines(result);
    drawLegend(result);
    fill(holder, chooser, columns, lines && el("div", {}, interlinear), legend);
    for (const words of holder.querySelectorAll(".wm-text, .wm-lines"))
      if (!words.querySelector('.wm-word[tabindex="0"]'))
        words.querySelector("button.wm-word")?.setAttribute("tabindex", 0);
  };
  const show = (role) => {
    shown = role;
    draw();
  };
  ["a", "merged", "b"].forEach((role, index) =>
    WM.key(`Digit${index + 1}`, () => {
      if (document.body.dataset.wmTab !== "listen") return WM.vote?.(index);
      show(role);
      root.querySelector(`.wm-column[data-role="${role}"] .wm-word`)?.focus();
    }),
  );
  let said = null;
  WM.on(["result", "models", "clip", "blind"], draw);
  let wasBusy = null;
  WM.on(["job", "recipe"], () => {
    drawState();
    for (const note of holder.querySelectorAll(".wm-stale-note")) note.textContent = t(busy() ? "stale.busy" : "stale");
    if (busy() !== wasBusy) {
      wasBusy = busy();
      if (!shownResult()?.merged) draw();
    }
  });
  WM.on("result", ({ result }) => {
    const merged = result?.merged?.text;
    if (merged != null && `${result.clip} ${result.digest}` !== said) {
      said = `${result.clip} ${result.digest}`;
      WM.announce(`${t("merged")}: ${merged}`);
      WM.step("compare");
    }
  });
  fill(root, holder);
  draw();
});
