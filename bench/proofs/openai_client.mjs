// OpenAI's package for Node against a gateway: node openai_client.mjs URL MODEL
import assert from "node:assert";
import OpenAI from "openai";

const [url, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0, timeout: 120000 });
const messages = [{ role: "user", content: "What is gravity?" }];
const asked = { model, messages, max_tokens: 12 };

const chat = await client.chat.completions.create(asked);
assert(chat.choices[0].finish_reason);
assert(chat._request_id);
let chunks = 0;
for await (const _ of await client.chat.completions.create({ ...asked, stream: true })) chunks += 1;
assert(chunks > 2);
const listed = await client.models.list();
assert(listed.data.some((each) => each.id === model));

const refused = [
  [404, "model_not_found", () => client.chat.completions.create({ ...asked, model: "nobody" })],
  [404, "model_not_found", () => client.chat.completions.create({ ...asked, model: "nobody", stream: true })],
  [404, "model_not_found", () => client.models.retrieve("nobody")],
  [400, "invalid_json", () => client.post("/chat/completions", { body: [1] })],
  [400, "model_required", () => client.post("/chat/completions", { body: {} })],
  [405, "method_not_allowed", () => client.get("/chat/completions")],
  [415, "unsupported_content_encoding", () => client.chat.completions.create(asked, { headers: { "Content-Encoding": "br" } })],
  [431, "head_too_large", () => client.chat.completions.create(asked, { headers: { "x-large": "x".repeat(70000) } })],
];
for (const [status, code, ask] of refused) {
  await assert.rejects(ask, (error) => error.status === status && error.code === code && Boolean(error.requestID));
}
console.log(`a chat, a stream, the models, and ${refused.length} errors`);
