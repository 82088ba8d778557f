// One file to the server in pieces, which goes on after anything; a file that is there already is not sent again.
import { sha256 } from "./sha256.js";

export const ENDPOINT = "/api/uploads";
const PIECE = 8 * 1024 * 1024;

export const bytes = (count) => {
  let value = count;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 1000 || unit === "GB") return `${value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1000;
  }
  return "";
};

// Every piece carries its checksum, so that what was changed on the way is sent again and never kept.
class Checked {
  constructor() { this.plain = new tus.DefaultHttpStack({}); }
  createRequest(method, url) {
    const request = this.plain.createRequest(method, url);
    const send = request.send.bind(request);
    request.send = async (body) => {
      if (method === "PATCH" && body && globalThis.crypto?.subtle) {
        const piece = body instanceof Blob ? await body.arrayBuffer() : body;
        const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", piece));
        request.setHeader("Upload-Checksum", `sha256 ${btoa(String.fromCharCode(...digest))}`);
      }
      return send(body);
    };
    return request;
  }
  getName() { return "Checked"; }
}

// What the server has of a file: {state: "new" | "here" | "in_dataset", id}; an id that is not here yet is gone on with.
export async function known(sha, size, path, into = "") {
  const answer = await fetch(`${ENDPOINT}/known`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({ files: [{ sha256: sha, size, path }], into }),
  });
  return answer.ok ? (await answer.json())[0] : { state: "new" };
}

// Send it, or the rest of it; `done` gets its id, or fails with what the server said.
export function transfer(file, path, sha, url, progress) {
  let upload;
  const done = new Promise((resolve, reject) => {
    upload = new tus.Upload(file, {
      endpoint: ENDPOINT,
      uploadUrl: url,
      chunkSize: PIECE,
      retryDelays: [0, 1000, 3000, 5000, 10000],
      storeFingerprintForResuming: false,
      httpStack: new Checked(),
      metadata: { filename: file.name, relativePath: path, sha256: sha },
      onShouldRetry: (error) => {
        const status = error.originalResponse?.getStatus() ?? 0;
        return status === 0 || status >= 500 || [409, 423, 460].includes(status);
      },
      onProgress: progress,
      onSuccess: () => resolve(upload.url.split("/").pop()),
      onError: (error) => {
        let text = "could not be sent";
        try {
          const said = JSON.parse(error.originalResponse.getBody());
          text = `${said.error} ${said.hint}`;
        } catch { /* no answer of ours */ }
        reject(new Error(text));
      },
    });
    upload.start();
  });
  return { upload, done };
}

// The whole way of one file; its id.
export async function sent(file, path, progress = () => {}) {
  const sha = await sha256(file, () => false);
  const before = await known(sha, file.size, path);
  if (before.state === "here") return before.id;
  return transfer(file, path, sha, before.id ? `${ENDPOINT}/${before.id}` : null, progress).done;
}
