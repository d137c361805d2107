// On a phone the mixer is a sheet: the bottom bar opens it, and the merge's text stands on top of it.
WM.parts.mixer_sheet = (panel) => {
  "use strict";
  const { t, el, icon, mark, fill } = WM;
  let open = false;

  // The bottom bar holds what a thumb needs most: play, and the mixer.
  const playIcon = () => fill(bottomPlay, icon(WM.player?.paused === false ? "pause" : "play"));
  const bottomPlay = el(
    "button.wm-bottom-play",
    { type: "button", "aria-label": t("play"), onclick: () => WM.player?.toggle() },
    icon("play"),
  );
  document.addEventListener("wm-playing", ({ detail: playing }) => {
    playIcon();
    bottomPlay.setAttribute("aria-label", t(playing ? "pause" : "play"));
  });
  WM.on("clip", ({ clip }) => {
    bottomPlay.disabled = !clip;
  });
  const handle = el(
    "button.wm-sheet-handle",
    {
      type: "button",
      "aria-expanded": "false",
      // Opening is a step: the phone's Back closes the sheet and does not leave the page.
      onclick: () => {
        if (open) close();
        else {
          WM.remember("pushState", { ...history.state, sheet: true });
          set(true);
        }
      },
    },
    icon("sliders"),
    t("mixer"),
  );
  const set = (opened) => {
    open = opened;
    panel.dataset.open = open;
    handle.setAttribute("aria-expanded", open);
    fill(handle, icon(open ? "down" : "sliders"), t(open ? "mixer.close" : "mixer"));
  };
  const close = () => {
    set(false);
    if (history.state?.sheet) history.back(); // comes later: by then it is closed already
  };
  window.addEventListener("popstate", ({ state }) => {
    if (open !== Boolean(state?.sheet)) set(Boolean(state?.sheet));
  });
  document.addEventListener("wm-tab", () => {
    if (!open) return;
    set(false); // the step that had opened it now leads to the new screen
    if (history.state?.sheet) WM.remember("replaceState", { ...history.state, sheet: false });
  });
  document.addEventListener("keydown", (event) => {
    const elsewhere = event.defaultPrevented || WM.typing(event.target) || document.querySelector("dialog[open]");
    if (event.key === "Escape" && open && !elsewhere) close();
  });
  const read = el("p", { lang: "ru" });
  const sheetText = el("div.wm-sheet-text", {}, mark("merged"), read);
  WM.on(["result", "clip", "recipe", "blind"], ({ result, clip, recipe: state }) => {
    const mine = result?.clip === clip?.id && !WM.voting() ? result?.merged : null;
    read.textContent = mine ? mine.text || t("silent") : "…";
    sheetText.dataset.stale = String(Boolean(mine && state && result.digest !== state.key));
  });

  return { bar: el("div.wm-bottom", {}, bottomPlay, handle), text: sheetText };
};
