// Whole conversations with OpenAI's SDK for Node. It prints what the SDK has read, as one JSON object.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "any", maxRetries: 0 });
const parameters = { type: "object", properties: { city: { type: "string" } } };
const question = "How warm is it in Oslo?";
const output = JSON.stringify({ city: "Oslo", celsius: 21 });
const seen = {};

// Responses: tools, a stream, the background, a schema.
const tools = [{ type: "function", name: "get_weather", parameters, strict: false }];
const asked = await client.responses.create({ model: "m", input: question, tools, tool_choice: "required" });
const [call] = asked.output;
const stream = await client.responses.create({
  model: "m",
  previous_response_id: asked.id,
  input: [{ type: "function_call_output", call_id: call.call_id, output }],
  tools,
  stream: true,
});
seen.pieces = "";
for await (const event of stream) {
  if (event.type === "response.output_text.delta") seen.pieces += event.delta;
  if (event.type === "response.completed") seen.streamed = event.response.output_text ?? event.response.output[0].content[0].text;
}
let response = await client.responses.create({ model: "m", input: "Thank you!", background: true });
while (["queued", "in_progress"].includes(response.status)) response = await client.responses.retrieve(response.id);
seen.background = response.output_text;
const format = { type: "json_schema", name: "answer", schema: { type: "object" }, strict: true };
seen.object = JSON.parse((await client.responses.create({ model: "m", input: "Is it well?", text: { format } })).output_text);

// Threads and runs: tools, a stream, a schema.
const { threads } = client.beta;
const thread = await threads.create({ messages: [{ role: "user", content: question }] });
const about = { assistant_id: "asst_1", tools: [{ type: "function", function: { name: "get_weather", parameters } }] };
const run = await threads.runs.createAndPoll(thread.id, about, { pollIntervalMs: 20 });
const made = run.required_action.submit_tool_outputs.tool_calls;
seen.run_calls = made.map((each) => [each.function.name, JSON.parse(each.function.arguments)]);
const outputs = made.map((each) => ({ tool_call_id: each.id, output }));
const ended = threads.runs.submitToolOutputsStream(run.id, { thread_id: thread.id, tool_outputs: outputs });
seen.run_status = (await ended.finalRun()).status;
seen.run_text = (await ended.finalMessages())[0].content[0].text.value;
await threads.messages.create(thread.id, { role: "user", content: "Is it well?" });
const response_format = { type: "json_schema", json_schema: { name: "answer", schema: { type: "object" } } };
await threads.runs.createAndPoll(thread.id, { assistant_id: "asst_1", response_format }, { pollIntervalMs: 20 });
seen.run_object = JSON.parse((await threads.messages.list(thread.id)).data[0].content[0].text.value);
console.log(JSON.stringify(seen));
