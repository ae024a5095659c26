// What arrives is put on the page as text, never as markup.

export function element(tag, className = "", text = "") {
  const el = document.createElement(tag);
  if (className) el.className = className;
  el.textContent = text;
  return el;
}

/** Keeps the end of a list in sight, unless the person has scrolled up to read. */
export function follow(list) {
  let atEnd = true;
  const toEnd = () => { list.scrollTop = list.scrollHeight; };
  list.addEventListener("scroll", () => { atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40; });
  new ResizeObserver(() => { if (atEnd) toEnd(); }).observe(list);
  return (change, always = false) => {
    const stay = !atEnd && !always;
    change();
    if (!stay) toEnd();
  };
}
