// lmdb-js in the benchmark.
import { createRequire } from 'node:module'
import path from 'node:path'
import { makePayload, placesOf } from '../payloads.js'

/** @param {{ module: string, folder: string }} setUp @param {number} span @returns {Promise<import('./index.js').Driver>} */
export async function open(setUp, span) {
  const lmdb = createRequire(import.meta.url)(setUp.module)
  const make = (/** @type {string} */ name, /** @type {object} */ options) =>
    lmdb.open({ path: path.join(setUp.folder, name), encoding: 'binary', compression: false, ...options })
  const stores = { visible: make('lmdb-visible', { noSync: true }), durable: make('lmdb-durable', {}) }
  /** Sizes of which every key has a value. */
  const filled = new Set()
  return {
    async operation({ work, bytes }) {
      const store = stores[work === 'durable' ? 'durable' : 'visible']
      const places = placesOf(bytes, span)
      const payload = makePayload(bytes)
      const keys = Array.from({ length: places }, (_, place) => `${bytes}:${place}`)
      if (work === 'visible') return (number) => store.put(keys[number % places], payload)
      if (work === 'durable') {
        return async (number) => {
          await store.put(keys[number % places], payload)
          await store.flushed
        }
      }
      if (!filled.has(bytes)) await Promise.all(keys.map((key) => store.put(key, payload)))
      filled.add(bytes)
      return (number) => store.getBinary(keys[number % places])
    },
    async close() {
      await Promise.all([stores.visible.close(), stores.durable.close()])
    },
  }
}
