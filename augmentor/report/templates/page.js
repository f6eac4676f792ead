"use strict";
const form = document.querySelector("form.filters");
if (form) {
  const cards = [...document.querySelectorAll(".cards > li")];
  const count = form.parentElement.querySelector("output");
  const apply = () => {
    const verdict = new FormData(form).get("verdict") || "";
    const changed = form.elements.changed.value;
    const target = form.elements.target.value;
    let shown = 0;
    for (const card of cards) {
      const fits =
        (!verdict || card.dataset.verdict === verdict) &&
        (!changed || JSON.parse(card.dataset.changed).includes(changed)) &&
        (!target || JSON.parse(card.dataset.target).includes(target));
      card.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    count.value = shown ? `${shown} of ${cards.length} pictures` : "No picture matches the filters.";
  };
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  apply();
}
const links = [...document.querySelectorAll("nav.sections a")];
const seen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        for (const link of links) {
          if (link.hash === `#${entry.target.id}`) link.setAttribute("aria-current", "true");
          else link.removeAttribute("aria-current");
        }
      }
    }
  },
  { rootMargin: "-15% 0px -75%" },
);
for (const section of document.querySelectorAll("main > section")) seen.observe(section);
