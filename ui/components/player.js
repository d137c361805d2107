// The one player of the page: waveform, the three models' words under it, loop, speed.
// Everything that sounds goes through it.
WM.island("player", (root) => {
  "use strict";
  const { t, el, button, fill, icon, pick } = WM;
  const audio = new Audio();
  audio.preload = "auto";
  const RATES = [0.5, 0.75, 1, 1.25, 1.5, 2];
  const LANES = ["a", "merged", "b"];
  let clip = null;
  let stretch = null;
  let frame = 0;
  let heard = 0;
  let last = null;
  const canvas = el("canvas.wm-wave", { "aria-hidden": "true" });
  const line = el("div.wm-head-line");
  const lanes = Object.fromEntries(
    LANES.map((role) => [role, el("div.wm-lane", { data: { role }, "aria-hidden": "true" })]),
  );
  const inner = el(
    "div.wm-inner",
    {},
    canvas,
    LANES.map((role) => lanes[role]),
    line,
  );
  const timeline = el("div.wm-timeline", {}, inner);
  const play = button("", () => toggle(), { icon: "play", kind: "primary", title: t("play"), focus: "play" });
  play.classList.add("wm-big");
  const clock = el("span.wm-figures");
  const name = el("b");
  const rate = el(
    "select",
    { "aria-label": t("speed"), onchange: () => setRate(Number(rate.value)) },
    RATES.map((value) => el("option", { value, selected: value === 1 }, WM.short(value) + "×")),
  );
  const loop = el(
    "label.wm-check",
    {},
    el("input", {
      type: "checkbox",
      onchange: (event) => {
        audio.loop = event.target.checked;
      },
    }),
    t("loop"),
  );
  const seek = el("input.wm-range.wm-amount", {
    type: "range",
    min: 0,
    max: 1,
    step: 0.05,
    value: 0,
    "aria-label": t("position"),
    oninput: () => {
      stretch = null;
      audio.currentTime = Number(seek.value);
      tick();
    },
  });
  const card = el(
    "section.wm-card.wm-player",
    { "aria-label": t("player") },
    play,
    timeline,
    el(
      "div.wm-meta",
      {},
      name,
      clock,
      el("span.wm-grow", {}, seek),
      el("label.wm-row", {}, el("span.wm-quiet.wm-speed", {}, t("speed")), rate),
      loop,
    ),
  );

  const ink = (variable) => getComputedStyle(document.body).getPropertyValue(variable).trim();
  const draw = () => {
    const peaks = clip?.peaks ?? [];
    const width = Math.max(timeline.clientWidth, Math.min(16000, (clip?.seconds ?? 0) * 96));
    inner.style.width = width + "px";
    const scale = Math.min(2, devicePixelRatio || 1);
    canvas.style.width = width + "px";
    canvas.width = width * scale;
    canvas.height = 56 * scale;
    const paint = canvas.getContext("2d");
    paint.scale(scale, scale);
    paint.clearRect(0, 0, width, 56);
    paint.fillStyle = ink("--wm-quiet");
    const step = width / Math.max(1, peaks.length);
    peaks.forEach((peak, index) => {
      const height = Math.max(1.5, peak * 52);
      paint.fillRect(index * step, 28 - height / 2, Math.max(1, step * 0.72), height);
    });
    tick();
  };
  const drawWords = () => {
    const result = WM.slices.result;
    for (const role of LANES) {
      const words = result && clip && result.clip === clip.id && !WM.voting() ? (result[role]?.words ?? []) : [];
      fill(
        lanes[role],
        words.map((word, index) =>
          el(
            "button",
            {
              type: "button",
              tabindex: -1,
              data: { index },
              title: word.t,
              style: {
                left: `${(word.s / clip.seconds) * 100}%`,
                width: `${Math.max(0.4, ((word.e - word.s) / clip.seconds) * 100)}%`,
              },
              onclick: (event) => playWord(word, event.shiftKey),
            },
            word.t,
          ),
        ),
      );
    }
  };
  // What was heard since the last look, however long ago that was: more than can have been played meanwhile is a jump.
  const count = () => {
    const now = audio.currentTime || 0;
    const wall = performance.now();
    if (last && now > last.now && now - last.now <= ((wall - last.wall) / 1000) * audio.playbackRate + 0.2)
      heard += now - last.now;
    last = audio.paused ? null : { now, wall };
  };
  const tick = () => {
    count();
    const now = audio.currentTime || 0;
    const length = clip?.seconds || audio.duration || 0;
    line.style.left = length ? `${(now / length) * 100}%` : "0";
    clock.textContent = `${WM.number(now, 1)} / ${WM.number(length, 1)}\u00a0${t("unit.s")}`;
    if (document.activeElement !== seek) seek.value = now;
    if (!audio.paused) {
      const x = length ? (now / length) * inner.clientWidth : 0;
      if (x < timeline.scrollLeft || x > timeline.scrollLeft + timeline.clientWidth - 40)
        timeline.scrollLeft = Math.max(0, x - 60);
    }
    if (stretch && now >= stretch.end) {
      if (stretch.loop) audio.currentTime = stretch.start;
      else {
        audio.pause();
        stretch = null;
      }
    }
    document.dispatchEvent(new CustomEvent("wm-time", { detail: now }));
  };
  const run = () => {
    tick();
    if (!audio.paused) frame = requestAnimationFrame(run);
  };
  audio.addEventListener("play", () => {
    fill(play, icon("pause"));
    play.setAttribute("aria-label", t("pause"));
    cancelAnimationFrame(frame);
    run();
    document.dispatchEvent(new CustomEvent("wm-playing", { detail: true }));
  });
  audio.addEventListener("pause", () => {
    fill(play, icon("play"));
    play.setAttribute("aria-label", t("play"));
    tick();
    document.dispatchEvent(new CustomEvent("wm-playing", { detail: false }));
    document.dispatchEvent(new CustomEvent("wm-heard", { detail: heard }));
  });
  audio.addEventListener("error", () => {
    if (clip && audio.getAttribute("src")) WM.toast({ sentence: t("error.sound"), remedy: t("error.sound.remedy") });
  });
  const begin = () => audio.play().catch(() => {});
  const toggle = () => {
    if (!clip) return;
    stretch = null;
    if (audio.paused) begin();
    else audio.pause();
  };
  const playFrom = (start, end, looped) => {
    if (!clip) return;
    stretch = { start: Math.max(0, start), end, loop: looped };
    audio.currentTime = stretch.start;
    begin();
  };
  // A little air around a word: boundaries from attention are good to about a tenth of a second.
  const playWord = (word, looped) => playFrom(word.s - 0.06, Math.max(word.e + 0.1, word.s + 0.25), looped);
  const setRate = (value) => {
    audio.playbackRate = value;
    audio.preservesPitch = true;
    rate.value = value;
  };

  WM.on("clip", ({ clip: fresh }) => {
    const changed = fresh?.id !== clip?.id;
    clip = fresh;
    if (changed) {
      audio.pause();
      stretch = null;
      heard = 0;
      if (clip) audio.src = clip.url;
      else audio.removeAttribute("src");
      seek.max = clip?.seconds ?? 1;
      requestAnimationFrame(draw);
    }
    name.textContent = clip ? pick(clip.name) : t("clip.none");
    play.disabled = !clip;
    drawWords();
  });
  WM.on(["result", "blind"], drawWords);
  document.addEventListener("wm-theme", draw);
  canvas.addEventListener("click", (event) => {
    if (!clip) return;
    stretch = null;
    audio.currentTime = (event.offsetX / canvas.clientWidth) * clip.seconds;
    begin();
  });
  new ResizeObserver(() => requestAnimationFrame(draw)).observe(timeline);
  WM.key("Space", () => toggle());
  WM.key("KeyJ", () => {
    audio.currentTime = Math.max(0, audio.currentTime - 2);
    tick();
  });
  WM.key("KeyL", () => {
    audio.currentTime = Math.min(clip?.seconds ?? 0, audio.currentTime + 2);
    tick();
  });
  const shift = (step) =>
    setRate(RATES[Math.max(0, Math.min(RATES.length - 1, RATES.indexOf(Number(rate.value)) + step))]);
  WM.key("BracketLeft", () => shift(-1));
  WM.key("BracketRight", () => shift(1));
  WM.player = {
    toggle,
    playWord,
    playFrom,
    get time() {
      return audio.currentTime;
    },
    get heard() {
      return heard;
    },
    get paused() {
      return audio.paused;
    },
    pause: () => audio.pause(),
    get rate() {
      return audio.playbackRate;
    },
  };
  fill(root, card);
});
