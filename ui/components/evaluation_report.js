// The report of a finished evaluation, in a frame that may run nothing and reach nothing.
WM.parts.evaluation_report = () => {
  "use strict";
  const { t, el, fill } = WM;
  const card = el("section.wm-card.wm-stack", { "aria-label": t("evaluation.report") });
  let report = null;

  const draw = async () => {
    const told = WM.slices.evaluation;
    const wanted = told?.state === "done" ? told.id : null;
    card.hidden = !wanted;
    if (!wanted) {
      fill(card);
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
      card,
      el("iframe.wm-report", {
        sandbox: "",
        title: t("evaluation.report"),
        srcdoc: report.html.replace("<html ", `<html data-theme="${theme}" `),
      }),
    );
  };
  document.addEventListener("wm-theme", paint);

  return { card, draw };
};
