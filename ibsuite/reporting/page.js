"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const wished = matchMedia("(prefers-color-scheme: dark)");

function template() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  const axis = { gridcolor: of("--line"), linecolor: of("--line"), zerolinecolor: of("--line"), tickcolor: of("--line") };
  return { layout: {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: of("--ink"), size: 12, family: "inherit" },
    hoverlabel: { bgcolor: of("--card"), bordercolor: of("--line"), font: { color: of("--ink") }, namelength: -1 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: of("--line"), activecolor: of("--accent") },
    xaxis: axis, yaxis: axis,
  } };
}

function draw() {
  const common = template();
  for (const place of document.querySelectorAll(".plot")) {
    const { data, layout } = figures[Number(place.dataset.figure)];
    Plotly.react(place, data, { ...layout, template: common }, { displaylogo: false, responsive: true,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] });
  }
}

function dress(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  draw();
}

document.getElementById("theme").addEventListener("click", () => dress(document.documentElement.dataset.theme !== "dark"));
wished.addEventListener("change", (event) => dress(event.matches));
dress(wished.matches);
