// The guide itself, searchable, its command lines one click from the mixer; the methods as pictures;
// microphone trouble.
WM.island("help", (root) => {
  "use strict";
  const { t, el, svg, button, fill } = WM;
  let told = null;
  let loading = false;
  const article = el("div.wm-article");
  const contents = el("div.wm-toc");
  const search = el("input", {
    type: "search",
    placeholder: t("help.search"),
    "aria-label": t("help.search"),
    oninput: () => draw(),
  });

  // ---- Markdown, as much of it as the guide uses --------------------------------------------------------------------
  const inline = (text, needle) => {
    const out = [];
    for (const part of text.split(/(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)]+\))/)) {
      if (part.startsWith("`")) out.push(el("code", {}, highlighted(part.slice(1, -1), needle)));
      else if (part.startsWith("**")) out.push(el("b", {}, inline(part.slice(2, -2), needle)));
      else if (part.startsWith("[")) out.push(part.slice(1, part.indexOf("]")));
      else out.push(...highlighted(part, needle));
    }
    return out;
  };
  const highlighted = (text, needle) => {
    if (!needle) return [text];
    const out = [];
    const low = text.toLowerCase();
    for (let at = 0; ;) {
      const found = low.indexOf(needle, at);
      if (found < 0) {
        out.push(text.slice(at));
        return out;
      }
      out.push(text.slice(at, found), el("mark", {}, text.slice(found, found + needle.length)));
      at = found + needle.length;
    }
  };
  const command = (line) => {
    const recipe = told.recipes[line.trim()] ?? told.recipes[line.trim().replace("./whisper_merge.sh ", "")];
    return el(
      "div.wm-command",
      {},
      el("code", {}, line.trim()),
      recipe &&
        button(
          t("help.try"),
          async () => {
            if (await WM.paste(JSON.stringify(recipe))) {
              WM.toast(t("sweep.loaded"), "good");
              WM.show("listen");
            }
          },
          { kind: "small" },
        ),
    );
  };
  const sections = () => {
    const list = [];
    let code = false;
    for (const line of told.text.split("\n")) {
      if (line.trim().startsWith("```")) code = !code;
      if (!code && /^#{2,4} /.test(line))
        list.push({ level: line.indexOf(" "), title: line.replace(/^#+ /, ""), lines: [] });
      else if (list.length) list.at(-1).lines.push(line);
    }
    return list.filter((section) => !/^(Содержание|Contents)$/.test(section.title));
  };
  const body = (lines, needle) => {
    const out = [];
    let code = false;
    let items = null;
    let kind = null;
    const close = () => {
      if (items) {
        out.push(el(kind, {}, items));
        items = null;
      }
    };
    for (const line of lines) {
      if (line.trim().startsWith("```")) {
        code = !code;
        continue;
      }
      if (code) {
        if (line.trim().startsWith("#")) out.push(el("p.wm-quiet", {}, line.trim().slice(1)));
        else if (line.trim()) {
          close();
          out.push(command(line));
        }
        continue;
      }
      const item = line.match(/^(\s*)(?:[-*]|(\d+)\.)\s+(.*)$/);
      if (item) {
        const wanted = item[2] && !item[1] ? "ol" : "ul";
        if (!items || (kind !== wanted && !item[1])) {
          close();
          items = [];
          kind = wanted;
          if (item[2] > 1) out.push("");
        }
        items.push(
          el(
            "li",
            {
              style: item[1] ? { "margin-inline-start": `${item[1].length * 6}px` } : {},
              value: item[2] ? Number(item[2]) : null,
            },
            inline(item[3], needle),
          ),
        );
      } else if (line.trim()) {
        close();
        out.push(el("p", {}, inline(line.trim(), needle)));
      }
    }
    close();
    return out;
  };

  // ---- the methods as pictures --------------------------------------------------------------------------------------
  const dot = (x, y, role, label) => [
    svg("circle", { cx: x, cy: y, r: 9, fill: `var(--wm-${role})` }),
    label && svg("text", { x, y: y - 15, "text-anchor": "middle" }, label),
  ];
  const bars = (heights, x, role) =>
    heights.map((height, index) =>
      svg("rect", { x: x + index * 17, y: 118 - height, width: 12, height, fill: `var(--wm-${role})`, rx: 2 }),
    );
  const pictures = () =>
    el(
      "div.wm-pictures",
      {},
      el(
        "figure",
        {},
        svg(
          "svg",
          { viewBox: "0 0 260 140", role: "img", "aria-label": t("help.direct") },
          svg("line", { x1: 40, y1: 90, x2: 220, y2: 60, stroke: "var(--wm-quiet)", "stroke-width": 3 }),
          dot(40, 90, "a", "A"),
          dot(220, 60, "b", "B"),
          dot(112, 78, "m", "M"),
        ),
        el("figcaption", {}, el("b", {}, "Direct. "), t("help.direct")),
      ),
      el(
        "figure",
        {},
        svg(
          "svg",
          { viewBox: "0 0 260 140", role: "img", "aria-label": t("help.slerp") },
          svg("path", {
            d: "M40 110A130 130 0 0 1 220 110",
            stroke: "var(--wm-quiet)",
            "stroke-width": 3,
            fill: "none",
          }),
          svg("line", {
            x1: 40,
            y1: 110,
            x2: 220,
            y2: 110,
            stroke: "var(--wm-line)",
            "stroke-width": 2,
            "stroke-dasharray": "5 5",
          }),
          dot(40, 110, "a", "A"),
          dot(220, 110, "b", "B"),
          dot(112, 77, "m", "M"),
        ),
        el("figcaption", {}, el("b", {}, "SLERP. "), t("help.slerp")),
      ),
      el(
        "figure",
        {},
        svg(
          "svg",
          { viewBox: "0 0 260 140", role: "img", "aria-label": t("help.ties") },
          bars([70, 30, 46, 90], 20, "a"),
          bars([20, 34, 44, 30], 96, "b"),
          bars([50, 32, 45, 66], 174, "m"),
          ["A", "B", "M"].map((letter, index) =>
            svg("text", { x: 50 + index * 77, y: 134, "text-anchor": "middle" }, letter),
          ),
        ),
        el("figcaption", {}, el("b", {}, "TIES. "), t("help.ties")),
      ),
    );

  const draw = () => {
    if (!told) {
      fill(article, el("p.wm-quiet", {}, t("help.loading")));
      return;
    }
    const needle = search.value.trim().toLowerCase();
    const found = sections().filter(
      (section) => !needle || (section.title + "\n" + section.lines.join("\n")).toLowerCase().includes(needle),
    );
    const anchors = [];
    const extra = (key) => {
      const heading = el("h2", { tabindex: -1 }, t(key));
      anchors.push([t(key), heading]);
      return heading;
    };
    const parts = [];
    if (!needle)
      parts.push(
        extra("help.methods"),
        pictures(),
        extra("help.demo"),
        el("p", {}, t("help.demo.text")),
        extra("help.mic"),
        el("p", {}, t("help.mic.text")),
        extra("help.marks"),
        el("p", {}, t("help.marks.text")),
      );
    for (const section of found) {
      const heading = el(`h${section.level}`, { tabindex: -1 }, inline(section.title, needle));
      if (section.level === 2 || needle) anchors.push([section.title, heading]); // what was found is the contents
      parts.push(heading, body(section.lines, needle));
    }
    fill(article, parts.length ? parts : el("div.wm-empty", {}, t("history.none")));
    fill(
      contents,
      anchors.map(([title, heading]) =>
        el(
          "button",
          {
            type: "button",
            onclick: () => {
              heading.scrollIntoView({ block: "center" });
              heading.focus({ preventScroll: true });
            },
          },
          title,
        ),
      ),
    );
  };
  const load = async () => {
    if (told || loading) return;
    loading = true;
    told = await WM.attempt("help.guide", { lang: WM.lang });
    loading = false;
    draw();
  };
  document.addEventListener("wm-tab", ({ detail }) => {
    if (detail === "help") load();
  });
  fill(
    root,
    el(
      "section.wm-card",
      { "aria-label": t("tab.help") },
      el("div.wm-help", {}, el("nav.wm-side-toc", { "aria-label": t("help.contents") }, search, contents), article),
    ),
  );
  draw();
  if (document.body.dataset.wmTab === "help") load();
});
