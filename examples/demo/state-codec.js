// How the state becomes bytes. A codec of one's own is an id and two functions; the id is kept with each checkpoint.

/** @type {import('rdma-checkpoint').Codec<import('./word-count.js').State>} */
export const stateCodec = {
  id: 1000,
  encode: (state) => Buffer.from(JSON.stringify(state)),
  decode: (bytes) => JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString()),
}
