// Lays out each slide on pages of one screen, then starts reveal.js. A page after the first comes at the next key press.
const PAGE = 636, FIGURE = [470, 330], SMALLEST = 0.6, TALL = 1.05;

function shrink(element, overflows) {
  for (let scale = 0.96; scale >= SMALLEST && overflows(); scale -= 0.04) element.style.setProperty("--scale", scale);
}

function addPage(section) {
  const page = document.createElement("div");
  page.className = "page";
  section.append(page);
  return page;
}

// Code and a long result that would both become too small to read part company.
function split(cell) {
  const [code, result] = [cell.querySelector(":scope > .input"), cell.querySelector(":scope > .output_wrapper")];
  if (!code || !result || cell.offsetHeight < TALL * PAGE) return;
  const own = cell.cloneNode(false);
  own.removeAttribute("id");
  own.append(result);
  cell.after(own);
}

function layOut(section) {
  section.querySelectorAll(":scope > .cell").forEach(split);
  const pages = [];
  for (const cell of [...section.querySelectorAll(":scope > .cell")]) {
    let page = pages.at(-1);
    page?.append(cell);
    if (page && page.offsetHeight <= PAGE) continue;
    pages.push((page = addPage(section)));
    page.append(cell);
    if (page.querySelector("h1, h2, h3, h4")) continue;
    const under = document.createElement("p");
    under.className = "under";
    under.textContent = section.dataset.title;
    page.prepend(under);
  }
  pages.forEach((page, index) => {
    const overflows = () => page.offsetHeight > PAGE;
    // A smaller figure is read more easily than smaller text.
    for (let height = FIGURE[0]; height >= FIGURE[1] && overflows(); height -= 20) {
      page.style.setProperty("--figure", `${height}px`);
    }
    shrink(page, overflows);
    if (pages.length === 1) return;
    const last = index === pages.length - 1;
    page.classList.add("fragment", index === 0 ? "fade-out" : last ? "fade-in" : "fade-in-then-out");
    page.dataset.fragmentIndex = Math.max(index - 1, 0);
  });
}

window.MathJax = {
  tex: { inlineMath: [["$", "$"]], displayMath: [["$$", "$$"]], processEscapes: true },
  options: { enableMenu: false, ignoreHtmlClass: "output_stream|output_html" },
  startup: { typeset: false },
};

window.addEventListener("load", async () => {
  await MathJax.startup.promise;
  await MathJax.typesetPromise();
  await document.fonts.ready;
  await Promise.all([...document.images].map((image) => image.decode().catch(() => null)));
  for (const wide of document.querySelectorAll("pre, .output_html table, mjx-container[display]")) {
    const overflows = () => Math.max(wide.scrollWidth, wide.offsetWidth) > wide.parentElement.clientWidth + 1;
    shrink(wide, overflows);
    if (wide.tagName === "PRE" && overflows()) {
      wide.style.whiteSpace = "pre-wrap";
      wide.style.setProperty("--scale", 0.9);
    }
  }
  document.querySelectorAll(".slides > section").forEach(layOut);
  document.documentElement.classList.add("laid-out");
  await Reveal.initialize({
    width: 1280, height: 720, margin: 0, hash: true, center: false, transition: "none", slideNumber: "c/t",
    plugins: [RevealNotes],
  });
});
