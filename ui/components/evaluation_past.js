// The evaluations before: to open, to go on with, to forget.
WM.parts.evaluation_past = (offer, load) => {
  "use strict";
  const { t, el, button, fill, pick } = WM;
  const card = el("section.wm-card.wm-stack", { "aria-label": t("evaluation.past") });

  const draw = () => {
    const list = (offer()?.past ?? []).filter((one) => one.id !== WM.slices.evaluation?.id);
    card.hidden = !list.length;
    fill(
      card,
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

  return { card, draw };
};
