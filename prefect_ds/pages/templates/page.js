// A task in the drawing leads to its line in the table: open it. Without this script it
// is scrolled to, and stays closed.
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.querySelector("summary").focus();
  }
}
addEventListener("hashchange", openTarget);
openTarget();
