"use strict";
// Filters the gallery. Without this script every card is shown and the form stays hidden.
(() => {
  const form = document.getElementById("filter");
  const gallery = document.getElementById("cards");
  const shown = document.getElementById("shown");
  if (!form || !gallery || !shown) return;
  const cards = Array.from(gallery.querySelectorAll("article.card"));
  const apply = () => {
    const wanted = new FormData(form);
    let count = 0;
    for (const card of cards) {
      const fits = ["model", "outcome", "task"].every((key) => {
        const value = wanted.get(key);
        return !value || card.dataset[key] === value;
      });
      card.hidden = !fits;
      count += fits ? 1 : 0;
    }
    gallery.classList.toggle("plain", !wanted.get("boxes"));
    shown.textContent = count + " of " + cards.length + " answers shown";
  };
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
})();
