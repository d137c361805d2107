// An evaluation of the samples or of an uploaded set: what to compare, how far it is, what came out, what was before.
WM.island("evaluation", (root) => {
  "use strict";
  const { t, el, button, fill, pick, mark } = WM;
  let offer = null;
  let source = "samples";
  let archive = null;
  let uploading = false;
  let visible = false;
  let report = null;
  const chosen = { a: true, b: true, base: true, recipes: new Set() };
  const setup = el("section.wm-card.wm-stack", { "aria-label": t("evaluation.setup") });
  const result = el("section.wm-card.wm-stack", { "aria-label": t("evaluation.result") });
  const frame = el("section.wm-card.wm-stack", { "aria-label": t("evaluation.report") });
  const past = el("section.wm-card.wm-stack", { "aria-label": t("evaluation.past") });
  const busy = () => WM.slices.evaluation?.state === "running" && WM.slices.evaluation.job;
  const load = async () => {
    const told = await WM.attempt("evaluation.offer");
    if (told) {
      offer = told;
      drawSetup();
      drawPast();
    }
  };

  // ---- what to compare ----------------------------------------------------------------------------------------------
  const file = el("input", {
    type: "file",
    accept: ".zip,application/zip",
    hidden: true,
    "aria-label": t("evaluation.upload"),
    onchange: () => {
      if (file.files[0]) take(file.files[0]);
      file.value = "";
    },
  });
  const take = async (one) => {
    const limit = offer.limits.mb;
    if (one.size > limit * 1e6) {
      WM.toast({ sentence: t("error.upload.size", { name: one.name, limit }), remedy: t("evaluation.upload.size") });
      return;
    }
    uploading = true;
    drawSetup();
    try {
      const { path } = await WM.upload(one);
      archive = { path, name: one.name };
      source = "archive";
    } catch {
      WM.toast({ sentence: t("error.upload", { name: one.name }), remedy: t("error.upload.remedy") });
    }
    uploading = false;
    drawSetup();
  };
  const radio = (value, label, detail) =>
    el(
      "label.wm-check",
      {},
      el("input", {
        type: "radio",
        name: "wm-evaluation-set",
        value,
        checked: source === value,
        "data-focus": `set-${value}`,
        onchange: () => {
          source = value;
          drawSetup();
        },
      }),
      el("span", {}, label, detail && el("span.wm-quiet", {}, " · ", detail)),
    );
  const system = (key, label, letter) =>
    el(
      "label.wm-check",
      {},
      el("input", {
        type: "checkbox",
        checked: chosen[key],
        "data-focus": `system-${key}`,
        onchange: (event) => {
          chosen[key] = event.target.checked;
          drawSetup();
        },
      }),
      mark(letter),
      el("span", {}, label),
    );
  const saved = (recipe) =>
    el(
      "label.wm-check",
      {},
      el("input", {
        type: "checkbox",
        checked: chosen.recipes.has(recipe.digest),
        "data-focus": `recipe-${recipe.digest}`,
        onchange: (event) => {
          if (event.target.checked) chosen.recipes.add(recipe.digest);
          else chosen.recipes.delete(recipe.digest);
          drawSetup();
        },
      }),
      mark("merged"),
      el("span", {}, pick(recipe.sentence)),
    );
  const count = () =>
    1 +
    ["a", "b", "base"].filter((key) => chosen[key] && (key !== "base" || offer?.base)).length +
    (offer?.recipes ?? []).filter((one) => chosen.recipes.has(one.digest)).length;
  const estimate = () => {
    const rates = ["a", "merged", "b"]
      .map((side) => WM.slices.result?.[side]?.rtfx)
      .filter(Boolean)
      .sort((one, other) => one - other);
    if (!rates.length || source !== "samples" || !offer) return "";
    return t("sweep.estimate", { time: WM.seconds((offer.samples.seconds * count()) / rates[rates.length >> 1]) });
  };
  const begin = async () => {
    const systems = ["base", "a", "b"].filter((key) => chosen[key]);
    const recipes = offer.recipes.map((one) => one.digest).filter((digest) => chosen.recipes.has(digest));
    const told = { source, systems, recipes, lang: WM.lang, ...(source === "archive" ? archive : {}) };
    if (
      await WM.call("evaluation.start", told).then(
        () => true,
        () => false,
      )
    ) {
      archive = null;
      source = "samples";
      WM.announce(t("evaluation.started"));
    }
    drawSetup();
  };
  const drawSetup = () => {
    const { models, recipe } = WM.slices;
    const ready =
      offer &&
      models?.verdict?.state === "ok" &&
      !busy() &&
      !uploading &&
      (source === "archive" ? archive : offer.samples.clips > 0);
    const name = (role) => pick(models?.roles?.[role]?.name) || role.toUpperCase();
    fill(
      setup,
      el("h2", {}, t("evaluation.title")),
      el("p.wm-quiet", {}, t("evaluation.hint")),
      offer && [
        el(
          "fieldset.wm-choice",
          {},
          el("legend", {}, t("evaluation.set")),
          radio(
            "samples",
            t("samples"),
            t("evaluation.amount", { n: offer.samples.clips, time: WM.seconds(offer.samples.seconds) }),
          ),
          el(
            "div.wm-row",
            {},
            radio("archive", archive ? archive.name : t("evaluation.own")),
            button(uploading ? t("uploading") : t("evaluation.upload"), () => file.click(), {
              icon: "upload",
              kind: "small",
              disabled: uploading,
              focus: "evaluation-upload",
            }),
            file,
          ),
          el(
            "details",
            {},
            el("summary.wm-quiet", {}, t("evaluation.format")),
            el("p.wm-quiet", {}, t("evaluation.format.text", offer.limits)),
            el(
              "pre.wm-line",
              { tabindex: 0, "aria-label": t("evaluation.format") },
              JSON.stringify({
                audio_filepath: "clips/1.wav",
                text: t("evaluation.format.example"),
                speaker: "s1",
                style: "formal",
                noise: "clean",
              }),
            ),
          ),
        ),
        el(
          "fieldset.wm-choice",
          {},
          el("legend", {}, t("evaluation.systems")),
          el(
            "label.wm-check.wm-fixed",
            {},
            el("input", { type: "checkbox", checked: true, disabled: true }),
            mark("merged"),
            el("span", {}, t("evaluation.current"), recipe && el("span.wm-quiet", {}, " · ", pick(recipe.sentence))),
          ),
          system("a", name("a"), "a"),
          system("b", name("b"), "b"),
          offer.base && system("base", name("base"), "base"),
          offer.recipes.length > 0 &&
            el(
              "details",
              { open: chosen.recipes.size > 0 },
              el("summary.wm-quiet", {}, t("evaluation.saved", { n: offer.recipes.length })),
              el("div.wm-stack", { style: { gap: "2px" } }, offer.recipes.map(saved)),
            ),
        ),
        el(
          "div.wm-row",
          {},
          button(t("evaluation.start"), begin, { kind: "primary", disabled: !ready, focus: "evaluate" }),
          el("span.wm-quiet", {}, busy() ? t("evaluation.busy") : estimate()),
        ),
      ],
    );
  };

  // ---- how far it is, what came out ---------------------------------------------------------------------------------
  const faults = (told, title) =>
    told &&
    el(
      "details.wm-note.wm-bad",
      { open: true },
      el("summary", {}, title),
      el(
        "ul.wm-faults",
        {},
        told.first.map((one) => el("li", {}, pick(one))),
      ),
      told.count > told.first.length && el("p", {}, t("evaluation.more", { n: told.count - told.first.length })),
    );
  const bar = (job) =>
    el(
      "div.wm-stack",
      { style: { gap: "4px" } },
      el(
        `div.wm-bar${job.progress == null ? ".wm-unknown" : ""}`,
        {
          role: "progressbar",
          "aria-label": t("state.progress"),
          "aria-valuenow": Math.round((job.progress ?? 0) * 100),
          "aria-valuemin": 0,
          "aria-valuemax": 100,
          style: { "--share": `${(job.progress ?? 0) * 100}%` },
        },
        el("span"),
      ),
      el(
        "p.wm-quiet.wm-figures",
        {},
        [
          t(
            "stage." + job.stage,
            Object.fromEntries(
              Object.entries(job.facts ?? {}).map(([key, value]) => [key, pick(value) || String(value)]),
            ),
          ),
          job.state === "paused" ? null : job.remaining != null && t("state.left", { time: WM.seconds(job.remaining) }),
        ]
          .filter(Boolean)
          .join(" · "),
      ),
    );
  const interval = (cell) =>
    cell == null || cell.value == null
      ? "—"
      : [
          el("b", {}, WM.percent(cell.value)),
          cell.low != null &&
            el("span.wm-quiet", {}, ` ${WM.number(cell.low * 100, 1)} … ${WM.number(cell.high * 100, 1)}`),
        ];
  const letter = (role) => mark(role === "saved" ? "merged" : role);
  const table = (told) =>
    el(
      "div.wm-scroll",
      {},
      el(
        "table.wm-outcome",
        {},
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", { scope: "col" }, t("evaluation.system")),
            el(
              "th",
              { scope: "col", title: t("wer.help") },
              t("wer"),
              " ",
              el("span.wm-quiet", {}, t("evaluation.interval")),
            ),
            el(
              "th",
              { scope: "col", title: t("cer.help") },
              t("cer"),
              " ",
              el("span.wm-quiet", {}, t("evaluation.interval")),
            ),
          ),
        ),
        el(
          "tbody",
          {},
          told.rows.map((row) =>
            el(
              "tr",
              {},
              el(
                "th",
                { scope: "row" },
                el(
                  "div.wm-row",
                  { title: row.sentence ? pick(row.sentence) : null },
                  letter(row.role),
                  el("span.wm-title", {}, row.title ? pick(row.title) : row.role === "merged" ? t("merged") : row.name),
                ),
              ),
              el("td", {}, interval(row.wer)),
              el("td", {}, interval(row.cer)),
            ),
          ),
        ),
      ),
    );
  const keep = async (told, name, type) => {
    const text = await WM.attempt("evaluation.file", { id: told.id, name });
    if (text != null)
      WM.download(
        `${told.id}.${name.replace(/^report\.../, "report")}`,
        (type === "text/csv" ? "\ufeff" : "") + text,
        type,
      );
  };
  const again = (told) => [
    button(t("evaluation.resume"), () => WM.attempt("evaluation.resume", { id: told.id }), {
      focus: "resume-evaluation",
    }),
    told.faults &&
      button(t("evaluation.skip"), () => WM.attempt("evaluation.resume", { id: told.id, skip_bad: true }), {
        focus: "skip-evaluation",
      }),
  ];
  const drawResult = () => {
    const told = WM.slices.evaluation;
    result.hidden = !told;
    if (!told) {
      report = null;
      drawReport();
      return;
    }
    const { job } = told;
    const running = busy();
    fill(
      result,
      el(
        "div.wm-row",
        {},
        el(
          "h2.wm-grow",
          {},
          el("span.wm-title", {}, pick(told.name)),
          told.clips
            ? el("span.wm-quiet", {}, ` · ${t("evaluation.amount", { n: told.clips, time: WM.seconds(told.seconds) })}`)
            : null,
        ),
        running &&
          job.stage === "evaluation.listen" &&
          button(
            t(job.state === "paused" ? "resume" : "pause.job"),
            () => WM.attempt("job.pause", { id: job.id, paused: job.state !== "paused" }),
            { kind: "small", focus: "pause-evaluation" },
          ),
        running &&
          button(t("stop"), () => WM.attempt("job.cancel", { id: job.id }), {
            kind: "small",
            icon: "stop",
            focus: "stop-evaluation",
            disabled: job.stopping,
          }),
      ),
      running && bar(job),
      faults(told.faults, t("evaluation.faults", { n: told.faults?.count })),
      told.state === "failed" &&
        told.error &&
        !told.faults &&
        el("p.wm-note.wm-bad", {}, pick(told.error.sentence), " ", pick(told.error.remedy)),
      ["failed", "cancelled"].includes(told.state) &&
        el(
          "div.wm-row",
          {},
          el("span.wm-quiet.wm-grow", {}, t(told.faults ? "evaluation.mend" : "evaluation.stopped")),
          again(told),
        ),
      told.state === "done" && [
        el("p.wm-conclusion", {}, pick(told.verdict)),
        told.lacks && el("p.wm-note.wm-warn", {}, pick(told.lacks)),
        table(told),
        faults(told.skipped, t("evaluation.skipped", { n: told.skipped?.count })),
        el(
          "div.wm-row",
          {},
          el("span.wm-quiet", {}, t("evaluation.keep")),
          [
            [`report.${WM.lang}.html`, "HTML", "text/html"],
            ["results.csv", "CSV", "text/csv"],
            ["results.json", "JSON", "application/json"],
          ].map(([name, label, type]) =>
            button(label, () => keep(told, name, type), {
              kind: "small",
              title: t("evaluation.keep.as", { kind: label }),
              focus: `keep-${label}`,
            }),
          ),
        ),
      ],
    );
    drawReport();
  };

  // ---- the report, in a frame that may run nothing and reach nothing ------------------------------------------------
  const drawReport = async () => {
    const told = WM.slices.evaluation;
    const wanted = told?.state === "done" ? told.id : null;
    frame.hidden = !wanted;
    if (!wanted) {
      fill(frame);
      report = null;
      return;
    }
    if (report?.id !== wanted) {
      report = { id: wanted, html: null };
      const html = await WM.attempt("evaluation.file", { id: wanted, name: `report.${WM.lang}.html` });
      if (report?.id !== wanted) return;
      report.html = html;
      paint();
    }
  };
  const paint = () => {
    if (!report?.html) return;
    const theme = document.body.classList.contains("dark") ? "dark" : "light";
    fill(
      frame,
      el("iframe.wm-report", {
        sandbox: "",
        title: t("evaluation.report"),
        srcdoc: report.html.replace("<html ", `<html data-theme="${theme}" `),
      }),
    );
  };
  document.addEventListener("wm-theme", paint);

  // ---- what was before ----------------------------------------------------------------------------------------------
  const drawPast = () => {
    const list = (offer?.past ?? []).filter((one) => one.id !== WM.slices.evaluation?.id);
    past.hidden = !list.length;
    fill(
      past,
      el("h2", {}, t("evaluation.past")),
      list.map((one) =>
        el(
          "article.wm-before",
          {},
          el(
            "div.wm-grow",
            {},
            el(
              "b",
              {},
              new Date(one.created * 1000).toLocaleString(WM.lang, { dateStyle: "medium", timeStyle: "short" }),
            ),
            " · ",
            el("span.wm-title", {}, pick(one.name)),
            el("p.wm-quiet.wm-title", {}, one.verdict ? pick(one.verdict) : t("evaluation.state." + one.state)),
          ),
          el(
            "div.wm-row",
            {},
            one.state === "done"
              ? button(t("evaluation.open"), () => WM.attempt("evaluation.show", { id: one.id }), {
                  kind: "small",
                  focus: `open-${one.id}`,
                })
              : one.state !== "running" &&
                  button(t("evaluation.resume"), () => WM.attempt("evaluation.resume", { id: one.id }), {
                    kind: "small",
                    focus: `resume-${one.id}`,
                  }),
            one.state !== "running" &&
              WM.sure(
                t("evaluation.forget"),
                async () => {
                  await WM.attempt("evaluation.forget", { id: one.id });
                  load();
                },
                { focus: `forget-${one.id}` },
              ),
          ),
        ),
      ),
    );
  };

  for (const kind of ["dragover", "dragenter"])
    setup.addEventListener(kind, (event) => {
      event.preventDefault();
      setup.classList.add("wm-drop");
    });
  for (const kind of ["dragleave", "drop"])
    setup.addEventListener(kind, (event) => {
      event.preventDefault();
      setup.classList.remove("wm-drop");
    });
  setup.addEventListener("drop", (event) => {
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
  let before = null;
  WM.on("evaluation", () => {
    const told = WM.slices.evaluation;
    const now = `${told?.id} ${told?.state}`;
    drawResult();
    drawSetup();
    if (now !== before) {
      before = now;
      if (told?.state === "done" && told.job) WM.announce(pick(told.verdict));
      if (visible) load();
    }
  });
  WM.on(["models", "recipe", "history_version"], () => {
    if (visible) load();
    else drawSetup();
  });
  WM.on("result", drawSetup);
  document.addEventListener("wm-tab", ({ detail }) => {
    visible = detail === "evaluation";
    if (visible) load();
  });
  fill(root, el("div.wm-stack", {}, setup, result, frame, past));
  drawSetup();
  drawResult();
  drawPast();
  if (document.body.dataset.wmTab === "evaluation") {
    visible = true;
    load();
  }
});
