// Runs the published nets in their own runtime (TensorFlow.js, CPU backend) and writes what comes out.
// Usage: node tfjs_reference.mjs JOB.json; the job is made by node_reference.py.

import { readFile, writeFile } from "node:fs/promises";

// The published bundle is the browser's; this makes TensorFlow.js take the standard platform functions, which node has as well.
globalThis.WorkerGlobalScope ??= class {};
console.info = console.log = console.warn = () => {};

const job = JSON.parse(await readFile(process.argv[2], "utf8"));
const faceapi = await import(job.runtime);
const tf = faceapi.tf;
await tf.setBackend("cpu");
await tf.ready();

async function bytesOf(path) {
  const buffer = await readFile(path);
  return buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength);
}

async function graphModel(net) {
  const { modelTopology, signature, format, weightsManifest } = JSON.parse(await readFile(net.description, "utf8"));
  const weightData = await bytesOf(net.weights);
  const artifacts = { modelTopology, signature, format, weightSpecs: weightsManifest[0].weights, weightData };
  const model = await tf.loadGraphModel({ load: async () => artifacts });
  return (input) => model.execute(input, net.outputs);
}

async function faceRecognition(net) {
  const manifest = JSON.parse(await readFile(net.description, "utf8"));
  const model = new faceapi.FaceRecognitionNet();
  model.loadFromWeightMap(tf.io.decodeWeights(await bytesOf(net.weights), manifest[0].weights));
  return async (input) => [await model.forward(input)];
}

for (const net of job.nets) {
  const run = await (net.kind === "graph" ? graphModel(net) : faceRecognition(net));
  for (const picture of net.pictures) {
    const input = tf.tensor4d(new Float32Array(await bytesOf(picture.input)), net.shape);
    const results = await run(input);
    for (const [index, result] of results.entries()) {
      await writeFile(picture.outputs[index], new Uint8Array((await result.data()).buffer.slice(0)));
    }
  }
}
