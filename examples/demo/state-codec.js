// Turns the state into bytes. A codec of your own is an id and two functions; each checkpoint stores the id.

/** @type {import('rdma-checkpoint').Codec<import('./word-count.js').State>} */
export const stateCodec = {
  id: 1000,
  encode: (state) => Buffer.from(JSON.stringify(state)),
  decode: (bytes) => JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString()),
}
