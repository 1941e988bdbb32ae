// Settings live in localStorage, the key only in this tab's sessionStorage.
const NAME = "quantserve.settings";

function read() {
  try {
    return JSON.parse(localStorage.getItem(NAME) ?? "{}");
  } catch (error) {
    console.warn("settings could not be read", error);
    return {};
  }
}

export const settings = {
  language: navigator.language.startsWith("ko") ? "ko" : "en",
  theme: "auto",
  mode: null, // null: the server's own
  retrieve: null,
  top_k: null,
  ...read(),
};

export function save(changes) {
  Object.assign(settings, changes);
  localStorage.setItem(NAME, JSON.stringify(settings));
  localStorage.setItem("quantserve.theme", settings.theme);
  if (settings.theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = settings.theme;
}

export const key = {
  get: () => sessionStorage.getItem("quantserve.key"),
  set: (value) => sessionStorage.setItem("quantserve.key", value),
  forget: () => sessionStorage.removeItem("quantserve.key"),
};

// What /status says of the server.
export const server = { model: "", problem: "", passages: 0, mode: "auto", retrieve: "hybrid", top_k: 4, max_top_k: 20, modes: [], retrieve_modes: [] };
