// The HTTP API. A 401 asks for the key once and tries again.
import { key } from "./state.js";

export class ApiError extends Error {
  constructor(message, code, extension) {
    super(message);
    this.code = code;
    this.extension = extension;
  }
}

let askForKey = async () => false;
export function onKeyNeeded(ask) { askForKey = ask; }

function headers(more = {}) {
  const given = key.get();
  return given ? { ...more, Authorization: `Bearer ${given}` } : more;
}

async function errorOf(response) {
  const text = await response.text();
  let body;
  try {
    body = JSON.parse(text);
  } catch (error) {
    return new ApiError(`${response.status} ${text.slice(0, 200)}`, "unreadable");
  }
  return new ApiError(body.error?.message ?? String(response.status), body.error?.code ?? "failed", body.quantserve);
}

export async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(error.message, "unreachable");
  }
  if (response.status === 401) {
    const wrong = key.get() !== null;
    if (await askForKey(wrong)) return call(path, options);
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

export const json = async (path, options) => (await call(path, options)).json();

export const post = (path, body, options = {}) =>
  call(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, ...options });

// Yields the parsed objects of a stream of server-sent events.
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    let end;
    while ((end = buffer.indexOf("\n\n")) >= 0) {
      const event = buffer.slice(0, end);
      buffer = buffer.slice(end + 2);
      if (!event.startsWith("data: ")) continue;
      const data = event.slice(6);
      if (data === "[DONE]") return;
      const parsed = JSON.parse(data);
      if (parsed.error) throw new ApiError(parsed.error.message, parsed.error.code, parsed.quantserve);
      yield parsed;
    }
  }
}

// XMLHttpRequest, because fetch tells nothing of an upload's progress.
export function upload(files, onProgress) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    for (const file of files) form.append("file", file, file.name);
    const request = new XMLHttpRequest();
    request.open("POST", "/documents");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      let body;
      try {
        body = JSON.parse(request.responseText);
      } catch (error) {
        reject(new ApiError(`${request.status}`, "unreadable"));
        return;
      }
      if (request.status < 300) resolve(body);
      else reject(new ApiError(body.error?.message ?? String(request.status), body.error?.code ?? "failed"));
    });
    request.addEventListener("error", () => reject(new ApiError("unreachable", "unreachable")));
    request.send(form);
  });
}
