// What to compare: the samples or an uploaded set, the models and the recipes; from here an evaluation is begun.
WM.parts.evaluation_form = (offer, busy) => {
  "use strict";
  const { t, el, button, fill, pick, mark } = WM;
  let source = "samples";
  let archive = null; // { name, file, path }: the server keeps what was uploaded for one evaluation, the page the file
  let uploading = false;
  const chosen = { a: true, b: true, base: true, recipes: new Set() };
  const card = el("section.wm-card.wm-stack", { "aria-label": t("evaluation.setup") });

  const file = el("input", {
    type: "file",
    accept: ".zip,application/zip",
    hidden: true,
    "aria-label": t("evaluation.upload"),
    onchange: () => {
      if (file.files[0]) take(file.files[0]);
      file.value = "";
    },
  });
  const take = async (one) => {
    const limit = offer().limits.mb;
    if (one.size > limit * 1e6) {
      WM.toast({ sentence: t("error.upload.size", { name: one.name, limit }), remedy: t("evaluation.upload.size") });
      return;
    }
    uploading = true;
    draw();
    try {
      const { path } = await WM.upload(one);
      archive = { name: one.name, file: one, path };
      source = "archive";
    } catch {
      WM.toast({ sentence: t("error.upload", { name: one.name }), remedy: t("error.upload.remedy") });
    }
    uploading = false;
    draw();
  };
  const radio = (value, label, detail) =>
    el(
      "label.wm-check",
      {},
      el("input", {
        type: "radio",
        name: "wm-evaluation-set",
        value,
        checked: source === value,
        "data-focus": `set-${value}`,
        onchange: () => {
          source = value;
          draw();
        },
      }),
      el("span", {}, label, detail && el("span.wm-quiet", {}, " · ", detail)),
    );
  const system = (key, label, letter) =>
    el(
      "label.wm-check",
      {},
      el("input", {
        type: "checkbox",
        checked: chosen[key],
        "data-focus": `system-${key}`,
        onchange: (event) => {
          chosen[key] = event.target.checked;
          draw();
        },
      }),
      mark(letter),
      el("span", {}, label),
    );
  const saved = (recipe) =>
    el(
      "label.wm-check",
      {},
      el("input", {
        type: "checkbox",
        checked: chosen.recipes.has(recipe.digest),
        "data-focus": `recipe-${recipe.digest}`,
        onchange: (event) => {
          if (event.target.checked) chosen.recipes.add(recipe.digest);
          else chosen.recipes.delete(recipe.digest);
          draw();
        },
      }),
      mark("merged"),
      el("span", {}, pick(recipe.sentence)),
    );
  const count = () =>
    1 +
    ["a", "b", "base"].filter((key) => chosen[key] && (key !== "base" || offer()?.base)).length +
    (offer()?.recipes ?? []).filter((one) => chosen.recipes.has(one.digest)).length;
  const estimate = () => {
    const rates = ["a", "merged", "b"]
      .map((side) => WM.slices.result?.[side]?.rtfx)
      .filter(Boolean)
      .sort((one, other) => one - other);
    if (!rates.length || source !== "samples" || !offer()) return "";
    return t("sweep.estimate", { time: WM.seconds((offer().samples.seconds * count()) / rates[rates.length >> 1]) });
  };
  const begin = async () => {
    if (source === "archive" && !archive.path) {
      await take(archive.file);
      if (!archive.path) return; // it could not be uploaded once more, which was said
    }
    const systems = ["base", "a", "b"].filter((key) => chosen[key]);
    const recipes = offer()
      .recipes.map((one) => one.digest)
      .filter((digest) => chosen.recipes.has(digest));
    const set = source === "archive" ? { name: archive.name, path: archive.path } : {};
    const told = { source, systems, recipes, lang: WM.lang, ...set };
    if (
      await WM.call("evaluation.start", told).then(
        () => true,
        () => false,
      )
    ) {
      if (source === "archive") archive.path = null; // the set stays chosen for the next recipe
      WM.announce(t("evaluation.started"));
    }
    draw();
  };
  const format = () =>
    el(
      "details",
      {},
      el("summary.wm-quiet", {}, t("evaluation.format")),
      el("p.wm-quiet", {}, t("evaluation.format.text", offer().limits)),
      el(
        "pre.wm-line",
        { tabindex: 0, "aria-label": t("evaluation.format") },
        JSON.stringify({
          audio_filepath: "clips/1.wav",
          text: t("evaluation.format.example"),
          speaker: "s1",
          style: "formal",
          noise: "clean",
        }),
      ),
    );
  const sets = () =>
    el(
      "fieldset.wm-choice",
      {},
      el("legend", {}, t("evaluation.set")),
      radio(
        "samples",
        t("samples"),
        t("evaluation.amount", { n: offer().samples.clips, time: WM.seconds(offer().samples.seconds) }),
      ),
      el(
        "div.wm-row",
        {},
        radio("archive", archive ? archive.name : t("evaluation.own")),
        button(uploading ? t("uploading") : t("evaluation.upload"), () => file.click(), {
          icon: "upload",
          kind: "small",
          disabled: uploading,
          focus: "evaluation-upload",
        }),
        file,
      ),
      format(),
    );
  const systems = () => {
    const { models, recipe } = WM.slices;
    const name = (role) => pick(models?.roles?.[role]?.name) || role.toUpperCase();
    return el(
      "fieldset.wm-choice",
      {},
      el("legend", {}, t("evaluation.systems")),
      el(
        "label.wm-check.wm-fixed",
        {},
        el("input", { type: "checkbox", checked: true, disabled: true }),
        mark("merged"),
        el("span", {}, t("evaluation.current"), recipe && el("span.wm-quiet", {}, " · ", pick(recipe.sentence))),
      ),
      system("a", name("a"), "a"),
      system("b", name("b"), "b"),
      offer().base && system("base", name("base"), "base"),
      offer().recipes.length > 0 &&
        el(
          "details",
          { open: chosen.recipes.size > 0 },
          el("summary.wm-quiet", {}, t("evaluation.saved", { n: offer().recipes.length })),
          el("div.wm-stack", { style: { gap: "2px" } }, offer().recipes.map(saved)),
        ),
    );
  };
  const draw = () => {
    const { models } = WM.slices;
    const ready =
      offer() &&
      models?.verdict?.state === "ok" &&
      !busy() &&
      !uploading &&
      (source === "archive" ? archive : offer().samples.clips > 0);
    fill(
      card,
      el("h2", {}, t("evaluation.title")),
      el("p.wm-quiet", {}, t("evaluation.hint")),
      offer() && [
        sets(),
        systems(),
        el(
          "div.wm-row",
          {},
          button(t("evaluation.start"), begin, { kind: "primary", disabled: !ready, focus: "evaluate" }),
          el("span.wm-quiet", {}, busy() ? t("evaluation.busy") : estimate()),
        ),
      ],
    );
  };
  WM.dropZone(card, ([first]) => {
    if (first) take(first);
  });

  return { card, draw };
};
