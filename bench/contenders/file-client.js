// The client's side of the file in the benchmark.
import { open as openFile } from 'node:fs/promises'
import { makePayload, placesOf } from '../payloads.js'

/** @param {{ file: string }} setUp @param {number} span @returns {Promise<import('./index.js').Driver>} */
export async function open(setUp, span) {
  const handle = await openFile(setUp.file, 'w+')
  const block = Buffer.alloc(1024 * 1024)
  for (let at = 0; at < span; at += block.length) await handle.write(block, 0, block.length, at)
  await handle.datasync()
  return {
    async operation({ work, bytes }) {
      const places = placesOf(bytes, span)
      const payload = makePayload(bytes)
      if (work === 'read') {
        return (number) => handle.read(Buffer.allocUnsafe(bytes), 0, bytes, (number % places) * bytes)
      }
      if (work === 'visible') return (number) => handle.write(payload, 0, bytes, (number % places) * bytes)
      return async (number) => {
        await handle.write(payload, 0, bytes, (number % places) * bytes)
        await handle.datasync()
      }
    },
    close: () => handle.close(),
  }
}
