// TranscriptGrid: three transcripts in shared word slots. What differs is underlined in three styles, so that colour is
// never the only sign: solid = as A only, dotted = as B only, double = as neither, ∅ = nothing here.
WM.island("grid", (root) => {
  "use strict";
  const { t, el, icon, mark, button, fill, pick } = WM;
  const ROLES = ["a", "merged", "b"];
  let only = false;
  let lines = false;
  let shown = "merged";
  let chosen = -1;
  let lastWords = null;
  const name = (role) =>
    role === "merged" ? t("merged") : pick(WM.slices.models?.roles?.[role]?.name) || role.toUpperCase();

  // Words of another recording would be read as words of this one: they go as soon as another is chosen.
  const shownResult = () => {
    if (WM.voting()) return null;
    const { result, clip } = WM.slices;
    return result && result.clip === clip?.id ? result : null;
  };
  const kindOf = (slot) => (slot.same ? null : slot.am ? "a" : slot.bm ? "b" : "alone");
  // In A's and B's own columns a word is marked as its column's, when the merge did not take it over as the common one.
  const markOf = (slot, role) => (slot.same ? null : role === "merged" ? kindOf(slot) : role);
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
        data: { slot: index, role, index: position, ...(kind ? { mark: kind } : {}) },
        title:
          entry.s == null
            ? null
            : `${WM.number(entry.s, 1)}–${WM.number(entry.e, 1)} ${t("unit.s")} · ${t("word.hint")}`,
        onclick: (event) => entry.s != null && WM.player.playWord(entry, event.shiftKey),
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
            data: { role, index },
            onclick: (event) => entry.s != null && WM.player.playWord(entry, event.shiftKey),
          },
          entry.t,
        ),
        " ",
      ]);
    const out = [];
    let skipped = false;
    result.slots.forEach((slot, index) => {
      if (only && slot.same) {
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
  // Nothing is the best while another column is still being written, nor when two are equally good (or equally wrong).
  const best = (result) => {
    if (!ROLES.every((role) => result[role]?.wer != null) || isStale()) return null;
    const [first, second] = [...ROLES].sort((one, other) => result[one].wer - result[other].wer);
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
          el("b", {}, pick2(side.agreement)),
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
  const pick2 = (share) => WM.percent(share, 0);
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
      el(
        "label.wm-check",
        {},
        el("input", {
          type: "checkbox",
          checked: only,
          "data-focus": "only",
          onchange: (event) => {
            only = event.target.checked;
            draw();
          },
        }),
        t("only"),
      ),
      el(
        "label.wm-check",
        {},
        el("input", {
          type: "checkbox",
          checked: lines,
          "data-focus": "lines",
          onchange: (event) => {
            lines = event.target.checked;
            draw();
          },
        }),
        t("lines"),
      ),
    );
  };
  const drawState = () => {
    holder.classList.toggle("wm-stale", isStale());
    holder.classList.toggle("wm-waits", waits());
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
    drawLegend(result);
    fill(holder, chooser, columns, lines && el("div", {}, interlinear), legend);
  };
  const show = (role) => {
    shown = role;
    draw();
  };
  const next = () => {
    const result = shownResult();
    const order = (result?.slots ?? [])
      .map((slot, index) => [slot, index])
      .filter(([slot]) => !slot.same)
      .map(([, index]) => index);
    if (!order.length) return;
    chosen = order.find((index) => index > chosen) ?? order[0];
    for (const node of root.querySelectorAll(".wm-chosen")) node.classList.remove("wm-chosen");
    const nodes = [...root.querySelectorAll(`[data-slot="${chosen}"]`)];
    nodes.forEach((node) => node.classList.add("wm-chosen"));
    nodes[0]?.scrollIntoView({ block: "nearest" });
    const slot = result.slots[chosen];
    const place = ROLES.map((role) => slot[role] != null && result[role].words[slot[role]]).find(
      (entry) => entry && entry.s != null,
    );
    if (place) WM.player.playWord(place, false);
    WM.announce(
      ROLES.map(
        (role) =>
          `${role === "merged" ? t("merged") : role.toUpperCase()}: ${slot[role] == null ? t("word.missing") : result[role].words[slot[role]].t}`,
      ).join("; "),
    );
  };
  WM.key("KeyN", next);
  ["a", "merged", "b"].forEach((role, index) =>
    WM.key(`Digit${index + 1}`, () => {
      if (document.body.dataset.wmTab !== "listen") return WM.vote?.(index);
      show(role);
      root.querySelector(`.wm-column[data-role="${role}"] .wm-word`)?.focus();
    }),
  );
  holder.addEventListener("mouseover", (event) => {
    const slot = event.target.closest?.("[data-slot]")?.dataset.slot;
    for (const node of holder.querySelectorAll(".wm-hot")) node.classList.remove("wm-hot");
    if (slot != null) for (const node of holder.querySelectorAll(`[data-slot="${slot}"]`)) node.classList.add("wm-hot");
  });
  document.addEventListener("wm-time", ({ detail: now }) => {
    if (WM.player?.paused) {
      if (lastWords) {
        for (const node of holder.querySelectorAll(".wm-now")) node.classList.remove("wm-now");
        lastWords = null;
      }
      return;
    }
    const result = shownResult();
    if (!result) return;
    const current = ROLES.map(
      (role) => result[role]?.words.findIndex((entry) => entry.s != null && entry.s <= now && now < entry.e) ?? -1,
    ).join();
    if (current === lastWords) return;
    lastWords = current;
    for (const node of holder.querySelectorAll(".wm-now")) node.classList.remove("wm-now");
    current.split(",").forEach((index, role) => {
      if (index !== "-1")
        for (const node of holder.querySelectorAll(`[data-role="${ROLES[role]}"][data-index="${index}"]`))
          node.classList.add("wm-now");
    });
  });
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
