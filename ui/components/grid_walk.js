// Going through the words: from difference to difference, the one under the pointer, the one that sounds.
WM.parts.grid_walk = (root, holder, roles, shownResult) => {
  "use strict";
  const { t } = WM;
  let chosen = -1; // the slot of the difference that was gone to
  let lastWords = null; // the words that sounded last, as one text

  const next = () => {
    const result = shownResult();
    const order = (result?.slots ?? [])
      .map((slot, index) => [slot, index])
      .filter(([slot]) => !slot.same)
      .map(([, index]) => index);
    if (!order.length) return;
    chosen = order.find((index) => index > chosen) ?? order[0];
    for (const node of root.querySelectorAll(".wm-chosen")) node.classList.remove("wm-chosen");
    const nodes = [...root.querySelectorAll(`[data-slot="${chosen}"]`)];
    nodes.forEach((node) => node.classList.add("wm-chosen"));
    nodes[0]?.scrollIntoView({ block: "nearest" });
    const slot = result.slots[chosen];
    const place = roles
      .map((role) => slot[role] != null && result[role].words[slot[role]])
      .find((entry) => entry && entry.s != null);
    if (place) WM.player.playWord(place, false);
    const said = (role) => (slot[role] == null ? t("word.missing") : result[role].words[slot[role]].t);
    WM.announce(
      roles.map((role) => `${role === "merged" ? t("merged") : role.toUpperCase()}: ${said(role)}`).join("; "),
    );
  };
  WM.key("KeyN", next);
  holder.addEventListener("mouseover", (event) => {
    const slot = event.target.closest?.("[data-slot]")?.dataset.slot;
    for (const node of holder.querySelectorAll(".wm-hot")) node.classList.remove("wm-hot");
    if (slot != null) for (const node of holder.querySelectorAll(`[data-slot="${slot}"]`)) node.classList.add("wm-hot");
  });
  // One stop of Tab for a text, the word that was there last; the arrows, Home and End go on from it.
  const TEXTS = ".wm-text, .wm-lines";
  const wordOf = (event) => (event.target.matches?.("button.wm-word") ? event.target : null);
  holder.addEventListener("focusin", (event) => {
    const word = wordOf(event);
    for (const stop of word?.closest(TEXTS).querySelectorAll('.wm-word[tabindex="0"]') ?? []) stop.tabIndex = -1;
    if (word) word.tabIndex = 0;
  });
  holder.addEventListener("keydown", (event) => {
    const word = wordOf(event);
    const words = word && [
      ...word.closest(TEXTS).querySelectorAll(`button.wm-word[data-role="${word.dataset.role}"]`),
    ];
    const to = {
      ArrowRight: () => words[words.indexOf(word) + 1],
      ArrowLeft: () => words[words.indexOf(word) - 1],
      Home: () => words[0],
      End: () => words.at(-1),
    }[event.key];
    if (!word || !to) return;
    to()?.focus();
    event.preventDefault();
  });
  // A text that is longer than its column goes along with the sound, unless a hand has just scrolled it.
  const PATIENCE = 4000; // milliseconds
  let scrolled = -PATIENCE;
  for (const kind of ["wheel", "touchmove"])
    holder.addEventListener(kind, () => (scrolled = performance.now()), { passive: true });
  const follow = (node) => {
    const text = node.closest(".wm-text");
    if (!text || performance.now() - scrolled < PATIENCE) return;
    const [word, seen] = [node.getBoundingClientRect(), text.getBoundingClientRect()];
    if (word.top < seen.top || word.bottom > seen.bottom) text.scrollTop += word.top - seen.top - seen.height / 3;
  };
  document.addEventListener("wm-time", ({ detail: now }) => {
    if (WM.player?.paused) {
      if (lastWords) {
        for (const node of holder.querySelectorAll(".wm-now")) node.classList.remove("wm-now");
        lastWords = null;
      }
      return;
    }
    const result = shownResult();
    if (!result) return;
    const current = roles
      .map((role) => result[role]?.words.findIndex((entry) => entry.s != null && entry.s <= now && now < entry.e) ?? -1)
      .join();
    if (current === lastWords) return;
    lastWords = current;
    for (const node of holder.querySelectorAll(".wm-now")) node.classList.remove("wm-now");
    current.split(",").forEach((index, role) => {
      if (index === "-1") return;
      for (const node of holder.querySelectorAll(`[data-role="${roles[role]}"][data-index="${index}"]`)) {
        node.classList.add("wm-now");
        follow(node);
      }
    });
  });

  return next;
};
