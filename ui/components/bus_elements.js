// Building the DOM: elements, icons, buttons. Nothing ever assigns innerHTML: whatever a person typed or a model wrote
// becomes a text node.
(() => {
  "use strict";
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
      if (key === "value") node.drawn = node.value;
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
  // Rebuilding under the focus would throw a keyboard user to the top of the page, and what is being typed away: the
  // same control gets the focus back, and a text that is not what had been drawn.
  const fill = (node, ...children) => {
    const active = document.activeElement;
    const key = active && node.contains(active) ? active.getAttribute("data-focus") : null;
    node.replaceChildren(...children.flat(3).filter((child) => child != null && child !== false));
    const again = key && node.querySelector(`[data-focus="${CSS.escape(key)}"]`);
    if (!again) return node;
    again.focus({ preventScroll: true });
    if (again.matches("input[type=text], textarea") && active.drawn !== undefined && active.value !== active.drawn) {
      again.value = active.value;
      again.setSelectionRange(active.selectionStart, active.selectionEnd);
    }
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
    const ask = WM.t("delete.sure");
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

  // A job's progress; while nothing is known of it the bar runs to and fro.
  const progressBar = ({ progress }) =>
    el(
      `div.wm-bar${progress == null ? ".wm-unknown" : ""}`,
      {
        role: "progressbar",
        "aria-label": WM.t("state.progress"),
        "aria-valuenow": progress == null ? null : Math.round(progress * 100),
        "aria-valuemin": 0,
        "aria-valuemax": 100,
        style: { "--share": `${(progress ?? 0) * 100}%` },
      },
      el("span"),
    );

  // Files that are let go over a node are given to `take`.
  const dropZone = (node, take) => {
    for (const kind of ["dragover", "dragenter"])
      node.addEventListener(kind, (event) => {
        event.preventDefault();
        node.classList.add("wm-drop");
      });
    for (const kind of ["dragleave", "drop"])
      node.addEventListener(kind, (event) => {
        event.preventDefault();
        node.classList.remove("wm-drop");
      });
    node.addEventListener("drop", (event) => take(event.dataTransfer.files));
  };

  Object.assign(WM, { el, svg, fill, icon, mark, button, sure, progressBar, dropZone });
})();
