"use strict";
// The script of every page: theme, filters, keys, links to samples, enlarged images. It makes no element out of a text.
// Without it every card is shown, and the controls stay hidden.
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  // The theme is remembered if the browser lets a page store something; this runs before anything is painted.
  const THEMES = ["auto", "light", "dark"];
  const remember = (theme) => {
    try {
      if (theme) localStorage.setItem("mirg-theme", theme);
      return localStorage.getItem("mirg-theme");
    } catch {
      return theme;
    }
  };
  let theme = THEMES.includes(remember()) ? remember() : "auto";
  root.dataset.theme = theme;

  // A page about a run in training is loaded again, unless an image is being looked at. A refresh by <meta> would only
  // scroll if the address names a sample.
  const seconds = Number(root.dataset.reload);
  const load = () => document.querySelector("dialog[open]") || location.reload();
  if (seconds) setInterval(load, 1000 * seconds);

  const start = () => {
    const byId = (id) => document.getElementById(id);
    const themeButton = byId("theme");
    const name = () => (themeButton.textContent = "theme: " + theme);
    themeButton.addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      root.dataset.theme = theme;
      remember(theme);
      name();
    });
    name();

    // On a phone a row of a table is a block, in which every cell names its column.
    for (const table of document.querySelectorAll("table.results")) {
      const titles = Array.from(table.querySelectorAll("thead th"), (cell) => cell.textContent.trim());
      for (const row of table.tBodies) {
        for (const cell of row.querySelectorAll("td")) cell.dataset.title = titles[cell.cellIndex] || "";
      }
    }

    const galleries = Array.from(document.querySelectorAll(".gallery"), gallery).filter(Boolean);
    if (!byId("zoom")) return; // nothing to look at closely
    const all = galleries.flatMap((one) => one.cards);
    let current = null;

    // The address is #SAMPLE?FIELD=VALUE…, so that sample and filters survive loading the page again.
    const place = () => {
      const [sample, filters] = location.hash.slice(1).split("?");
      let text = sample;
      try {
        text = decodeURIComponent(sample);
      } catch {} // not encoded: taken as it is
      return [text, new URLSearchParams(filters || "")];
    };
    const remind = (sample) => {
      const fields = new URLSearchParams(galleries.flatMap((one) => one.values()));
      const hash = "#" + sample + (String(fields) ? "?" + fields : "");
      history.replaceState(null, "", hash === "#" ? location.pathname + location.search : hash);
    };
    const choose = (card, scroll = true) => {
      if (current) current.classList.remove("current");
      current = card;
      card.classList.add("current");
      card.tabIndex = -1;
      card.focus({ preventScroll: true });
      if (scroll) card.scrollIntoView({ block: "start" });
      remind(card.id);
    };
    const follow = (scroll = true) => {
      const [sample] = place();
      const card = all.find((one) => one.id === sample) || all.find((one) => one.dataset.id === sample);
      if (!sample) return;
      if (!card) {
        const section = byId(sample);
        if (section && scroll) section.scrollIntoView();
        remind(sample);
        return;
      }
      if (card.hidden) galleries.find((one) => one.cards.includes(card)).clear();
      choose(card, scroll);
    };
    const move = (by) => {
      const shown = all.filter((card) => !card.hidden);
      if (!shown.length) return;
      const below = shown.findIndex((card) => card.getBoundingClientRect().bottom > 8);
      const at = shown.indexOf(current);
      const next = at >= 0 ? at + by : by > 0 || below < 1 ? Math.max(below, 0) : below - 1;
      choose(shown[Math.min(Math.max(next, 0), shown.length - 1)]);
    };

    function gallery(section) {
      const form = section.querySelector("form.filter");
      const list = section.querySelector(".cards");
      const status = section.querySelector(".shown");
      if (!form || !list || !status) return null;
      const cards = Array.from(list.children);
      const words = new Map(); // texts of the cards, collected when they are first searched
      const text = (card) => {
        if (!words.has(card)) words.set(card, card.textContent.toLowerCase());
        return words.get(card);
      };
      const fields = () => Array.from(new Set(Array.from(form.elements, (field) => field.name).filter(Boolean)));
      const isSwitch = (key) => form.elements[key].type === "checkbox";
      const apply = (said = "") => {
        const wanted = new FormData(form);
        const searched = String(wanted.get("text")).toLowerCase().split(/\s+/).filter(Boolean);
        const chosen = fields().filter((key) => key !== "text" && !isSwitch(key) && wanted.get(key));
        let count = 0;
        for (const card of cards) {
          const fits = chosen.every((key) => card.dataset[key] === wanted.get(key))
            && searched.every((word) => text(card).includes(word));
          if (card.hidden === fits) card.hidden = !fits;
          count += fits ? 1 : 0;
        }
        for (const key of fields().filter(isSwitch)) section.classList.toggle("no-" + key, !wanted.get(key));
        status.textContent = count + " of " + cards.length + " shown" + said;
      };
      const values = () => fields().flatMap((key) => {
        const value = isSwitch(key) ? (form.elements[key].checked ? "" : "off") : form.elements[key].value;
        return value ? [[section.id + "." + key, value]] : [];
      });
      const restore = (saved) => {
        for (const key of fields()) {
          const value = saved.get(section.id + "." + key);
          if (value === null) continue;
          if (isSwitch(key)) form.elements[key].checked = false;
          else form.elements[key].value = value;
        }
        apply();
      };
      const clear = () => {
        form.reset();
        apply(": the filter was cleared to show the sample of the link");
      };
      let frame = 0;
      form.addEventListener("input", () => {
        cancelAnimationFrame(frame);
        frame = requestAnimationFrame(() => {
          apply();
          remind(current && !current.hidden ? current.id : "");
        });
      });
      form.addEventListener("submit", (event) => event.preventDefault());
      form.hidden = false;
      if (window.requestIdleCallback) requestIdleCallback(() => cards.forEach(text));
      return { section, form, cards, status, values, restore, clear };
    }

    const [, saved] = place();
    for (const one of galleries) one.restore(saved);
    addEventListener("hashchange", () => follow());
    follow(performance.getEntriesByType("navigation")[0].type !== "reload"); // which keeps its place

    const copy = async (button) => {
      const card = button.closest(".card");
      const url = location.href.split("#")[0] + "#" + card.id;
      const { status } = galleries.find((one) => one.cards.includes(card));
      choose(card, false);
      try {
        await navigator.clipboard.writeText(url);
        status.textContent = "The link to " + card.dataset.id + " was copied.";
      } catch {
        status.textContent = "The browser does not let this page copy; the link is in the address bar.";
      }
    };
    const pick = (button) => {
      const card = button.closest(".card");
      const on = button.getAttribute("aria-pressed") !== "true";
      for (const one of card.querySelectorAll(".pick")) one.setAttribute("aria-pressed", String(on && one === button));
      for (const rect of card.querySelectorAll(".views rect.predicted, .views rect[data-answer]")) {
        rect.classList.toggle("faint", on && (rect.dataset.answer || "0") !== button.dataset.answer);
      }
    };

    // An enlarged image is a copy of its drawing, whose view box is moved: lines and boxes stay sharp.
    const zoom = byId("zoom");
    const stage = byId("stage");
    let views = []; // buttons of the images of a sample
    let at = 0;
    let whole = null;
    let view = null;
    const show = (number) => {
      at = (number + views.length) % views.length;
      const drawing = views[at].querySelector("svg").cloneNode(true);
      for (const stored of drawing.querySelectorAll("[id]")) stored.removeAttribute("id");
      const { width, height } = drawing.viewBox.baseVal;
      whole = { x: 0, y: 0, width, height };
      stage.replaceChildren(drawing);
      stage.classList.toggle("no-boxes", Boolean(views[at].closest(".no-boxes")));
      byId("zoom-title").textContent = views[at].closest("figure").querySelector("figcaption").textContent;
      look(whole);
    };
    const look = (next) => {
      view = next;
      stage.firstChild.setAttribute("viewBox", [view.x, view.y, view.width, view.height].join(" "));
    };
    const perPixel = () => Math.max(view.width / stage.clientWidth, view.height / stage.clientHeight);
    const closer = (factor, px = stage.clientWidth / 2, py = stage.clientHeight / 2) => {
      const by = Math.min(Math.max(factor, view.width / (whole.width * 2)), (40 * view.width) / whole.width);
      const x = view.x + view.width / 2 + (px - stage.clientWidth / 2) * perPixel();
      const y = view.y + view.height / 2 + (py - stage.clientHeight / 2) * perPixel();
      const [width, height] = [view.width / by, view.height / by];
      look({ x: x - (x - view.x) / by, y: y - (y - view.y) / by, width, height });
    };
    const enlarge = (button) => {
      const holder = button.closest(".views");
      views = Array.from(holder.querySelectorAll("button.zoom"));
      zoom.showModal();
      show(views.indexOf(button));
    };
    const ZOOM = {
      in: () => closer(1.5),
      out: () => closer(1 / 1.5),
      whole: () => look(whole),
      previous: () => show(at - 1),
      next: () => show(at + 1),
      boxes: () => stage.classList.toggle("no-boxes"),
    };
    const KEYS = { "+": "in", "=": "in", "-": "out", 0: "whole", ArrowLeft: "previous", ArrowRight: "next", b: "boxes" };
    const fingers = new Map();
    const spread = () => {
      const [a, b] = Array.from(fingers.values());
      return Math.hypot(a.x - b.x, a.y - b.y);
    };
    stage.addEventListener("pointerdown", (event) => {
      stage.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    });
    stage.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const apart = fingers.size === 2 ? spread() : 0;
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      const unit = perPixel() / fingers.size;
      look({ ...view, x: view.x - (event.clientX - before.x) * unit, y: view.y - (event.clientY - before.y) * unit });
      if (apart) {
        const [a, b] = Array.from(fingers.values());
        const box = stage.getBoundingClientRect();
        closer(spread() / apart, (a.x + b.x) / 2 - box.left, (a.y + b.y) / 2 - box.top);
      }
    });
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => fingers.delete(event.pointerId));
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = stage.getBoundingClientRect();
      closer(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    zoom.addEventListener("close", () => {
      fingers.clear();
      stage.replaceChildren();
    });

    const help = byId("help");
    byId("keys").addEventListener("click", () => help.showModal());
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.matches(".zoom")) enlarge(button);
      else if (button.matches(".copy")) copy(button);
      else if (button.matches(".pick")) pick(button);
      else if (button.matches(".close")) button.closest("dialog").close();
      else if (button.dataset.do) ZOOM[button.dataset.do]();
    });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (zoom.open) {
        if (!Object.hasOwn(KEYS, event.key)) return;
        event.preventDefault();
        ZOOM[KEYS[event.key]]();
        return;
      }
      if (help.open) return;
      const field = event.target.closest("input, select, textarea");
      if (field && event.key === "Escape") field.blur();
      if (field && (field.type === "search" || event.key.startsWith("Arrow") || field.matches("select"))) return;
      const here = galleries.find((one) => current && one.cards.includes(current))
        || galleries.find((one) => one.section.getBoundingClientRect().bottom > 0) || galleries[0];
      const actions = {
        j: () => move(1),
        k: () => move(-1),
        ArrowRight: () => move(1),
        ArrowLeft: () => move(-1),
        "/": () => here && here.form.elements.text.focus(),
        "?": () => help.showModal(),
        b: () => here && here.form.elements.boxes && here.form.elements.boxes.click(),
        Enter: () => {
          const image = event.target === current && current.querySelector("button.zoom");
          if (image) enlarge(image);
        },
      };
      if (!Object.hasOwn(actions, event.key)) return;
      if (event.key !== "Enter" || event.target === current) event.preventDefault();
      actions[event.key]();
    });
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
