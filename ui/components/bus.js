// What every island shares: the state that the server publishes, the calls that change it, the start of the islands.
//
// The page has all scripts in one: `bus.js`, then its parts `bus_*.js`, then each island with its parts. A part of the
// bus adds its functions to `WM`. A part of an island is a function `WM.parts.<file name>` that takes what it needs and
// returns what the island uses; the island calls it when it is mounted, and by then every script has been read.
// State has one owner, the island or one part: the others get functions, never a copy.
window.WM = (() => {
  "use strict";
  const islands = {}; // name → mount
  const parts = {}; // name of a part → the function that makes it
  const listeners = {}; // slice → [callback]
  const slices = {}; // slice → latest value
  const versions = {}; // slice → version that the server gave it
  let server = null;
  let upload = null;
  let boot = null;
  let lang = "ru";
  let ready = [];
  let lost = false;
  let pending = 0;
  const query = new URLSearchParams(location.search);

  // ---- state --------------------------------------------------------------------------------------------------------
  const storage = (() => {
    const memory = {};
    const attempt = (action, fallback) => {
      try {
        return action();
      } catch {
        return fallback();
      }
    };
    return {
      get: (key) =>
        attempt(
          () => localStorage.getItem("whisper-merge." + key),
          () => memory[key] ?? null,
        ),
      set: (key, value) =>
        attempt(
          () => localStorage.setItem("whisper-merge." + key, value),
          () => {
            memory[key] = value;
          },
        ),
    };
  })();
  const owner = (() => {
    let id = storage.get("owner");
    if (!id || !/^[\w-]{22,64}$/.test(id)) {
      id = Array.from(crypto.getRandomValues(new Uint8Array(24)), (byte) => byte.toString(16).padStart(2, "0")).join(
        "",
      );
      storage.set("owner", id);
    }
    return id;
  })();
  const on = (names, callback) => {
    const list = [names].flat();
    for (const name of list) (listeners[name] ??= []).push(callback);
    if (list.some((name) => name in slices)) callback(slices);
  };
  const accept = (fresh) => {
    const called = new Set();
    const taken = [];
    for (const [name, { version, value }] of Object.entries(fresh)) {
      if (versions[name] !== undefined && version <= versions[name]) continue; // an answer that was overtaken
      versions[name] = version;
      slices[name] = value;
      taken.push(name);
    }
    for (const name of taken) for (const callback of listeners[name] ?? []) called.add(callback);
    for (const callback of called) {
      try {
        callback(slices);
      } catch (fault) {
        console.error("island failed", fault);
      }
    }
  };
  const call = async (action, payload = {}, { quiet = false } = {}) => {
    pending += 1;
    const answer = await server.act({ owner, action, payload, known: versions }).finally(() => {
      pending -= 1;
    });
    if (!answer) {
      const error = { code: "OFFLINE", sentence: WM.t("error.lost"), remedy: WM.t("error.lost.remedy") };
      if (!quiet) WM.toast(error);
      throw Object.assign(new Error(error.code), { coded: error });
    }
    if (answer.slices) accept(answer.slices);
    if (answer.error) {
      if (!quiet) WM.toast(answer.error);
      throw Object.assign(new Error(answer.error.code), { coded: answer.error });
    }
    return answer.result;
  };
  // A recipe as text, with its models where it names them and they are to be had here.
  const take = async (text) => {
    const told = await call("mixer.paste", { text });
    if (told.missing.length) WM.toast({ sentence: WM.t("recipe.missing", { names: told.missing.join(", ") }) }, "note");
    return told;
  };
  const paste = (text) => take(text).catch(() => null);
  const attempt = (action, payload, options) => call(action, payload, options).catch(() => null);
  const watch = async () => {
    let refused = false;
    for (;;) {
      const answer = await Promise.race([
        server.watch({ owner, known: versions }),
        new Promise((resolve) => setTimeout(resolve, 40000)),
      ]).catch(() => null);
      if (answer && lost) {
        lost = false;
        document.body.classList.remove("wm-lost");
      }
      if (answer?.error) {
        // refused, not lost: said once, and asked again when it may be
        if (!refused) WM.toast(answer.error);
        refused = true;
        await new Promise((resolve) => setTimeout(resolve, 1000 * (answer.retry_after ?? 5)));
        continue;
      }
      refused = false;
      if (answer) {
        accept(answer.slices);
        continue;
      }
      lost = true;
      document.body.classList.add("wm-lost");
      await new Promise((resolve) => setTimeout(resolve, 1500));
    }
  };

  // While somebody votes blindly on this recording, nothing on the page tells them who wrote what.
  const voting = () => Boolean(slices.blind?.texts && !slices.blind.vote && slices.blind.clip === slices.clip?.id);

  // ---- islands ------------------------------------------------------------------------------------------------------
  const island = (name, mount) => {
    islands[name] = mount;
  };
  // A link may carry a recipe; it is taken once, so that a reload does not undo what was changed since. Until the
  // server has answered it stays in the address, and a reload tries again.
  const fromLink = async () => {
    const text = query.get("recipe");
    if (!text) return;
    const fault = await take(text).then(
      () => null,
      (refused) => refused.coded,
    );
    if (fault?.code === "OFFLINE") return;
    query.delete("recipe");
    history.replaceState(history.state, "", `?${query}${location.hash}`);
  };
  const start = (name, element, props, serverFunctions, uploadFunction) => {
    const root = element.querySelector(".wm-island") ?? element;
    if (name === "shell") {
      boot = props.value;
      server = serverFunctions;
      upload = uploadFunction;
      lang = boot.texts[query.get("lang")]
        ? query.get("lang")
        : boot.texts[storage.get("lang")]
          ? storage.get("lang")
          : boot.lang;
      document.documentElement.lang = lang;
      document.title = WM.t("title");
      const pending = ready;
      ready = null;
      islands.shell(root);
      for (const begin of pending) begin();
      accept(boot.slices ?? {});
      fromLink();
      watch();
    } else if (ready) ready.push(() => islands[name](root));
    else islands[name](root);
  };
  // A screen is a step that the browser's Back takes back. Walking through the tabs with the arrows is none (`step`).
  const remember = (how, state) => {
    try {
      history[how](state, "");
    } catch {
      /* browsers refuse floods of steps; the screens change all the same */
    }
  };
  const show = (tab, { step = true } = {}) => {
    const before = document.body.dataset.wmTab;
    document.body.dataset.wmTab = tab;
    for (const callback of listeners["tab"] ?? []) callback({ ...slices, tab });
    document.dispatchEvent(new CustomEvent("wm-tab", { detail: tab }));
    if (before !== tab && history.state?.tab !== tab) remember(step && before ? "pushState" : "replaceState", { tab });
  };

  window.addEventListener("popstate", ({ state }) => {
    for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close(); // it belonged to another step
    if (state?.tab && state.tab !== document.body.dataset.wmTab) show(state.tab, { step: false });
  });

  return {
    parts,
    on,
    call,
    attempt,
    paste,
    voting,
    island,
    start,
    show,
    remember,
    storage,
    query,
    owner,
    slices,
    get lang() {
      return lang;
    },
    get pending() {
      return pending;
    },
    get boot() {
      return boot;
    },
    upload: (file) => upload(file),
  };
})();
