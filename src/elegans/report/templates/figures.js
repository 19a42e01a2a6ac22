// Draws every figure from the specification beside it; where that fails, its SVG takes the place.
(() => {
  async function draw(plate) {
    try {
      let text = plate.nextElementSibling.textContent;
      if (JSON.parse(text).usermeta.embedOptions.renderer === "canvas") {
        text = text.replaceAll("currentColor", getComputedStyle(plate).color);
        plate.dataset.canvas = "";
      }
      await vegaEmbed(plate, JSON.parse(text));
      for (const control of plate.querySelectorAll(".vega-bind input, .vega-bind select")) {
        control.setAttribute("aria-label", plate.querySelector(".vega-bind-name").textContent);
      }
      plate.dataset.state = "drawn";
    } catch (error) {
      const image = document.createElement("img");
      image.src = plate.dataset.svg;
      image.alt = plate.dataset.alt;
      plate.replaceChildren(image);
      plate.dataset.state = "fallback";
      console.error(error);
    }
  }

  // In SVG, lines and text follow the color scheme by themselves; a canvas is drawn again.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    document.querySelectorAll(".plate[data-canvas]").forEach(draw);
  });
  document.querySelectorAll(".plate").forEach(draw);
})();
