// The client's side of etcd in the benchmark.
import { createRequire } from 'node:module'
import { makePayload, placesOf } from '../payloads.js'

/** @param {{ module: string, address: string }} setUp @param {number} span @returns {Promise<import('./index.js').Driver>} */
export async function open(setUp, span) {
  const { Etcd3 } = createRequire(import.meta.url)(setUp.module)
  const client = new Etcd3({ hosts: setUp.address })
  await client.put('ready').value('yes')
  return {
    async operation({ bytes }) {
      const payload = makePayload(bytes)
      const places = placesOf(bytes, span)
      return (number) =>
        client
          .put(`${bytes}:${number % places}`)
          .value(payload)
          .exec()
    },
    async close() {
      client.close()
    },
  }
}
