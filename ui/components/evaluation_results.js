// How far an evaluation is and what came out of it: progress, faults, the verdict, the table, the files to take away.
WM.parts.evaluation_results = (busy) => {
  "use strict";
  const { t, el, button, fill, pick, mark } = WM;
  const card = el("section.wm-card.wm-stack", { "aria-label": t("evaluation.result") });

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
      WM.progressBar(job),
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
  const column = (title, help) =>
    el("th", { scope: "col", title: help }, title, " ", el("span.wm-quiet", {}, t("evaluation.interval")));
  const rowOf = (row) =>
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
    );
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
            column(t("wer"), t("wer.help")),
            column(t("cer"), t("cer.help")),
          ),
        ),
        el("tbody", {}, told.rows.map(rowOf)),
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
  const heading = (told, running) => {
    const { job } = told;
    return el(
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
    );
  };
  const files = (told) =>
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
    );
  const draw = () => {
    const told = WM.slices.evaluation;
    card.hidden = !told;
    if (!told) return;
    const running = busy();
    fill(
      card,
      heading(told, running),
      running && bar(told.job),
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
        files(told),
      ],
    );
  };

  return { card, draw };
};
