// The chosen colours and language's direction, before anything is drawn; main.js does the rest.
(function () {
  try {
    var settings = JSON.parse(localStorage.getItem("dialogpt:settings")) || {};
    if (settings.theme === "light" || settings.theme === "dark") {
      document.documentElement.dataset.theme = settings.theme;
    }
    var language = settings.language === "en" || settings.language === "ar" ? settings.language : navigator.language;
    document.documentElement.dir = String(language).slice(0, 2) === "ar" ? "rtl" : "ltr";
  } catch (error) {
    // no storage, or damaged settings: main.js tells
  }
})();
