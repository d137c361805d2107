// Telling people: an announcement for a screen reader, a message in the corner, a file to take away.
(() => {
  "use strict";
  const { el, icon, button } = WM;
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
        el("p", {}, WM.pick(box.sentence)),
        box.remedy && el("p.wm-quiet", {}, WM.pick(box.remedy)),
        box.id && el("p.wm-code", {}, `${box.code} · ${box.id}`),
      ),
      button("", () => node.remove(), { icon: "close", kind: "ghost", title: WM.t("close") }),
    );
    area.append(node);
    // In the top layer, and last there: an open dialog or the phone's sheet must not hide what went wrong in it.
    if (area.matches(":popover-open")) area.hidePopover();
    area.showPopover();
    while (area.children.length > 3) area.firstChild.remove();
    setTimeout(() => node.remove(), kind === "good" ? 4000 : 15000);
  };

  const download = (name, text, type) => {
    const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  Object.assign(WM, { announce, toast, download });
})();
