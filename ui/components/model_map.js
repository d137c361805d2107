// Where A and B differ: layers × parts as a heat map that also says its numbers; a curve over the layers from it.
WM.island("model_map", (root) => {
  "use strict";
  const { t, el, button, fill, pick } = WM;
  const card = el("section.wm-card.wm-stack", { "aria-label": t("tab.map") });
  const said = el("p.wm-note.wm-said-cell", { role: "status" }, t("map.hover"));
  const degrees = (angle) => WM.number(((angle ?? 0) * 180) / Math.PI, 2) + "°";
  const words = (stack, block, part, cell) =>
    [
      t("map.cell", {
        stack: t("map." + stack),
        block: block + 1,
        part: pick(part),
        distance: WM.percent(cell.distance, 1),
        angle: degrees(cell.angle),
      }),
      cell.sign_conflicts != null &&
        t("map.base", {
          a: WM.percent(cell.distance_a, 1),
          b: WM.percent(cell.distance_b, 1),
          conflicts: WM.percent(cell.sign_conflicts, 0),
        }),
    ]
      .filter(Boolean)
      .join(" ");
  const heat = (stack, told) => {
    const map = told.heat_maps[stack];
    const top = Math.max(...map.cells.flat().map((cell) => cell?.distance ?? 0), 1e-9);
    return el(
      "div.wm-stack",
      {},
      el("h3", {}, t("map." + stack)),
      el(
        "div.wm-scroll",
        {},
        el(
          "table.wm-heat",
          {},
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              el("th", { scope: "col" }, t("map.layer")),
              map.parts.map((part) => el("th", { scope: "col" }, pick(told.parts[part]))),
            ),
          ),
          el(
            "tbody",
            {},
            map.blocks.map((block, row) =>
              el(
                "tr",
                {},
                el("th", { scope: "row" }, block + 1),
                map.parts.map((part, column) => {
                  const cell = map.cells[row][column];
                  if (!cell) return el("td");
                  const text = words(stack, block, told.parts[part], cell);
                  const say = () => {
                    said.textContent = text;
                  };
                  return el(
                    "td",
                    {},
                    el(
                      "button",
                      {
                        type: "button",
                        "aria-label": text,
                        style: { "--heat": String((cell.distance ?? 0) / top) },
                        onmouseenter: say,
                        onfocus: say,
                        onclick: say,
                      },
                      WM.number((cell.distance ?? 0) * 100, 1),
                    ),
                  );
                }),
              ),
            ),
          ),
        ),
      ),
      el(
        "div.wm-row",
        {},
        ["a", "b"].map((role) =>
          button(t("map.curve", { role: role.toUpperCase() }), () => curve(stack, map, role), {
            kind: "small",
            focus: `curve-${stack}-${role}`,
          }),
        ),
      ),
    );
  };
  // Five anchors over the depth: the more a layer differs, the closer to the chosen model; the evenest layer stays
  // half and half.
  const curve = (stack, map, role) => {
    const mean = map.cells.map((row) => {
      const known = row.filter(Boolean).map((cell) => cell.distance ?? 0);
      return known.reduce((sum, x) => sum + x, 0) / Math.max(1, known.length);
    });
    const low = Math.min(...mean);
    const span = Math.max(...mean) - low || 1;
    const anchors = [0, 1, 2, 3, 4].map((index) => {
      const share = (mean[Math.round((index * (mean.length - 1)) / 4)] - low) / span;
      return Math.round((0.5 + (role === "a" ? 0.4 : -0.4) * share) * 100) / 100;
    });
    WM.paste(
      JSON.stringify({
        method: "direct",
        parameters: { direct_alpha: 0.5 },
        parts: { [stack]: { direct_alpha: anchors } },
      }),
    ).then((done) => {
      if (done) WM.toast(t("sweep.loaded"), "good");
    });
  };
  const furthest = (told) => Math.max(...Object.values(told.components).map((one) => one.distance ?? 0), 1e-9);
  const draw = () => {
    const map = WM.slices.map;
    const models = WM.slices.models?.roles;
    const busy = map && ["queued", "running"].includes(map.job.state);
    const current =
      map && models && ["a", "b", "base"].every((role) => (map.models[role] ?? null) === (models[role]?.ref ?? null));
    const told = current ? map.result : null;
    fill(
      card,
      el(
        "div.wm-row",
        {},
        el("h2.wm-grow", {}, t("map.title")),
        busy &&
          button(t("stop"), () => WM.attempt("job.cancel", { id: map.job.id }), {
            kind: "small",
            icon: "stop",
            focus: "stop-map",
          }),
        button(t(told ? "map.again" : "map.run"), () => WM.attempt("map.measure"), {
          kind: told ? "plain" : "primary",
          disabled: Boolean(busy) || WM.slices.models?.verdict?.state !== "ok",
          focus: "measure",
        }),
      ),
      el("p.wm-quiet", {}, t("map.hint")),
      busy && WM.progressBar(map.job),
      map?.job.error && el("p.wm-note.wm-bad", {}, pick(map.job.error.sentence), " ", pick(map.job.error.remedy)),
      told && [
        said,
        el("div.wm-maps", {}, heat("encoder", told), heat("decoder", told)),
        el("h3", {}, t("map.components")),
        el(
          "div.wm-shares",
          {},
          Object.values(told.components).map((one) => [
            el("span", {}, pick(one.label)),
            el(
              "div.wm-bar",
              {
                "aria-hidden": "true",
                style: {
                  "--share": `${Math.min(100, (100 * (one.distance ?? 0)) / furthest(told))}%`,
                },
              },
              el("span"),
            ),
            el("span.wm-figures", {}, WM.percent(one.distance, 1), " · ", degrees(one.angle)),
          ]),
        ),
      ],
      !told && !busy && el("div.wm-empty", {}, t("map.empty")),
    );
  };
  WM.on(["map", "models"], draw);
  fill(root, card);
  draw();
});
