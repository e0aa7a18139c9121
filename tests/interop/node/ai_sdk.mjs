// A whole conversation with the AI SDK's OpenAI provider. It prints what the SDK has read, as one JSON object.
import { createOpenAI } from "@ai-sdk/openai";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [baseURL, how] = process.argv.slice(2);
const openai = createOpenAI({ baseURL, apiKey: "any" });
const model = openai.responses("m");
const providerOptions = { openai: { store: how !== "unstored" } };
const tools = {
  get_weather: tool({
    description: "How warm it is.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => ({ city, celsius: 21 }),
  }),
};
const options = { model, tools, providerOptions, stopWhen: stepCountIs(3), maxRetries: 0, system: "Be brief." };

async function turn(messages) {
  if (how !== "streamed") return generateText({ ...options, messages });
  const stream = streamText({ ...options, messages });
  let text = "";
  for await (const piece of stream.textStream) text += piece;
  return { text, steps: await stream.steps, response: await stream.response };
}

const messages = [{ role: "user", content: "How warm is it in Oslo?" }];
const first = await turn(messages);
messages.push(...first.response.messages, { role: "user", content: "Thank you!" });
const second = await turn(messages);
const { object } = await generateObject({
  model,
  providerOptions,
  maxRetries: 0,
  schema: z.object({ ok: z.boolean() }),
  prompt: "Is it well?",
});
console.log(
  JSON.stringify({
    first: first.text,
    calls: first.steps.flatMap((step) => step.toolCalls.map((call) => [call.toolName, call.input])),
    second: second.text,
    object,
  }),
);
