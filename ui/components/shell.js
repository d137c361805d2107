// Header, tabs, status strip, toasts, the keys dialog and the three first steps.
WM.island("shell", (root) => {
  "use strict";
  const { t, el, icon, button, fill, pick } = WM;
  const TABS = ["listen", "blind", "sweep", "evaluation", "history", "export", "map", "help"];

  // ---- theme: the system's until somebody chooses -------------------------------------------------------------------
  const dark = () => document.body.classList.contains("dark");
  const setDark = (on) => {
    document.body.classList.toggle("dark", on);
    document.documentElement.style.colorScheme = on ? "dark" : "light";
  };
  const asked = WM.query.get("__theme") ?? WM.storage.get("theme");
  setDark(asked ? asked === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const themeButton = button(
    "",
    () => {
      setDark(!dark());
      WM.storage.set("theme", dark() ? "dark" : "light");
      fill(themeButton, icon(dark() ? "sun" : "moon"));
      document.dispatchEvent(new Event("wm-theme"));
    },
    { icon: dark() ? "sun" : "moon", kind: "ghost", title: t("theme.toggle") },
  );

  // ---- language: another page of the same session -------------------------------------------------------------------
  const other = WM.lang === "ru" ? "en" : "ru";
  const address = new URL(location.href);
  address.searchParams.set("lang", other);
  address.searchParams.delete("recipe"); // the session has it by then, and perhaps what was changed since
  const language = el(
    "a.wm-lang",
    {
      href: address.search,
      lang: other,
      hreflang: other,
      "aria-label": t("lang.other"),
      onclick: () => WM.storage.set("lang", other),
    },
    other === "en" ? "English" : "Русский",
  );

  // ---- tabs ---------------------------------------------------------------------------------------------------------
  const tabs = TABS.map((name) =>
    el(
      "button.wm-tab",
      {
        type: "button",
        role: "tab",
        id: `wm-tab-${name}`,
        "aria-controls": name === "listen" ? "wm-grid" : `wm-${name === "map" ? "model-map" : name}`,
        onclick: (event) => {
          document.getElementById("wm-toasts").replaceChildren();
          WM.show(name, { step: event.detail > 0 }); // 0: not a pointer's click
        },
      },
      t("tab." + name),
    ),
  );
  const list = el("nav.wm-tabs", { role: "tablist", "aria-label": t("tabs") }, tabs);
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
    event.preventDefault();
  });
  document.addEventListener("wm-tab", ({ detail }) => {
    tabs.forEach((tab, index) => {
      const chosen = TABS[index] === detail;
      tab.setAttribute("aria-selected", chosen);
      tab.tabIndex = chosen ? 0 : -1;
      if (chosen) tab.scrollIntoView?.({ block: "nearest", inline: "nearest" });
    });
    WM.storage.set("tab", detail);
    if (walked()) tour.hidden = true; // it goes where nothing moves under the hand: with the screen
  });

  // ---- keys ---------------------------------------------------------------------------------------------------------
  const KEYS = [
    ["Space", "key.play"],
    ["J / L", "key.seek"],
    ["[ / ]", "key.speed"],
    ["1 / 2 / 3", "key.solo"],
    ["N", "key.next"],
    ["← / →", "key.words"],
    ["Z", "key.undo"],
    ["R", "key.record"],
    ["?", "key.help"],
  ];
  const dialog = el(
    "dialog.wm-dialog",
    { "aria-labelledby": "wm-keys-title" },
    el(
      "div.wm-row",
      {},
      el("h2.wm-grow", { id: "wm-keys-title" }, t("keys.title")),
      button("", () => dialog.close(), { icon: "close", kind: "ghost", title: t("close") }),
    ),
    el("p.wm-quiet", {}, t("keys.note")),
    el(
      "dl.wm-keys",
      {},
      KEYS.map(([name, text]) => [
        el("dt", {}, el("kbd", {}, name === "Space" ? t("key.space") : name)),
        el("dd", {}, t(text)),
      ]),
    ),
  );
  document.body.append(dialog);
  const help = () => dialog.showModal();
  WM.key("Help", help);

  // ---- status strip -------------------------------------------------------------------------------------------------
  const sentence = el("div.wm-sentence", { id: "wm-sentence" });
  const state = el("div.wm-state", { role: "status", "aria-live": "polite" });
  const strip = el("section.wm-strip", { "aria-label": t("strip") }, sentence, state);
  let received = 0;
  let timer = null;
  const drawState = () => {
    const job = WM.slices.job;
    const merged = WM.slices.result?.merged;
    if (!job) {
      fill(state, el("span.wm-quiet", {}, t("state.idle")));
      return;
    }
    const busy = job.state === "queued" || job.state === "running" || job.state === "paused";
    const elapsed = job.elapsed + (job.state === "running" ? (performance.now() - received) / 1000 : 0);
    clearInterval(timer);
    if (busy) timer = setInterval(drawState, 500);
    const left = job.remaining == null ? null : Math.max(0, job.remaining - (performance.now() - received) / 1000);
    const bar = WM.progressBar(job);
    const text =
      job.state === "queued" && job.ahead > 0
        ? t("state.queue", { ahead: job.ahead, wait: WM.seconds(job.wait) })
        : job.stopping
          ? t("state.stopping")
          : busy
            ? t("stage." + job.stage, Object.fromEntries(Object.entries(job.facts ?? {}).map(([k, v]) => [k, pick(v)])))
            : job.state === "done" && merged?.merge?.seconds != null
              ? t("state.took", { merge: WM.short(merged.merge.seconds * 1000, 0), text: WM.seconds(merged.seconds) })
              : t("state." + job.state);
    state.dataset.busy = busy || job.state === "failed";
    fill(
      state,
      busy && bar,
      el("span", { class: job.state === "failed" ? "wm-failed" : null }, text),
      busy &&
        el(
          "span.wm-quiet.wm-figures",
          {},
          WM.seconds(elapsed) + (left >= 0.5 ? " · " + t("state.left", { time: WM.seconds(left) }) : ""),
        ),
      busy &&
        button(t("stop"), () => WM.attempt("job.cancel", { id: job.id }), {
          icon: "stop",
          kind: "small",
          focus: "stop",
        }),
    );
  };
  WM.on(["job", "result"], () => {
    received = performance.now();
    drawState();
  });
  WM.on("recipe", ({ recipe }) => {
    sentence.textContent = recipe ? pick(recipe.sentence) : "";
  });

  // ---- three first steps --------------------------------------------------------------------------------------------
  const steps = { sample: false, slider: false, compare: false };
  const tour = el("aside.wm-tour", { "aria-label": t("tour"), hidden: WM.storage.get("tour") === "done" });
  const walked = () => Object.values(steps).every(Boolean);
  const drawTour = () =>
    fill(
      tour,
      el("p.wm-tour-lead", {}, t(walked() ? "tour.done" : "tour.lead")),
      el(
        "ol",
        {},
        !walked() &&
          Object.keys(steps).map((name, index) =>
            el("li", { data: { done: steps[name] } }, el("b", { "aria-hidden": "true" }, index + 1), t("tour." + name)),
          ),
      ),
      button(
        t("tour.skip"),
        () => {
          tour.hidden = true;
          WM.storage.set("tour", "done");
        },
        { kind: "small" },
      ),
    );
  WM.step = (name) => {
    // Texts are there from the start; they are compared once something was moved.
    if (tour.hidden || steps[name] || (name === "compare" && !steps.slider)) return;
    steps[name] = true;
    drawTour();
    if (walked()) WM.storage.set("tour", "done");
  };
  drawTour();

  fill(
    root,
    el(
      "header.wm-head",
      {},
      el("h1.wm-name", {}, el("span.wm-blend", { "aria-hidden": "true" }), "whisper-merge"),
      list,
      el(
        "div.wm-tools",
        {},
        button("", help, { icon: "help", kind: "ghost", title: t("keys.title") }),
        themeButton,
        language,
      ),
    ),
    tour,
    strip,
    el("div.wm-offline", { role: "alert" }, t("error.lost")),
    el("div.wm-toasts", { id: "wm-toasts", popover: "manual" }),
    el("div.wm-sr", { id: "wm-announce", "aria-live": "polite" }),
  );
  drawState();
  const wanted = location.hash.slice(1) || WM.storage.get("tab");
  WM.show(TABS.includes(wanted) ? wanted : "listen");
});
