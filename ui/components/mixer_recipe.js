// The recipe as text and as a link: to copy, to paste, to send.
WM.parts.mixer_recipe = (mixer, dialog) => {
  "use strict";
  const { t, el, button, fill } = WM;
  const plain = () => WM.slices.recipe?.json ?? mixer.recipe;
  const copy = async (text, said) => {
    try {
      await navigator.clipboard.writeText(text);
      WM.toast(t(said), "good");
    } catch {
      edit(text);
    }
  };
  const edit = (text) => {
    const area = el("textarea", { rows: 8, "aria-label": t("recipe.text"), spellcheck: "false", value: text });
    fill(
      dialog,
      el(
        "div.wm-row",
        {},
        el("h2.wm-grow", { id: "wm-pick-title" }, t("recipe.text")),
        button("", () => dialog.close(), { icon: "close", kind: "ghost", title: t("close") }),
      ),
      el("p.wm-quiet", {}, t("recipe.text.hint")),
      area,
      el(
        "div.wm-row",
        { style: { "margin-top": "10px" } },
        button(
          t("recipe.load"),
          async () => {
            if (await WM.paste(area.value)) dialog.close();
          },
          { kind: "primary" },
        ),
      ),
    );
    dialog.showModal();
    area.focus();
    area.select();
  };
  const link = () => {
    const url = new URL(location.href);
    url.hash = "";
    url.searchParams.set("recipe", JSON.stringify(plain()));
    copy(url.href, "recipe.link.copied");
  };
  const asText = () => JSON.stringify(plain(), null, 2);
  const tools = () => [
    button("", () => copy(asText(), "recipe.copied"), { icon: "copy", kind: "ghost", title: t("recipe.copy") }),
    button("", () => edit(asText()), { icon: "paste", kind: "ghost", title: t("recipe.paste") }),
    button("", link, { icon: "link", kind: "ghost", title: t("recipe.link") }),
  ];

  return tools;
};
