// Finds items by their words. Without this script the page shows all of them.
for (const filter of document.querySelectorAll(".filter")) {
  const items = [...document.getElementById(filter.dataset.of).children];
  const texts = items.map((item) => item.textContent.toLowerCase());
  const input = filter.querySelector("input");
  const count = filter.querySelector("output");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    items.forEach((item, at) => {
      item.hidden = !words.every((word) => texts[at].includes(word));
      shown += !item.hidden;
    });
    count.textContent = words.length ? `${shown} of ${items.length}` : "";
  });
  filter.hidden = false;
}
