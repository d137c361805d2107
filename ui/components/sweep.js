// Recipes × clips: a table whose cells load their recipe, a curve along one parameter, and a bounded search.
WM.island("sweep", (root) => {
  "use strict";
  const { t, el, svg, button, fill, pick, mark } = WM;
  const KINDS = ["methods", "each", "alpha", "t", "density", "best"];
  let chosen = null;
  const setup = el("section.wm-card.wm-stack", { "aria-label": t("sweep.setup") });
  const result = el("section.wm-card.wm-stack", { "aria-label": t("sweep.result") });
  const clips = () => [...(WM.slices.clips?.samples ?? []), ...(WM.slices.clips?.shelf ?? [])];
  // What was started comes into sight: on a phone it is drawn below the screen.
  const begin = (kind) =>
    WM.call("sweep.start", { kind, clips: [...chosen] }).then(
      () => result.scrollIntoView({ block: "nearest" }),
      () => {},
    );
  const drawSetup = () => {
    if (!chosen) {
      if (!clips().length) return;
      const step = Math.ceil(clips().length / 6);
      chosen = new Set(
        clips()
          .filter((_, index) => index % step === 0)
          .map((clip) => clip.id),
      );
    } // spread over the guide's kinds of speech
    const all = clips();
    fill(
      setup,
      el("h2", {}, t("sweep.title")),
      el("p.wm-quiet", {}, t("sweep.hint")),
      el(
        "fieldset",
        { style: { border: 0, padding: 0, margin: 0 } },
        el("legend.wm-quiet", {}, t("sweep.clips", { n: chosen.size, total: all.length })),
        el(
          "div.wm-pick",
          {},
          all.map((clip) =>
            el(
              "label.wm-check",
              { title: pick(clip.name) },
              el("input", {
                type: "checkbox",
                checked: chosen.has(clip.id),
                "data-focus": `sweep-${clip.id}`,
                onchange: (event) => {
                  if (event.target.checked) chosen.add(clip.id);
                  else chosen.delete(clip.id);
                  drawSetup();
                },
              }),
              el("span", {}, pick(clip.name)),
            ),
          ),
        ),
      ),
      el(
        "div.wm-row",
        {},
        button(
          t("sweep.all"),
          () => {
            chosen = new Set(all.map((clip) => clip.id));
            drawSetup();
          },
          { kind: "small" },
        ),
        button(
          t("sweep.none"),
          () => {
            chosen.clear();
            drawSetup();
          },
          { kind: "small" },
        ),
      ),
      el(
        "div.wm-kinds",
        {},
        KINDS.map((kind) => {
          const node = button(t("sweep.kind." + kind), () => begin(kind), {
            disabled: !chosen.size,
            focus: `kind-${kind}`,
          });
          node.append(el("span.wm-quiet", {}, t("sweep.kind." + kind + ".hint"), estimate(kind)));
          return node;
        }),
      ),
    );
  };
  const estimate = (kind) => {
    const took = ["a", "merged", "b"]
      .map((side) => WM.slices.result?.[side])
      .filter((side) => side && !side.cached)
      .map((side) => side.seconds);
    if (!took.length) return "";
    const recipes = { methods: 12, each: WM.boot.methods.length + 2, alpha: 11, t: 11, density: 11, best: 32 }[kind];
    return " " + t("sweep.estimate", { time: WM.seconds(recipes * chosen.size * Math.max(...took)) });
  };
  const load = (row) => {
    if (row.side === "merged") {
      WM.attempt("mixer.paste", { text: JSON.stringify(row.recipe) });
      WM.toast(t("sweep.loaded"), "good");
    }
  };
  const title = (row) => [row.side !== "merged" && mark(row.side), " ", pick(row.sentence)];
  const cellOf = (row, clip) => {
    const cell = row.cells[clip.id];
    if (!cell) return el("td", {}, "");
    const told = cell.wer == null ? cell.text : WM.percent(cell.wer);
    return el(
      "td",
      {},
      el(
        "button",
        {
          type: "button",
          title: cell.text,
          "aria-label": `${pick(row.sentence)}, ${pick(clip.name)}: ${told}`,
          onclick: () => load(row),
        },
        cell.wer == null ? "…" : WM.percent(cell.wer, 0),
      ),
    );
  };
  const rowOf = (row, sweep) => {
    const best = row.digest === sweep.best && row.side === "merged";
    return el(
      "tr",
      { data: { best: String(best) } },
      el("th", { scope: "row" }, title(row), best && el("b", {}, " · ", t("sweep.best"))),
      el("td.wm-mean", {}, row.wer == null ? "—" : WM.percent(row.wer)),
      sweep.clips.map((clip) => cellOf(row, clip)),
    );
  };
  const table = (sweep) =>
    el(
      "div.wm-scroll",
      {},
      el(
        "table.wm-matrix",
        {},
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", { scope: "col" }, t("sweep.recipe")),
            el("th", { scope: "col", title: t("wer.help") }, t("wer")),
            sweep.clips.map((clip) =>
              el("th", { scope: "col", title: pick(clip.name) }, el("span", {}, pick(clip.name))),
            ),
          ),
        ),
        el(
          "tbody",
          {},
          sweep.rows.map((row) => rowOf(row, sweep)),
        ),
      ),
    );
  const curve = (sweep) => {
    const points = sweep.rows.filter((row) => row.x != null && row.wer != null);
    if (points.length < 2) return null;
    const W = 760;
    const H = 260;
    const L = innerWidth < 800 ? 84 : 58;
    const B = 40;
    const T = 16;
    const top = Math.max(...points.map((row) => row.wer)) * 1.1 || 1;
    const x = (value) => L + value * (W - L - 20);
    const y = (value) => T + (1 - value / top) * (H - T - B);
    const names = { alpha: ["b", "a"], t: ["a", "b"] }[sweep.kind];
    return svg(
      "svg",
      { viewBox: `0 0 ${W} ${H}`, class: "wm-plot", role: "img", "aria-label": t("sweep.curve") },
      [0, 0.5, 1].map((part) => [
        svg("line", { x1: L, x2: W - 20, y1: y(top * part), y2: y(top * part), class: "wm-axis" }),
        svg("text", { x: L - 8, y: y(top * part) + 4, "text-anchor": "end" }, WM.percent(top * part, 0)),
      ]),
      svg("text", { x: L, y: H - 8 }, names ? `0 · ${names[0].toUpperCase()}` : "0"),
      svg("text", { x: W - 20, y: H - 8, "text-anchor": "end" }, names ? `1 · ${names[1].toUpperCase()}` : "1"),
      svg("polyline", { class: "wm-line", points: points.map((row) => `${x(row.x)},${y(row.wer)}`).join(" ") }),
      points.map((row) =>
        svg(
          "circle",
          {
            cx: x(row.x),
            cy: y(row.wer),
            r: row.digest === sweep.best ? 7 : 5,
            tabindex: 0,
            role: "button",
            "aria-label": `${pick(row.sentence)}: ${WM.percent(row.wer)}`,
            onclick: () => load(row),
            onkeydown: (event) => {
              if (event.key === "Enter") load(row);
            },
          },
          svg("title", {}, `${pick(row.sentence)}: ${WM.percent(row.wer)}`),
        ),
      ),
    );
  };
  const drawResult = () => {
    const sweep = WM.slices.sweep;
    if (!sweep) {
      fill(result, el("div.wm-empty", {}, t("sweep.empty")));
      return;
    }
    const { job } = sweep;
    const busy = ["queued", "running", "paused"].includes(job.state);
    fill(
      result,
      el(
        "div.wm-row",
        {},
        el("h2.wm-grow", {}, t("sweep.kind." + sweep.kind)),
        busy &&
          el(
            "span.wm-quiet.wm-figures",
            {},
            job.remaining != null && job.state !== "paused" ? t("state.left", { time: WM.seconds(job.remaining) }) : "",
          ),
        busy &&
          button(
            t(job.state === "paused" ? "resume" : "pause.job"),
            () => WM.attempt("job.pause", { id: job.id, paused: job.state !== "paused" }),
            { kind: "small", focus: "pause-sweep" },
          ),
        busy &&
          button(t("stop"), () => WM.attempt("job.cancel", { id: job.id }), {
            kind: "small",
            icon: "stop",
            focus: "stop-sweep",
          }),
      ),
      busy && WM.progressBar(job),
      job.error && el("p.wm-note.wm-bad", {}, pick(job.error.sentence), " ", pick(job.error.remedy)),
      curve(sweep),
      table(sweep),
      el("p.wm-quiet", {}, t("sweep.click")),
    );
  };
  WM.on(["clips", "result"], drawSetup);
  WM.on("sweep", drawResult);
  fill(root, el("div.wm-stack", {}, setup, result));
  drawSetup();
  drawResult();
});
