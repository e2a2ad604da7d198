// Anthropic's package for Node against a gateway: node anthropic_client.mjs URL MODEL
import assert from "node:assert";
import Anthropic from "@anthropic-ai/sdk";

const [url, model] = process.argv.slice(2);
const client = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0, timeout: 120000 });
const messages = [{ role: "user", content: "What is gravity?" }];
const asked = { model, messages, max_tokens: 12 };

const message = await client.messages.create(asked);
assert(message.stop_reason);
assert(message._request_id);
assert((await client.messages.stream(asked).finalMessage()).stop_reason);
assert((await client.messages.countTokens({ model, messages })).input_tokens > 5);

const refused = [
  [404, "not_found_error", () => client.messages.create({ ...asked, model: "nobody" })],
  [404, "not_found_error", () => client.messages.create({ ...asked, model: "nobody", stream: true })],
  [400, "invalid_request_error", () => client.post("/v1/messages", { body: [1] })],
  [405, "invalid_request_error", () => client.get("/v1/messages")],
];
for (const [status, kind, ask] of refused) {
  await assert.rejects(ask, (error) => error.status === status && error.type === kind);
}
console.log(`a message, a stream, a count, and ${refused.length} errors`);
