// Keys: by physical place, so that a Russian layout works; never while somebody types.
(() => {
  "use strict";
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
    // The question mark is a sign, not a place: on a Russian layout it is another key.
    const asks = event.key === "?" || (event.code === "Slash" && event.shiftKey);
    const name = asks ? "Help" : event.code;
    if (keys[name] && !(event.shiftKey && name !== "Help") && keys[name](event) !== false) event.preventDefault();
  });

  Object.assign(WM, { key, keys, typing });
})();
