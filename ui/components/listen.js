// Where the sound comes from: sample clips, a file, the microphone, and the shelf of one's own clips.
WM.island("listen", (root) => {
  "use strict";
  const { t, el, button, fill, pick } = WM;
  let recorder = null;
  let asking = false;
  let chunks = [];
  let began = 0;
  let timer = null;
  let meter = null;
  const card = el("section.wm-card.wm-source", { "aria-label": t("source") });
  const file = el("input", {
    type: "file",
    accept: "audio/*,video/webm,video/mp4,.wav,.flac,.ogg,.opus,.mp3,.m4a,.webm",
    hidden: true,
    multiple: true,
    "aria-label": t("upload"),
    onchange: () => {
      for (const one of file.files) send(one);
      file.value = "";
    },
  });

  const send = async (one, recorded = null) => {
    const limit = WM.boot.limits.upload_mb;
    if (one.size > limit * 1e6) {
      WM.toast({
        code: "AUDIO_TOO_LONG",
        sentence: t("error.upload.size", { name: one.name, limit }),
        remedy: t("error.upload.size.remedy"),
      });
      return;
    }
    uploading += 1;
    draw();
    try {
      const { path } = await WM.upload(one);
      await WM.call("clips.add", { path, name: one.name, ...(recorded ? { recorded } : {}) });
      WM.step("sample");
    } catch (fault) {
      if (!fault.coded) WM.toast({ sentence: t("error.upload", { name: one.name }), remedy: t("error.upload.remedy") });
    }
    uploading -= 1;
    draw();
  };
  let uploading = 0;
  let drawn = null;
  let inView = null;
  let open = false;

  // ---- microphone ---------------------------------------------------------------------------------------------------
  const record = async () => {
    if (recorder) {
      recorder.stop();
      return;
    }
    if (asking) return;
    if (!navigator.mediaDevices?.getUserMedia) {
      WM.toast({ sentence: t("mic.insecure"), remedy: t("mic.insecure.remedy") });
      return;
    }
    let stream;
    asking = true;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        audio: { echoCancellation: false, noiseSuppression: false, channelCount: 1 },
      });
    } catch (fault) {
      WM.toast({
        sentence: t(fault.name === "NotFoundError" ? "mic.none" : "mic.denied"),
        remedy: t("mic.denied.remedy"),
      });
      return;
    } finally {
      asking = false;
    }
    WM.player.pause();
    const kind = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4"].find((one) =>
      MediaRecorder.isTypeSupported(one),
    );
    recorder = new MediaRecorder(stream, { ...(kind ? { mimeType: kind } : {}), audioBitsPerSecond: 128000 });
    chunks = [];
    recorder.ondataavailable = (event) => chunks.push(event.data);
    recorder.onstop = () => {
      clearInterval(timer);
      meter?.close();
      meter = null;
      for (const track of stream.getTracks()) track.stop();
      const type = recorder.mimeType.split(";")[0];
      const suffix = { "audio/webm": "webm", "audio/ogg": "ogg", "audio/mp4": "m4a" }[type] ?? "webm";
      recorder = null;
      const stamp = new Date().toTimeString().slice(0, 8);
      send(new File(chunks, `${t("mic.name")} ${stamp}.${suffix}`, { type }), stamp);
      draw();
    };
    recorder.start();
    began = performance.now();
    try {
      meter = new AudioContext();
      const analyser = meter.createAnalyser();
      analyser.fftSize = 1024;
      meter.createMediaStreamSource(stream).connect(analyser);
      recorder.level = () => {
        const data = new Float32Array(1024);
        analyser.getFloatTimeDomainData(data);
        return Math.min(1, Math.max(...data.map(Math.abs)) * 1.6);
      };
    } catch {
      recorder.level = () => 0;
    }
    timer = setInterval(() => {
      const seconds = (performance.now() - began) / 1000;
      clock.textContent = WM.seconds(seconds);
      level.style.width = `${(recorder?.level() ?? 0) * 100}%`;
      if (seconds >= WM.boot.limits.record_seconds) recorder?.stop();
    }, 120);
    draw();
    root.querySelector('[data-focus="record"]')?.focus();
  };
  const clock = el("span.wm-figures");
  const level = el("span");

  const chip = (clip, tabindex = 0) =>
    el(
      "button.wm-clip",
      {
        type: "button",
        "aria-pressed": String(WM.slices.clip?.id === clip.id),
        title: [pick(clip.name), pick(clip.tag)].filter(Boolean).join(" · "),
        "data-focus": `clip-${clip.id}`,
        tabindex,
        onclick: () => {
          open = false;
          WM.attempt("clips.choose", { id: clip.id });
          WM.step("sample");
          draw();
        },
      },
      el("span", {}, pick(clip.name)),
      el("span.wm-quiet", {}, [state(clip), WM.seconds(clip.seconds), pick(clip.tag)].filter(Boolean).join(" · ")),
    );
  // By the recipe in force, by an older one, or not yet.
  const fresh = (clip) => WM.slices.heard?.[clip.id]?.key === WM.slices.recipe?.key;
  const state = (clip) => {
    const heard = WM.slices.heard?.[clip.id];
    return !heard
      ? null
      : !fresh(clip)
        ? t("stale")
        : heard.wer == null
          ? "✓"
          : `✓ ${t("wer")} ${WM.percent(heard.wer, 0)}`;
  };
  // The samples are one stop of the Tab key; arrows walk among them.
  const step = (event) => {
    const chips = [...event.currentTarget.children];
    const at = chips.indexOf(document.activeElement);
    const next = {
      ArrowRight: at + 1,
      ArrowDown: at + 1,
      ArrowLeft: at - 1,
      ArrowUp: at - 1,
      Home: 0,
      End: chips.length - 1,
    }[event.key];
    if (next === undefined || at < 0) return;
    event.preventDefault();
    const chosen = chips[Math.max(0, Math.min(chips.length - 1, next))];
    for (const one of chips) one.tabIndex = one === chosen ? 0 : -1;
    chosen.focus();
  };
  const busy = () => WM.slices.job?.kind === "shelf" && ["queued", "running"].includes(WM.slices.job.state);
  const sources = (all) =>
    el(
      "div.wm-sources",
      {},
      button(t(recorder ? "mic.stop" : "mic.start"), record, {
        icon: recorder ? null : "mic",
        focus: "record",
        kind: recorder ? "recording" : "plain",
      }),
      recorder
        ? el("span.wm-row", {}, clock, el("span.wm-level", { "aria-hidden": "true" }, level))
        : button(uploading ? t("uploading") : t("upload"), () => file.click(), {
            icon: "upload",
            disabled: uploading > 0,
            focus: "upload",
          }),
      file,
      !recorder &&
        all.length > 1 &&
        button(t("shelf.all"), () => WM.attempt("listen.all"), {
          icon: "list",
          title: t("shelf.all.help"),
          disabled: busy() || all.every(fresh),
          focus: "hear-all",
        }),
    );
  const samples = (clips, first) =>
    el(
      "div.wm-samples",
      {},
      el(
        "div.wm-shelf",
        { role: "toolbar", "aria-label": t("samples"), data: { open: String(open) }, onkeydown: step },
        clips.samples.map((clip, index) => chip(clip, index === first ? 0 : -1)),
      ),
      button(
        open ? t("samples.fold") : t("samples.all", { n: clips.samples.length }),
        () => {
          open = !open;
          draw();
        },
        { kind: "small", "aria-expanded": String(open), focus: "all-samples" },
      ),
    );
  const ownClips = (clips) =>
    el(
      "div.wm-shelf",
      { role: "group", "aria-label": t("shelf") },
      el("span.wm-quiet", {}, t("shelf") + ":"),
      clips.shelf.map((clip) =>
        el(
          "span.wm-clip-own",
          {},
          chip(clip),
          WM.sure(t("shelf.remove", { name: pick(clip.name) }), () => WM.attempt("clips.forget", { id: clip.id }), {
            icon: "close",
            focus: `forget-${clip.id}`,
          }),
        ),
      ),
    );
  // The chosen one is in sight, also when another screen has chosen it.
  const bringIntoView = () => {
    if (WM.slices.clip?.id === inView) return;
    inView = WM.slices.clip?.id;
    const node = root.querySelector('.wm-clip[aria-pressed="true"]');
    if (!node) return;
    const shelf = node.closest(".wm-shelf");
    const box = node.getBoundingClientRect();
    const frame = shelf.getBoundingClientRect();
    if (box.left < frame.left || box.right > frame.right) shelf.scrollLeft += box.left - frame.left - 40;
  };
  const draw = () => {
    const clips = WM.slices.clips ?? { samples: [], shelf: [] };
    const all = [...clips.shelf, ...clips.samples];
    const first = Math.max(
      0,
      clips.samples.findIndex((clip) => clip.id === WM.slices.clip?.id),
    );
    const scroll = [...root.querySelectorAll(".wm-shelf")].map((node) => node.scrollLeft);
    fill(
      card,
      el(
        "div.wm-take",
        {},
        el("h2.wm-sr", {}, t("source.title")),
        sources(all),
        clips.samples.length ? samples(clips, first) : el("p.wm-quiet", {}, t("samples.none")),
      ),
      clips.shelf.length > 0 && ownClips(clips),
      clips.shelf.length > 0 && el("p.wm-quiet.wm-privacy", {}, WM.plural(WM.boot.limits.keep_days, "shelf.privacy")),
    );
    root.querySelectorAll(".wm-shelf").forEach((node, index) => {
      node.scrollLeft = scroll[index] ?? 0;
    });
    bringIntoView();
  };
  WM.dropZone(card, (files) => {
    for (const one of files) send(one);
  });
  WM.key("KeyR", () => {
    if (document.body.dataset.wmTab === "listen") record();
  });
  WM.on(["clips", "clip", "heard", "recipe", "job"], () => {
    const now = JSON.stringify([WM.slices.clips, WM.slices.clip?.id, WM.slices.heard, WM.slices.recipe?.key, busy()]);
    if (now !== drawn) {
      drawn = now;
      draw();
    }
  });
  fill(root, card);
  draw();
});
