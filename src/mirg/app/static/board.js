// Draws a box on an image by dragging, and sends it as fractions of the image. `element` and `trigger` are Gradio's.
const svgName = "http://www.w3.org/2000/svg";
let svg = null, start = null, rect = null;
const inside = (value) => Math.min(Math.max(value, 0), 1);
const place = (event) => {
  const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
  // The image keeps its ratio inside the element, in the middle of it.
  const scale = Math.min(box.width / view.width, box.height / view.height);
  const left = box.left + (box.width - scale * view.width) / 2, top = box.top + (box.height - scale * view.height) / 2;
  return [inside((event.clientX - left) / (scale * view.width)), inside((event.clientY - top) / (scale * view.height))];
};
const corners = (event) => {
  const [x, y] = place(event);
  return [Math.min(x, start[0]), Math.min(y, start[1]), Math.max(x, start[0]), Math.max(y, start[1])];
};
const end = () => { if (rect) rect.remove(); svg = start = rect = null; };
element.addEventListener("pointerdown", (event) => {
  const found = event.target.closest("svg[data-image]");
  if (!found || event.button) return;
  event.preventDefault();
  end();
  svg = found;
  svg.setPointerCapture(event.pointerId);
  start = place(event);
  rect = document.createElementNS(svgName, "rect");
  rect.setAttribute("class", "drawing");
  svg.append(rect);
});
element.addEventListener("pointermove", (event) => {
  if (!start) return;
  const [x1, y1, x2, y2] = corners(event), view = svg.viewBox.baseVal;
  const sides = { x: x1 * view.width, y: y1 * view.height, width: (x2 - x1) * view.width, height: (y2 - y1) * view.height };
  for (const [name, value] of Object.entries(sides)) rect.setAttribute(name, String(value));
});
element.addEventListener("pointerup", (event) => {
  if (!start) return;
  const drawn = { image: Number(svg.dataset.image), box: corners(event) };
  end();
  trigger("submit", drawn);
});
element.addEventListener("pointercancel", end);
