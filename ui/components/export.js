// From what is in memory to a folder: progress, files, the proof that saved = heard, the model card, the Hub.
WM.island("export", (root) => {
  "use strict";
  const { t, el, icon, button, fill, pick } = WM;
  const name = el("input", {
    type: "text",
    placeholder: t("export.name.auto"),
    id: "wm-export-name",
    maxlength: 80,
    spellcheck: "false",
  });
  const repository = el("input", {
    type: "text",
    placeholder: t("export.hub.name"),
    "aria-label": t("export.hub.name"),
    spellcheck: "false",
  });
  const open = el("input", { type: "checkbox" });
  const before = el("section.wm-card.wm-stack", { "aria-label": t("tab.export") });
  const after = el("section.wm-card.wm-stack", { "aria-label": t("export.result") });
  const drawBefore = () => {
    const { recipe, models, export: told } = WM.slices;
    const running = told && ["queued", "running"].includes(told.job.state);
    fill(
      before,
      el("h2", {}, t("export.title")),
      el("p", {}, recipe ? pick(recipe.sentence) : ""),
      el("p.wm-quiet", {}, t("export.hint")),
      el(
        "div.wm-row.wm-named",
        {},
        !WM.boot.public && el("label", { for: "wm-export-name" }, t("export.name"), name),
        button(t("export.start"), () => WM.attempt("export.start", { name: name.value.trim() }), {
          kind: "primary",
          disabled: Boolean(running) || models?.verdict?.state !== "ok",
          focus: "export",
        }),
      ),
    );
  };
  const line = (state, text, detail) =>
    el(
      "div.wm-proof",
      { data: { state } },
      icon(state === "good" ? "check" : state === "bad" ? "warn" : "reset"),
      el("div", {}, el("b", {}, text), detail && el("p.wm-quiet", {}, detail)),
    );
  const proof = (told) => {
    if (!told.proof)
      return told.proving?.error
        ? line("bad", pick(told.proving.error.sentence), pick(told.proving.error.remedy))
        : line("wait", t("export.proving"));
    const { equal, total, texts } = told.proof;
    return [
      line(
        equal === total ? "good" : "bad",
        t(equal === total ? "export.proof.weights" : "export.proof.weights.bad", { equal, total }),
      ),
      texts &&
        line(
          texts.same ? "good" : "bad",
          t(texts.same ? "export.proof.text" : "export.proof.text.bad"),
          texts.same
            ? `«${texts.saved}»`
            : `${t("export.live")}: «${texts.live}» · ${t("export.saved")}: «${texts.saved}»`,
        ),
    ];
  };
  let who = null;
  const ask = async () => {
    who = await WM.attempt("hub.who", {}, { quiet: true });
    drawAfter();
  };
  document.addEventListener("wm-tab", ({ detail }) => {
    if (detail === "export" && !who) ask();
  });
  const sending = () => {
    const push = WM.slices.push;
    if (!push) return null;
    if (push.job.error) return line("bad", pick(push.job.error.sentence), pick(push.job.error.remedy));
    if (push.job.state === "done")
      return line(
        "good",
        t("export.hub.done"),
        el("a", { href: push.url, target: "_blank", rel: "noopener" }, push.repository),
      );
    return push.job.state === "cancelled" ? null : line("wait", t("stage.export.push"), push.repository);
  };
  const take = async (file) => {
    const text = await WM.attempt("export.file", { name: file.name });
    if (text != null) WM.download(file.name, text, "text/plain");
  };
  const progress = (job) =>
    el(
      "div.wm-stack",
      { style: { gap: "4px" } },
      WM.progressBar(job),
      el(
        "p.wm-quiet.wm-figures",
        {},
        t("stage." + job.stage),
        job.remaining >= 0.5 ? " · " + t("state.left", { time: WM.seconds(job.remaining) }) : "",
      ),
    );
  const files = (result) =>
    el(
      "div.wm-scroll",
      {},
      el(
        "table.wm-files",
        {},
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", { scope: "col" }, t("export.file")),
            el("th", { scope: "col" }, t("export.size")),
            el("th", { scope: "col" }, ""),
          ),
        ),
        el(
          "tbody",
          {},
          result.files.map((file) =>
            el(
              "tr",
              {},
              el("td", {}, file.name),
              el("td", {}, pick(file.size)),
              el(
                "td",
                {},
                !file.small
                  ? el("span.wm-quiet", {}, t("export.large", { folder: result.folder }))
                  : button(t("export.take"), () => take(file), { kind: "small", focus: `take-${file.name}` }),
              ),
            ),
          ),
        ),
      ),
    );
  const login = () =>
    el(
      "p.wm-row",
      {},
      el(
        "a.wm-button.wm-plain",
        {
          href: "/login/huggingface?_target_url=" + encodeURIComponent(location.pathname + location.search + "#export"),
          target: window.top === window ? null : "_blank",
          rel: "noopener",
        },
        t("export.hub.login"),
      ),
    );
  const push = () =>
    el(
      "form.wm-row",
      {
        onsubmit: (event) => {
          event.preventDefault();
          WM.attempt("export.push", { repository: repository.value.trim(), open: open.checked });
        },
      },
      el("div.wm-grow", {}, repository),
      who.name && el("span.wm-quiet", {}, t("export.hub.as", { name: who.name })),
      el("label.wm-check", {}, open, t("export.hub.open")),
      button(t("export.hub.push"), null, { type: "submit" }),
    );
  const drawAfter = () => {
    const told = WM.slices.export;
    after.hidden = !told;
    if (!told) return;
    const { job, result } = told;
    const busy = ["queued", "running"].includes(job.state);
    fill(
      after,
      el(
        "div.wm-row",
        {},
        el("h2.wm-grow", {}, told.folder),
        busy &&
          button(t("stop"), () => WM.attempt("job.cancel", { id: job.id }), {
            kind: "small",
            icon: "stop",
            focus: "stop-export",
          }),
      ),
      el("p.wm-quiet", {}, pick(told.sentence)),
      busy && progress(job),
      job.state === "cancelled" && el("p.wm-note", {}, t("export.cancelled")),
      job.error && el("p.wm-note.wm-bad", {}, pick(job.error.sentence), " ", pick(job.error.remedy)),
      result && [
        pick(result.report).warnings.map((one) => el("p.wm-note.wm-warn", {}, one)),
        line("good", t("export.done", { time: WM.seconds(pick(result.report).seconds) })),
        proof(told),
        files(result),
        result.card &&
          el("details", {}, el("summary", {}, t("export.card")), el("pre.wm-model-card", { tabindex: 0 }, result.card)),
        sending(),
        who?.way === "login" && !who.name && login(),
        (who?.way === "token" || who?.name) && push(),
      ],
    );
  };
  WM.on(["recipe", "models", "export", "push"], () => {
    drawBefore();
    drawAfter();
  });
  fill(root, el("div.wm-stack", {}, before, after));
  drawBefore();
  drawAfter();
  if (document.body.dataset.wmTab === "export") ask(); // the way back from a login leads here
});
