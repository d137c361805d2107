// What every island shares: texts, DOM building, the state that the server publishes, formatting, keys.
// Nothing here or in the islands ever assigns innerHTML: whatever a person typed or a model wrote becomes a text node.
window.WM = (() => {
  "use strict";
  const islands = {}; // name → {mount}
  const mounted = {}; // name → element
  const listeners = {}; // slice → [callback]
  const slices = {}; // slice → latest value
  const versions = {}; // slice → version that the server gave it
  let server = null,
    upload = null,
    boot = null,
    lang = "ru",
    ready = [];
  let lost = false,
    pending = 0;

  // ---- texts -------------------------------------------------------------------------------------------------------
  const query = new URLSearchParams(location.search);
  const t = (key, facts = {}) => {
    const text = boot && boot.texts[lang][key];
    if (text === undefined) {
      console.error("no text for", key);
      return key;
    }
    return text.replace(/\{(\w+)\}/g, (whole, name) => (name in facts ? String(facts[name]) : whole));
  };
  const pick = (text) => (text == null ? "" : typeof text === "string" ? text : (text[lang] ?? text.en ?? ""));
  const decimal = (text) => (lang === "ru" ? text.replace(".", ",").replace("-", "−") : text.replace("-", "−"));
  const number = (value, digits = 2) => decimal(Number(value).toFixed(digits));
  const short = (value, digits = 2) => decimal(String(+Number(value).toFixed(digits)));
  const percent = (value, digits = 1) =>
    value == null ? "—" : number(value * 100, digits) + (lang === "ru" ? "\u00a0%" : "%");
  const seconds = (value) => {
    if (value == null) return "—";
    if (value < 1) return number(value, 2) + "\u00a0" + t("unit.s");
    if (value < 60) return number(value, 1) + "\u00a0" + t("unit.s");
    const whole = Math.round(value);
    return `${Math.floor(whole / 60)}\u00a0${t("unit.min")}\u00a0${whole % 60}\u00a0${t("unit.s")}`;
  };
  const plural = (count, key) => {
    const rule = new Intl.PluralRules(lang).select(count);
    const forms = t(key).split("|"); // ru: one|few|many, en: one|other
    const index = lang === "ru" ? { one: 0, few: 1, many: 2, other: 1 }[rule] : rule === "one" ? 0 : 1;
    return (forms[index] ?? forms[0]).replace("{n}", count);
  };

  // ---- DOM ---------------------------------------------------------------------------------------------------------
  const el = (tag, attributes = {}, ...children) => {
    const [name, ...classes] = tag.split(".");
    const node = document.createElement(name || "div");
    if (classes.length) node.className = classes.join(" ");
    for (const [key, value] of Object.entries(attributes)) {
      if (value == null || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key === "data") Object.assign(node.dataset, value);
      else if (key === "style") for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
      else if (key === "value" || key === "checked" || key === "disabled" || key === "hidden") node[key] = value;
      else node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.flat(3).filter((child) => child != null && child !== false));
    return node;
  };
  const svg = (tag, attributes = {}, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (value == null || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key, value);
    }
    node.append(...children.flat(3).filter((child) => child != null));
    return node;
  };
  const fill = (node, ...children) => {
    // Rebuilding under the focus would throw a keyboard user to the top of the page: the same control gets it back.
    const active = document.activeElement;
    const key = active && node.contains(active) ? active.getAttribute("data-focus") : null;
    node.replaceChildren(...children.flat(3).filter((child) => child != null && child !== false));
    if (key) node.querySelector(`[data-focus="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
    return node;
  };
  const ICONS = {
    play: "M7 4.5v15l13-7.5z",
    pause: "M6 4.5h4.2v15H6zM13.8 4.5H18v15h-4.2z",
    stop: "M6 6h12v12H6z",
    mic: "M12 3a3 3 0 0 0-3 3v6a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3.2",
    upload: "M12 16V4.5M7 9l5-5 5 5M4.5 16v3.5h15V16",
    undo: "M9 5 4.5 9.5 9 14M5 9.5h9a5.5 5.5 0 0 1 0 11h-3",
    redo: "M15 5l4.5 4.5L15 14M19 9.5h-9a5.5 5.5 0 0 0 0 11h3",
    swap: "M4 8.5h14M14 4.5l4 4-4 4M20 15.5H6M10 11.5l-4 4 4 4",
    reset: "M5 5v5h5M5.6 10a7.5 7.5 0 1 1-1.1 4.2",
    copy: "M9 9h10v11H9zM5 15V4h10",
    paste: "M8 5h8v3H8zM6 6H5v14h14V6h-1",
    link: "M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7l-1 1M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7l1-1",
    star: "m12 3.5 2.6 5.4 5.9.8-4.3 4.1 1 5.9L12 16.9l-5.2 2.8 1-5.9L3.500 9.700l5.900-.8z",
    close: "M6 6l12 12M18 6 6 18",
    check: "m5 12.5 4.500 4.500L19 7",
    warn: "M12 4 2.800 20h18.400zM12 10v4.500M12 17.200v.3",
    sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2",
    moon: "M20 14.500A8.500 8.500 0 0 1 9.500 4 8.500 8.500 0 1 0 20 14.500z",
    sliders: "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.500v5M9 14.500v5",
    list: "M4 6h3M4 12h3M4 18h3M10 6h10M10 12h10M10 18h10",
    plus: "M12 5v14M5 12h14",
    trash: "M5 7h14M10 7V4.500h4V7M7 7l1 13h8l1-13",
    down: "m6 9 6 6 6-6",
    help: "M9 9a3 3 0 1 1 4.200 2.700c-.8.400-1.200 1-1.200 1.800v.5M12 17v.3",
  };
  const icon = (name) =>
    svg(
      "svg",
      { viewBox: "0 0 24 24", class: "wm-icon", "aria-hidden": "true", "data-icon": name },
      svg("path", { d: ICONS[name] }),
    );
  const mark = (role) =>
    el(`span.wm-mark.wm-${role}`, { "aria-hidden": "true" }, { merged: "M", base: "0" }[role] ?? role.toUpperCase());
  const button = (label, onclick, { icon: name, kind = "plain", title, focus, ...rest } = {}) =>
    el(
      `button.wm-button.wm-${kind}`,
      {
        type: "button",
        onclick,
        title,
        "aria-label": label ? null : title,
        "data-focus": focus ?? (label || title),
        ...rest,
      },
      name && icon(name),
      label && el("span", {}, label),
    );

  // What cannot be brought back is asked about, in place: the first press arms the button, the second one acts.
  const sure = (title, act, { icon: name = "trash", focus } = {}) => {
    const ask = t("delete.sure");
    const node = button(
      "",
      () => {
        if (node.dataset.armed) {
          act();
          return;
        }
        node.dataset.armed = "true";
        node.setAttribute("aria-label", `${title}: ${ask}`);
        node.replaceChildren(el("span", {}, ask));
      },
      { icon: name, kind: "ghost", title, focus },
    );
    node.addEventListener("blur", () => {
      delete node.dataset.armed;
      node.setAttribute("aria-label", title);
      node.replaceChildren(icon(name));
    });
    return node;
  };

  // ---- state -------------------------------------------------------------------------------------------------------
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
    const called = new Set(),
      taken = [];
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
      const error = { code: "OFFLINE", sentence: t("error.lost"), remedy: t("error.lost.remedy") };
      if (!quiet) toast(error);
      throw Object.assign(new Error(error.code), { coded: error });
    }
    if (answer.slices) accept(answer.slices);
    if (answer.error) {
      if (!quiet) toast(answer.error);
      throw Object.assign(new Error(answer.error.code), { coded: answer.error });
    }
    return answer.result;
  };
  // A recipe as text, with its models where it names them and they are to be had here.
  const take = async (text) => {
    const told = await call("mixer.paste", { text });
    if (told.missing.length) toast({ sentence: t("recipe.missing", { names: told.missing.join(", ") }) }, "note");
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
        if (!refused) toast(answer.error);
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

  const download = (name, text, type) => {
    const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  // ---- telling people ----------------------------------------------------------------------------------------------
  const announce = (text) => {
    const region = document.getElementById("wm-announce");
    if (region) {
      region.textContent = "";
      setTimeout(() => {
        region.textContent = text;
      }, 30);
    }
  };
  const toast = (message, kind = "error") => {
    const area = document.getElementById("wm-toasts");
    if (!area) return;
    const box = typeof message === "string" ? { sentence: message } : message;
    const node = el(
      `div.wm-toast.wm-toast-${kind}`,
      { role: kind === "error" ? "alert" : "status" },
      icon(kind === "good" ? "check" : "warn"),
      el(
        "div",
        {},
        el("p", {}, pick(box.sentence)),
        box.remedy && el("p.wm-quiet", {}, pick(box.remedy)),
        box.id && el("p.wm-code", {}, `${box.code} · ${box.id}`),
      ),
      button("", () => node.remove(), { icon: "close", kind: "ghost", title: t("close") }),
    );
    area.append(node);
    // In the top layer, and last there: an open dialog or the phone's sheet must not hide what went wrong in it.
    if (area.matches(":popover-open")) area.hidePopover();
    area.showPopover();
    while (area.children.length > 3) area.firstChild.remove();
    setTimeout(() => node.remove(), kind === "good" ? 4000 : 15000);
  };

  // ---- keys: by physical place, so that a Russian layout works; never while somebody types -----------------------------
  const keys = {};
  const key = (code, action) => {
    keys[code] = action;
  };
  const typing = (target) =>
    target.closest?.(
      "input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]",
    );
  document.addEventListener("keydown", (event) => {
    if (
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      typing(event.target) ||
      document.querySelector("dialog[open]")
    )
      return;
    if (event.code === "Space" && event.target.closest?.("button, a, summary, [role=tab], input")) return;
    const name = event.code === "Slash" && event.shiftKey ? "Help" : event.code;
    if (keys[name] && !(event.shiftKey && name !== "Help") && keys[name](event) !== false) event.preventDefault();
  });

  // ---- islands -----------------------------------------------------------------------------------------------------
  const island = (name, mount) => {
    islands[name] = mount;
  };
  // A link may carry a recipe; it is taken once, so that a reload does not undo what was changed since. Until the server
  // has answered it stays in the address, and a reload tries again.
  const fromLink = async () => {
    const text = query.get("recipe");
    if (!text) return;
    const fault = await take(text).then(
      () => null,
      (refused) => refused.coded,
    );
    if (fault?.code === "OFFLINE") return;
    query.delete("recipe");
    history.replaceState(null, "", `?${query}${location.hash}`);
  };
  const start = (name, element, props, serverFunctions, uploadFunction) => {
    const root = element.querySelector(".wm-island") ?? element;
    mounted[name] = root;
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
      document.title = t("title");
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
  const show = (tab) => {
    document.body.dataset.wmTab = tab;
    for (const callback of listeners["tab"] ?? []) callback({ ...slices, tab });
    document.dispatchEvent(new CustomEvent("wm-tab", { detail: tab }));
  };

  return {
    t,
    pick,
    download,
    number,
    short,
    percent,
    seconds,
    plural,
    el,
    svg,
    fill,
    icon,
    mark,
    button,
    sure,
    on,
    call,
    attempt,
    paste,
    voting,
    announce,
    toast,
    key,
    typing,
    island,
    start,
    show,
    storage,
    query,
    owner,
    slices,
    keys,
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
