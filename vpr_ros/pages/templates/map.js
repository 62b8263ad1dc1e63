"use strict";
// What lets a map be moved, and its places be clicked; without it the page shows all but pictures, and stands still.
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const map = byId("map");
  const ground = byId("ground");
  const whole = ground.getAttribute("viewBox").split(" ").map(Number);
  const units = map.viewBox.baseVal;
  const dot = parseFloat(getComputedStyle(ground).getPropertyValue("--dot"));
  const CLOSEST = 5; // metres across
  const REACH = 40; // pixels from a click to its place
  const WIDEST = 0.2; // of the drawing: the scale bar
  let [left, top, width, height] = whole;
  let here = -1;
  let waiting = false;

  // as often as the screen is drawn, however often the pointer moves
  function show() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(draw);
  }

  function draw() {
    waiting = false;
    ground.setAttribute("viewBox", [left, top, width, height].join(" "));
    ground.style.setProperty("--dot", `${Math.min(10, dot * (whole[2] / width) ** 0.25)}px`);
    const most = width * WIDEST;
    const power = 10 ** Math.floor(Math.log10(most));
    const metres = power * (most >= 5 * power ? 5 : most >= 2 * power ? 2 : 1);
    byId("bar-line").setAttribute("d", `M0-8V0H${(metres / width) * units.width}V-8`);
    byId("bar-text").textContent = metres < 1000 ? `${+metres.toPrecision(3)} m` : `${metres / 1000} km`;
    if (here >= 0) {
      const x = ((data.x[here] - left) / width) * units.width;
      const y = ((data.y[here] - top) / height) * units.height;
      byId("here").setAttribute("transform", `translate(${x} ${y}) rotate(${data.heading[here] ?? 0})`);
    }
  }

  const isSeen = (place) =>
    data.x[place] >= left && data.x[place] <= left + width && data.y[place] >= top && data.y[place] <= top + height;

  // about the place that was picked, where it is seen, or the middle
  function zoomTo(factor) {
    if (isSeen(here)) zoom(factor, data.x[here], data.y[here]);
    else zoom(factor, left + width / 2, top + height / 2);
  }

  function zoom(factor, x, y) {
    const wider = Math.min(Math.max(width * factor, CLOSEST), 2 * whole[2]);
    factor = wider / width;
    [left, top] = [x - (x - left) * factor, y - (y - top) * factor];
    [width, height] = [wider, height * factor];
    show();
  }

  function reset() {
    [left, top, width, height] = whole;
    show();
  }

  function at(event) {
    const box = map.getBoundingClientRect();
    const metres = width / box.width;
    return [left + (event.clientX - box.left) * metres, top + (event.clientY - box.top) * metres, metres];
  }

  const distance = (one, other) => Math.hypot(data.x[one] - data.x[other], data.y[one] - data.y[other]);

  // the nearest place along the drive whose picture is on the page
  function pictured(place) {
    for (let off = 0; off < data.place.length; off++) {
      for (const other of [place - off, place + off]) {
        if (data.drive[other] === data.drive[place] && other in data.pictures) return other;
      }
    }
    return -1;
  }

  function pick(place) {
    here = Math.min(Math.max(place, 0), data.place.length - 1);
    const from = pictured(here);
    byId("picture").hidden = from < 0;
    if (from >= 0) byId("picture").src = data.pictures[from];
    byId("of").textContent =
      from < 0 ? "The page has no picture of this drive."
      : from === here ? ""
      : `The picture is of place ${data.place[from]} of the drive, ${distance(here, from).toFixed(1)} m away: ` +
        "not every picture is on the page.";
    const stamp = data.stamp[here];
    const facts = {
      place: data.place[here],
      drive: data.drives[data.drive[here]],
      image: data.image[here],
      position: `${data.latitude[here].toFixed(7)} ${data.longitude[here].toFixed(7)}`,
      heading: data.heading[here] === null ? "unknown" : `${data.heading[here].toFixed(0)}°`,
      time: stamp ? new Date(stamp).toISOString() : "unknown",
      "off the line": data.off[here] === null ? "no neighbours" : `${data.off[here].toFixed(2)} m`,
      [`within ${data.within} m`]: `${data.near[here]} places`,
    };
    const table = byId("facts");
    table.replaceChildren();
    for (const [name, value] of Object.entries(facts)) {
      const row = table.insertRow();
      row.append(document.createElement("th"), document.createElement("td"));
      row.cells[0].textContent = name;
      row.cells[1].textContent = value;
    }
    byId("here").removeAttribute("display");
    byId("looks").setAttribute("display", data.heading[here] === null ? "none" : "inline");
    if (!isSeen(here)) {
      [left, top] = [data.x[here] - width / 2, data.y[here] - height / 2];
    }
    show();
  }

  let held = null;
  map.addEventListener("pointerdown", (event) => {
    held = { x: event.clientX, y: event.clientY, left, top, moved: false };
    map.setPointerCapture(event.pointerId);
  });
  map.addEventListener("pointermove", (event) => {
    if (held === null) return;
    const [across, down] = [event.clientX - held.x, event.clientY - held.y];
    held.moved ||= Math.hypot(across, down) > 4;
    if (!held.moved) return;
    const metres = at(event)[2];
    [left, top] = [held.left - across * metres, held.top - down * metres];
    show();
  });
  map.addEventListener("pointerup", (event) => {
    const clicked = held !== null && !held.moved;
    held = null;
    if (!clicked) return;
    const [x, y, metres] = at(event);
    let nearest = -1;
    let least = REACH * metres;
    for (let place = 0; place < data.place.length; place++) {
      const metresOff = Math.hypot(data.x[place] - x, data.y[place] - y);
      if (metresOff < least) [nearest, least] = [place, metresOff];
    }
    if (nearest >= 0) pick(nearest);
  });
  map.addEventListener("pointercancel", () => (held = null));
  map.addEventListener("wheel", (event) => {
    // the page scrolls until the map was clicked; a pinch comes with ctrlKey
    if (document.activeElement !== map && !event.ctrlKey) return;
    event.preventDefault();
    const [x, y] = at(event);
    zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY / 300))), x, y);
  }, { passive: false });
  const keys = {
    ArrowLeft: () => pick(here - 1),
    ArrowRight: () => pick(here + 1),
    "+": () => zoomTo(1 / 1.5),
    "-": () => zoomTo(1.5),
    0: reset,
    Escape: () => map.blur(),
  };
  map.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  byId("closer").addEventListener("click", () => zoomTo(1 / 1.5));
  byId("farther").addEventListener("click", () => zoomTo(1.5));
  byId("whole").addEventListener("click", reset);
  byId("previous").addEventListener("click", () => pick(here - 1));
  byId("next").addEventListener("click", () => pick(here + 1));
  for (const link of document.querySelectorAll("a[data-gap]")) {
    link.addEventListener("click", () => {
      const box = byId(link.dataset.gap).getBBox();
      const wider = Math.max(3 * box.width, (3 * box.height * whole[2]) / whole[3], CLOSEST);
      [left, top] = [box.x + box.width / 2 - wider / 2, box.y + box.height / 2 - (wider * whole[3]) / whole[2] / 2];
      [width, height] = [wider, (wider * whole[3]) / whole[2]];
      show();
    });
  }
  byId("buttons").hidden = false;
  byId("hint").textContent =
    "Click a place; step along its drive with the arrow keys. Drag to move the map; once it was clicked, the " +
    "wheel zooms it.";
  pick(0);
})();
