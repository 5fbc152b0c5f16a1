// One call to a real model by OpenAI's Node SDK, as the first argument says.
//
// Address and key are the SDK's own OPENAI_BASE_URL and OPENAI_API_KEY: the model's server or
// Earmark in front of it. Exits with 0 when the call went as it should.

import assert from "node:assert/strict";
import OpenAI from "openai";

const model = "smollm2-135m-instruct";
const messages = [{ role: "user", content: "Tell me a very long story about a lighthouse." }];
const client = new OpenAI({ timeout: 300_000, maxRetries: 0 });

const create = (options) => client.chat.completions.create({ model, messages, ...options });
// The model may not end by itself before the story is cut.
const story = () => create({ max_tokens: 400, stream: true, min_tokens: 400 });

const actions = {
  async plain() {
    const reply = await create({ max_tokens: 24 });
    assert.ok(reply.choices[0].message.content);
    const tokens = reply.usage.completion_tokens;
    assert.ok(tokens > 0 && tokens <= 24);
    console.log(`${tokens} tokens`);
  },

  async streamed() {
    let [text, finish, count] = ["", null, 0];
    for await (const chunk of await create({ max_tokens: 24, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? "";
      finish = chunk.choices[0]?.finish_reason ?? finish;
      count += 1;
    }
    assert.ok(text);
    assert.ok(["stop", "length"].includes(finish));
    console.log(`${count} chunks`);
  },

  async cancelled() {
    const stream = await story();
    let count = 0;
    for await (const _ of stream) if ((count += 1) === 5) break;
    stream.controller.abort();
    console.log("cancelled");
  },

  async killed() {
    let count = 0;
    try {
      for await (const _ of await story()) if ((count += 1) === 5) console.log("streaming");
    } catch (error) {
      console.log(`died after ${count} chunks: ${error.constructor.name}: ${error.message}`);
      return;
    }
    assert.fail(`the stream ended after ${count} chunks as if it were whole`);
  },

  async refused() {
    await assert.rejects(actions.plain(), (error) => {
      console.log(`refused: ${error.constructor.name}: ${error.message}`);
      return error instanceof OpenAI.APIError;
    });
  },
};

await actions[process.argv[2]]();
