// An evaluation of the samples or of an uploaded set: what to compare, how far it is, what came out, what was before.
WM.island("evaluation", (root) => {
  "use strict";
  const { el, fill, pick, parts } = WM;
  let offer = null; // what there is to compare, and what was compared before
  let visible = false;
  const load = async () => {
    const told = await WM.attempt("evaluation.offer");
    if (told) {
      offer = told;
      form.draw();
      past.draw();
    }
  };
  const busy = () => WM.slices.evaluation?.state === "running" && WM.slices.evaluation.job;
  const form = parts.evaluation_form(() => offer, busy);
  const result = parts.evaluation_results(busy);
  const report = parts.evaluation_report();
  const past = parts.evaluation_past(() => offer, load);

  let before = null;
  WM.on("evaluation", () => {
    const told = WM.slices.evaluation;
    const now = `${told?.id} ${told?.state}`;
    result.draw();
    report.draw();
    form.draw();
    if (now !== before) {
      before = now;
      if (told?.state === "done" && told.job) WM.announce(pick(told.verdict));
      if (visible) load();
    }
  });
  WM.on(["models", "recipe", "history_version"], () => {
    if (visible) load();
    else form.draw();
  });
  WM.on("result", form.draw);
  document.addEventListener("wm-tab", ({ detail }) => {
    visible = detail === "evaluation";
    if (visible) load();
  });
  fill(root, el("div.wm-stack", {}, form.card, result.card, report.card, past.card));
  form.draw();
  result.draw();
  report.draw();
  past.draw();
  if (document.body.dataset.wmTab === "evaluation") {
    visible = true;
    load();
  }
});
