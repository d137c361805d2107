// Blind voting: three texts in random order, a vote when enough was heard, then who was who.
WM.island("blind", (root) => {
  "use strict";
  const { t, el, button, fill, pick } = WM;
  const card = el("section.wm-card.wm-stack", { "aria-label": t("tab.blind") });
  const ranking = el("section.wm-card.wm-stack", { "aria-label": t("blind.ranking") });
  let base = 0;
  let results = null;
  let shown = null;
  const heard = () => Math.max(0, (WM.player?.heard ?? 0) - base);
  const enough = () => {
    const round = WM.slices.blind;
    return round?.texts && heard() + 0.05 >= round.due;
  };
  const start = () => {
    WM.player.pause();
    WM.attempt("blind.new");
  };
  const vote = async (choice) => {
    const round = WM.slices.blind;
    if (!round?.texts || round.vote || choice >= round.texts.length) return;
    if (!enough()) {
      WM.toast({ sentence: t("blind.listen.first", { time: WM.seconds(Math.max(0, round.due - heard())) }) });
      return;
    }
    await WM.attempt("blind.vote", { id: round.id, choice: String(choice), heard: heard() });
    refresh();
  };
  WM.vote = (index) => vote(index);
  const refresh = async () => {
    results = await WM.attempt("blind.results");
    drawRanking();
  };
  const draw = () => {
    const round = WM.slices.blind;
    if (round && round.id !== shown) {
      shown = round.id;
      base = WM.player?.heard ?? 0;
    }
    const busy = WM.slices.job && ["queued", "running"].includes(WM.slices.job.state);
    if (round?.alike) {
      fill(
        card,
        el(
          "div.wm-empty",
          {},
          el("h2", {}, t("blind.alike")),
          el("p", { style: { margin: "8px auto 16px", "max-width": "52ch" } }, t("blind.alike.remedy")),
          button(t("blind.again"), start, { kind: "primary", disabled: Boolean(busy) }),
        ),
      );
      return;
    }
    if (!round) {
      fill(
        card,
        el(
          "div.wm-empty",
          {},
          el("h2", {}, t("blind.title")),
          el("p", { style: { margin: "8px auto 16px", "max-width": "52ch" } }, t("blind.why")),
          button(t(busy ? "blind.preparing" : "blind.start"), start, { kind: "primary", disabled: Boolean(busy) }),
        ),
      );
      return;
    }
    const ready = enough();
    fill(
      card,
      el(
        "div.wm-row",
        {},
        el("h2.wm-grow", {}, t(round.vote ? "blind.revealed" : "blind.question")),
        button(t("blind.next"), start, { kind: round.vote ? "primary" : "plain" }),
      ),
      el(
        "p.wm-quiet",
        { role: "status" },
        round.vote
          ? t("blind.thanks")
          : ready
            ? t("blind.ready")
            : t("blind.listen.first", { time: WM.seconds(Math.max(0, round.due - heard())) }),
      ),
      el(
        "div.wm-cards",
        { style: { "--cards": round.texts.length } },
        round.texts.map((text, index) =>
          el(
            "article.wm-cardlet",
            { data: { won: String(round.vote === String(index)) } },
            el("h3", {}, String(index + 1)),
            el("p.wm-said", { lang: "ru" }, text || t("silent")),
            // The name stands where the button was: nothing moves when it is told.
            round.labels
              ? el("p.wm-who", {}, round.labels[index].map(pick).join("; "))
              : button(t("blind.best", { n: index + 1 }), () => vote(index), {
                  disabled: !ready,
                  focus: `vote-${index}`,
                }),
          ),
        ),
      ),
      !round.vote &&
        el(
          "div.wm-row",
          {},
          button(t("blind.same"), () => vote("same"), { disabled: !ready }),
          button(t("blind.bad"), () => vote("bad"), { disabled: !ready }),
        ),
    );
  };
  const table = (title, told) =>
    el(
      "div.wm-stack",
      {},
      el("h3", {}, title, " ", el("span.wm-quiet", {}, WM.plural(told.votes, "votes"))),
      told.rows.length === 0
        ? el("p.wm-quiet", {}, t("blind.none"))
        : el(
            "div.wm-rank",
            {},
            told.rows.map((one) => [
              el("span", {}, pick(one.label), !one.enough && el("span.wm-quiet", {}, " · ", t("blind.few"))),
              el(
                "span.wm-whisker",
                {
                  role: "img",
                  "aria-label": t("blind.interval", {
                    value: WM.percent(one.strength, 0),
                    low: WM.percent(one.low, 0),
                    high: WM.percent(one.high, 0),
                  }),
                },
                el("i", { style: { left: `${one.low * 100}%`, width: `${(one.high - one.low) * 100}%` } }),
                el("b", { style: { left: `${one.strength * 100}%` } }),
              ),
              el(
                "span.wm-figures",
                {},
                `${WM.percent(one.strength, 0)} (${WM.percent(one.low, 0)}–${WM.percent(one.high, 0)})`,
              ),
            ]),
          ),
    );
  const drawRanking = () => {
    if (!results) {
      fill(ranking);
      ranking.hidden = true;
      return;
    }
    ranking.hidden = false;
    if (!results.own.votes && !results.all.votes) {
      fill(ranking, el("h2", {}, t("blind.ranking")), el("p.wm-quiet", {}, t("blind.none.yet")));
      return;
    }
    fill(
      ranking,
      el(
        "div.wm-row",
        {},
        el("h2.wm-grow", {}, t("blind.ranking")),
        button(
          t("blind.csv"),
          async () => {
            const text = await WM.attempt("blind.export");
            if (text) WM.download("votes.csv", text, "text/csv");
          },
          { kind: "small" },
        ),
      ),
      el("p.wm-quiet", {}, t("blind.ranking.hint", { n: results.needed })),
      table(t("blind.mine"), results.own),
      table(t("blind.all"), results.all),
    );
  };
  WM.on(["blind", "job"], draw);
  document.addEventListener("wm-time", () => {
    if (document.body.dataset.wmTab === "blind" && WM.slices.blind?.texts && !WM.slices.blind.vote) {
      const was = card.dataset.ready;
      const now = String(enough());
      if (was !== now || now === "false") {
        card.dataset.ready = now;
        const line = card.querySelector("[role=status]");
        if (now === "true") draw();
        else if (line)
          line.textContent = t("blind.listen.first", { time: WM.seconds(Math.max(0, WM.slices.blind.due - heard())) });
      }
    }
  });
  document.addEventListener("wm-tab", ({ detail }) => {
    if (detail === "blind") refresh();
  });
  fill(root, el("div.wm-stack", {}, card, ranking));
  draw();
  drawRanking();
});
