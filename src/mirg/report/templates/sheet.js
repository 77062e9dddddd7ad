"use strict";
// Builds the cards of a contact sheet when they come near the window, and filters them. Texts become text nodes only.
(() => {
  const block = document.getElementById("store");
  const form = document.getElementById("filter");
  const list = document.getElementById("cards");
  const shown = document.getElementById("shown");
  const none = document.getElementById("none");
  if (!block || !form || !list || !shown || !none) return;
  const store = JSON.parse(block.textContent);
  const svgName = "http:" + "//www.w3.org/2000/svg";

  const make = (tag, kind, text) => {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const draw = (tag, attributes) => {
    const element = document.createElementNS(svgName, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
    return element;
  };
  const uri = (key) => {
    if (Object.hasOwn(store.uris, key)) return store.uris[key];
    const stored = document.getElementById(key);
    return stored ? stored.getAttribute("href") : "";
  };
  const lines = (title, items) => {
    const part = [make("h4", "", title), make("ul", "lines")];
    for (const item of items) part[1].append(make("li", "", item));
    return part;
  };

  const picture = (image) => {
    const svg = draw("svg", { viewBox: "0 0 " + image.w + " " + image.h, role: "img", "aria-label": image.said });
    const source = draw("image", { href: uri(image.k), width: image.w, height: image.h });
    if (image.crisp) source.setAttribute("class", "crisp");
    svg.append(source);
    for (const [kind, , x, y, width, height] of image.rects) {
      svg.append(draw("rect", { class: kind === "noted" ? "noted-case" : "case", x, y, width, height }));
    }
    for (const [kind, label, x, y, width, height] of image.rects) {
      const rect = draw("rect", { class: kind + " under", x, y, width, height });
      const title = draw("title", {});
      title.textContent = label || kind;
      rect.append(title);
      svg.append(rect);
    }
    return svg;
  };
  const figure = (image) => {
    const made = make("figure");
    const head = make("figcaption");
    head.append(make("b", "", image.tag), image.note ? " " + image.note : "");
    made.append(head, image.k ? picture(image) : make("div", "missing", image.problem));
    if (image.caption) made.append(make("p", "caption", image.caption));
    return made;
  };
  const meta = (facts) => {
    const box = make("details", "meta");
    const table = make("table", "facts");
    for (const [name, value] of facts) {
      const row = make("tr");
      const head = make("th", "", name);
      head.scope = "row";
      row.append(head, make("td", "", value));
      table.append(row);
    }
    box.append(make("summary", "", "meta"), table);
    return box;
  };
  const build = (card) => {
    const head = make("header");
    head.append(make("span", "task", card.task));
    for (const tag of card.tags) head.append(make("span", "tag", tag));
    head.append(make("span", "id mono", card.id));
    const question = make("p", "question", card.question);
    question.dir = "auto";
    const views = make("div", card.images.length <= 4 ? "views few" : "views");
    for (const image of card.images) views.append(figure(image));
    const detail = make("div", "detail");
    const left = make("div");
    left.append(...lines("Targets", card.targets));
    const right = make("div");
    if (card.written) {
      const chain = make("pre", "", card.chain);
      chain.dir = "auto";
      right.append(make("h4", "", "Reasoning"), chain, ...lines("Answer", card.answer), make("p", "written", card.written));
    }
    left.append(meta(card.facts));
    detail.append(left, right);
    return [head, question, views, detail];
  };

  const cards = store.cards.map((card) => {
    const words = [card.id, card.task, card.question, card.chain, ...card.tags, ...card.targets, ...card.answer];
    for (const image of card.images) words.push(image.caption, image.note);
    for (const [name, value] of card.facts) words.push(name, value);
    const place = make("article", "card blank");
    return { card, place, words: words.join("\n").toLowerCase(), built: null };
  });
  const byPlace = new Map(cards.map((entry) => [entry.place, entry]));
  const enter = (entry) => {
    if (entry.place.childElementCount) return;
    entry.built = entry.built || build(entry.card);
    entry.place.replaceChildren(...entry.built);
    entry.place.classList.remove("blank");
    entry.place.style.minHeight = "";
  };
  const leave = (entry) => {
    if (!entry.place.childElementCount || entry.place.contains(document.activeElement)) return;
    entry.place.style.minHeight = entry.place.offsetHeight + "px";
    entry.place.replaceChildren();
  };
  const near = new IntersectionObserver((changes) => {
    for (const change of changes) {
      const entry = byPlace.get(change.target);
      if (change.isIntersecting) enter(entry);
      else if (change.boundingClientRect.height) leave(entry);
    }
  }, { rootMargin: "1600px 0px" });

  const apply = () => {
    const wanted = new FormData(form);
    const words = String(wanted.get("text") || "").toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const { card, place, words: own } of cards) {
      const fits = (!wanted.get("task") || card.task === wanted.get("task"))
        && (!wanted.get("hidden") || card.hidden === (wanted.get("hidden") === "yes"))
        && words.every((word) => own.includes(word));
      place.hidden = !fits;
      count += fits ? 1 : 0;
    }
    list.classList.toggle("plain", !wanted.get("boxes"));
    list.classList.toggle("no-notes", !wanted.get("notes"));
    shown.textContent = count + " of " + cards.length + " samples";
    none.hidden = count > 0;
  };
  let timer = 0;
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(apply, 120);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("beforeprint", () => cards.filter((entry) => !entry.place.hidden).forEach(enter));

  list.replaceChildren(...cards.map((entry) => entry.place));
  form.hidden = false;
  const first = document.getElementById("without");
  if (first) first.remove();
  apply();
  for (const { place } of cards) near.observe(place);
})();
