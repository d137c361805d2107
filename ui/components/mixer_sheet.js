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
      onclick: () => {
        open = !open;
        panel.dataset.open = open;
        handle.setAttribute("aria-expanded", open);
        fill(handle, icon(open ? "down" : "sliders"), t(open ? "mixer.close" : "mixer"));
      },
    },
    icon("sliders"),
    t("mixer"),
  );
  const read = el("p", { lang: "ru" });
  const sheetText = el("div.wm-sheet-text", {}, mark("merged"), read);
  WM.on(["result", "clip", "recipe", "blind"], ({ result, clip, recipe: state }) => {
    const mine = result?.clip === clip?.id && !WM.voting() ? result?.merged : null;
    read.textContent = mine ? mine.text || t("silent") : "…";
    sheetText.dataset.stale = String(Boolean(mine && state && result.digest !== state.key));
  });

  return { bar: el("div.wm-bottom", {}, bottomPlay, handle), text: sheetText };
};
