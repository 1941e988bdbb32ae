// Runs before the first paint, so that a chosen theme does not flash.
(function () {
  let theme = null;
  try {
    theme = localStorage.getItem("quantserve.theme");
  } catch (error) {
    console.warn("no storage: the theme follows the system", error);
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
